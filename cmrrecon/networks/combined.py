"""The magnitude image of the middle frame that image-to-image networks start from: ESPIRiT maps and CG-SENSE, without gradient."""

import torch
from torch import Tensor

from cmrrecon.classical.problem import Coils, Problem
from cmrrecon.classical.sense import sense
from cmrrecon.data.scan import Series
from cmrrecon.operators.fourier import centred

# On simulated cine at R = 3 and R = 6 the error is smallest after 5 to 10 steps; later ones amplify noise.
ITERATIONS = 8


def combined_magnitude(kspace: Tensor, mask: Tensor, acs: int | None = None) -> Tensor:
    """CG-SENSE magnitudes of the middle frames of a batch of windows, on the scale of root-sum-of-squares.

    The coil maps come from all frames of a window. Computed in single precision, whatever that of the k-space.

    Parameters
    ----------
    kspace, mask, acs : as of `interface`; `acs` bounds what calibrates

    Returns
    -------
    Tensor (batch, y, x), real; zero where a window has no signal

    Raises
    ------
    InputError : too little calibration data
    NumericalError : k-space that cannot be normalised, or maps that are zero everywhere
    """
    with torch.no_grad():
        return torch.stack([_magnitude(*window, acs) for window in zip(kspace, mask, strict=True)])


def _magnitude(kspace: Tensor, mask: Tensor, acs: int | None) -> Tensor:
    """(y, x) of one window."""
    if not bool((kspace != 0).any()):
        return torch.zeros_like(kspace[0, 0].real)
    series = Series(kspace, mask)
    scale = series.scale()
    normal = (kspace / scale).to(torch.complex64)
    coils = Coils.of(Series(normal, mask if acs is None else mask & central(mask, acs)))
    middle = len(kspace) // 2
    # A mask of one frame holds for all.
    frame = middle % len(mask)
    problem = Problem.of(Series(normal[middle : middle + 1], mask[frame : frame + 1]), coils)
    image = problem.whole(sense(problem, iterations=ITERATIONS).x)[0]
    return image.abs().to(kspace.real.dtype) * scale


def central(mask: Tensor, acs: int) -> Tensor:
    """True on the central `acs` lines of a mask (frame, y, 1), or on the central square of a mask (frame, y, x)."""
    y, x = mask.shape[1:]
    inside = torch.zeros_like(mask)
    inside[:, centred(y, min(acs, y)), slice(None) if x == 1 else centred(x, min(acs, x))] = True
    return inside
