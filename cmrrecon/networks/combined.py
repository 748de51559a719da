"""The magnitude image that image-to-image networks start from: CG-SENSE with ESPIRiT maps."""

from abc import abstractmethod
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from cmrrecon.classical.coils import estimate_coils
from cmrrecon.classical.prepared import PreparedSeries, normalisation
from cmrrecon.classical.problem import Problem
from cmrrecon.classical.sense import sense
from cmrrecon.data import CartesianMask, LineMask, SamplingMask, Series
from cmrrecon.networks.base import Output, WindowNetwork, check_window
from cmrrecon.networks.cost import Footprint, footprint, training_bytes
from cmrrecon.operators.fourier import centred

# On simulated cine at R = 3 and R = 6 the error is smallest after 5 to 10 iterations. Further
# iterations amplify noise.
ITERATIONS = 8


class MagnitudeNetwork(WindowNetwork):
    """A network that maps magnitudes to magnitudes.

    All frames of a window calibrate the coils, but only the middle one is reconstructed.
    """

    gives_kspace: ClassVar[bool] = False

    @property
    def sensitivity(self) -> None:
        return None

    @abstractmethod
    def forward_image(self, x: Tensor) -> Output:
        """Improve magnitudes (batch, y, x), real, of any scale; the result has the same scale."""

    def forward(
        self, kspace: Tensor, mask: Tensor, acs: int | None = None, maps: Tensor | None = None
    ) -> Output:
        """Reconstruct the middle frame with ESPIRiT maps; see `combined_magnitude` for its errors.

        Raises
        ------
        ValueError
            If maps were given.
        """
        check_window(kspace, mask, self.frames)
        if maps is not None:
            raise ValueError("networks for magnitudes compute their own maps")
        return self.forward_image(combined_magnitude(kspace, mask, acs))

    def window_cost(self, coils: int, y: int, x: int, *, lines: bool, acs: int) -> Footprint:
        return footprint(self.ghost().forward_image, ((1, y, x), torch.float32))

    def maps_cost(self, coils: int, y: int, x: int, *, lines: bool, acs: int) -> Footprint:
        return Footprint(0, 0)

    def training_memory(
        self, coils: int, y: int, x: int, acs: int, *, middle_maps: bool = False
    ) -> int:
        ghost = self.ghost()
        return training_bytes(
            lambda image: ghost.forward_image(image).stages, ((1, y, x), torch.float32)
        )


def combined_magnitude(kspace: Tensor, mask: Tensor, acs: int | None = None) -> Tensor:
    """Compute CG-SENSE magnitudes of the middle frames of a batch of windows, without gradients.

    The coil maps come from all frames of a window. All computations are in single precision.

    Parameters
    ----------
    kspace : Tensor of shape (batch, frame, coil, y, x), complex
        Zero where not measured.
    mask : Tensor of shape (batch, frame|1, y, x|1), bool
        The measured samples.
    acs : int or None
        The largest number of central lines used for calibration; for sample masks the side of the
        central square.

    Returns
    -------
    Tensor of shape (batch, y, x), real
        The magnitudes, on the scale of a root-sum-of-squares; zero for windows without signal.

    Raises
    ------
    InputError
        If there is too little calibration data.
    NumericalError
        If the k-space cannot be normalised, or the maps are zero everywhere.
    """
    with torch.no_grad():
        return torch.stack([_magnitude(*window, acs) for window in zip(kspace, mask, strict=True)])


def _magnitude(kspace: Tensor, mask: Tensor, acs: int | None) -> Tensor:
    """Compute the magnitude (y, x) of one window."""
    if not bool((kspace != 0).any()):
        return torch.zeros_like(kspace[0, 0].real)

    y, x = kspace.shape[2:]
    sampled = replace(SamplingMask.of(mask), centre=(y // 2, x // 2))
    scale = normalisation(Series(kspace, sampled))
    normal = (kspace / scale).to(torch.complex64)
    calibrating = sampled if acs is None else central(sampled, acs)
    coils = estimate_coils(Series(normal, calibrating)).first

    middle = len(kspace) // 2
    one = Series(normal[middle : middle + 1], sampled.chosen(sampled.frame(middle)[None]))
    problem = Problem.of(PreparedSeries(one, 1.0), coils)
    image = problem.whole(sense(problem, iterations=ITERATIONS).x)[0]
    return image.abs().to(kspace.real.dtype) * scale


def central(mask: CartesianMask, acs: int) -> CartesianMask:
    """Restrict a line mask to the central `acs` lines, or a sample mask to the central square."""
    y, x = mask.samples.shape[1:]
    inside = torch.zeros_like(mask.samples)
    columns = slice(None) if isinstance(mask, LineMask) else centred(x, min(acs, x))
    inside[:, centred(y, min(acs, y)), columns] = True
    return mask.chosen(mask.samples & inside)
