"""K-space whose centre lies at the corner: saved as an FFT leaves it, without `fftshift`."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cmrrecon.tools.errors import InputError

BAND = 8  # the part of an axis, one over this, that counts as near to its ends or its middle
FRAMES = 4  # looked at, spread over the series
SHORTEST = 16  # samples along an axis that can be judged
# Of the energy the ends must hold this part; together they are so many times the middle, and each
# one so many times.
PART, BOTH, EACH = 0.5, 10, 2


@dataclass(frozen=True)
class CentredReader:
    """Reads slices of k-space (frame, coil, y, x) whose centre is in the middle; refuses others.

    Attributes
    ----------
    inner : what reads them
    path : the file, for messages
    """

    inner: Callable[[int], Tensor]
    path: str

    def __call__(self, index: int) -> Tensor:
        """K-space of slice `index` (0-based).

        Raises
        ------
        InputError : `kspace-corner`
        """
        kspace = self.inner(index)
        refuse_corner(kspace, f"Slice {index} of {self.path}")
        return kspace


def refuse_corner(kspace: Tensor, where: str) -> None:
    """Refuse k-space (frame, coil, y, x) with its centre at the ends of y, x or both.

    Raises
    ------
    InputError : `kspace-corner`
    """
    some = kspace[:: -(-len(kspace) // FRAMES)]
    parts = [torch.view_as_real(frame).square().sum((0, 3)) for frame in some]
    energy = torch.stack(parts).double().sum(0)
    axes = [name for name, axis in (("y", 1), ("x", 0)) if at_the_ends(energy.sum(axis))]

    if axes:
        raise InputError(
            "kspace-corner",
            f"{where}: the energy lies at the ends of {' and '.join(axes)}, as an FFT without fftshift leaves it",
            "The centre of k-space must lie in the middle",
            "Shift it before saving: fftshift(fftshift(kspace, 1), 2) in MATLAB, numpy.fft.fftshift(kspace, (-2, -1))",
        )


def at_the_ends(energy: Tensor) -> bool:
    """Whether the energy (n,) along an axis peaks at its ends, on both sides, and not in the
    middle."""
    count = len(energy)
    width = count // BAND
    total = float(energy.sum())
    if count < SHORTEST or not 0 < total < float("inf"):
        return False

    first, last = float(energy[: width + 1].sum()), float(energy[count - width :].sum())
    middle = float(energy[count // 2 - width : count // 2 + width + 1].sum())
    return min(first, last) > EACH * middle and first + last > max(PART * total, BOTH * middle)
