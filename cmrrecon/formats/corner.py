"""Detects k-space whose centre is at the corner, as after an FFT without `fftshift`."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cmrrecon.tools.errors import InputError

BAND = 8  # 1/8 of an axis counts as near one of its ends or its middle
FRAMES = 4  # frames to examine, evenly spaced over the series
SHORTEST = 16  # samples; shorter axes cannot be judged
# The ends together must have at least this share of all energy and this multiple of the energy in
# the middle (`BOTH`); each end alone must have at least the multiple `EACH`.
PART, BOTH, EACH = 0.5, 10, 2


@dataclass(frozen=True)
class CentredReader:
    """Reads slices of k-space (frame, coil, y, x), and refuses those centred at the corner.

    Attributes
    ----------
    inner : callable
        Reader of the slices.
    path : str
        The file, for messages.
    """

    inner: Callable[[int], Tensor]
    path: str

    def __call__(self, index: int) -> Tensor:
        """Return k-space of slice `index` (0-based).

        Raises
        ------
        InputError
            If its centre is at the corner (`kspace-corner`).
        """
        kspace = self.inner(index)
        refuse_corner(kspace, f"Slice {index} of {self.path}")
        return kspace


def refuse_corner(kspace: Tensor, label: str) -> None:
    """Refuse k-space whose centre is at the ends of y, x or both.

    Parameters
    ----------
    kspace : Tensor of shape (frame, coil, y, x), complex64
        One slice.
    label : str
        Name of the slice in error messages.

    Raises
    ------
    InputError
        If the energy is concentrated at the ends of an axis (`kspace-corner`).
    """
    some = kspace[:: -(-len(kspace) // FRAMES)]
    parts = [torch.view_as_real(frame).square().sum((0, 3)) for frame in some]
    energy = torch.stack(parts).double().sum(0)
    axes = [name for name, axis in (("y", 1), ("x", 0)) if at_the_ends(energy.sum(axis))]

    if axes:
        raise InputError(
            "kspace-corner",
            f"{label}: the energy is concentrated at the ends of {' and '.join(axes)}, "
            "as after an FFT without fftshift",
            "The centre of k-space must be in the middle",
            "Shift it before saving: fftshift(fftshift(kspace, 1), 2) in MATLAB, "
            "numpy.fft.fftshift(kspace, (-2, -1)) in Python",
        )


def at_the_ends(energy: Tensor) -> bool:
    """Return whether the energy (n,) along an axis peaks at both ends and not in the middle."""
    count = len(energy)
    width = count // BAND
    total = float(energy.sum())
    if count < SHORTEST or not 0 < total < float("inf"):
        return False

    first, last = float(energy[: width + 1].sum()), float(energy[count - width :].sum())
    middle = float(energy[count // 2 - width : count // 2 + width + 1].sum())
    return min(first, last) > EACH * middle and first + last > max(PART * total, BOTH * middle)
