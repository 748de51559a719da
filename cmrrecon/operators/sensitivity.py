"""Which part of k-space calibrates the coils, and coil sensitivity maps from it."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cmrrecon.data import CartesianMask, LineMask
from cmrrecon.operators.coil_images import time_average
from cmrrecon.operators.espirit import KERNEL, espirit, too_few_lines
from cmrrecon.operators.fourier import centred
from cmrrecon.tools.errors import UsageError

__all__ = [
    "Calibration",
    "calibration_data",
    "calibration_region",
    "espirit",
    "estimate_maps",
    "too_few_lines",
]

# More lines make calibration slower, hardly better; the official baselines take 24 of fully sampled data.
MOST_LINES = 32
# With fewer there are hardly any patches to learn from.
FEWEST_LINES = 4
# From here on lines that every frame measured calibrate better than a time average of more lines,
# whose frames disagree where things move. With 4 lines the average is better by up to 4 dB on
# simulated cine, with 6 by up to 0.4 dB, with 8 neither.
ENOUGH_LINES = 6
# Coils vary slowly, so the middle of the readout says nearly as much as the whole. With 64 of 448 samples the median map error on simulated
# cine is up to a fifth larger and the crop loses faint tissue.
MOST_COLUMNS = 192

CalibrationSource = Literal["average", "first"]


@dataclass(frozen=True)
class Calibration:
    """The samples of a Cartesian series that calibrate its coils.

    Attributes
    ----------
    y, x : the centred block
    averaged : whether it is filled by the time average of whatever was measured in any frame, for
        lack of enough lines that every frame measured
    """

    y: slice
    x: slice
    averaged: bool = False

    @property
    def lines(self) -> int:
        """How many lines there are."""
        return int(self.y.stop - self.y.start)

    @property
    def worth(self) -> tuple[bool, int]:
        """To compare blocks by: those of every frame come first, then those with more lines."""
        return not self.averaged, self.lines

    @property
    def always(self) -> tuple[slice, slice]:
        """The part (y, x) that every frame needs; none of it where the frames are averaged."""
        return (slice(0), slice(0)) if self.averaged else (self.y, self.x)

    @staticmethod
    def of(mask: CartesianMask, most: int = MOST_LINES) -> "Calibration":
        """The block of every frame, or that of the time average where it is the better one."""
        common = Calibration(*calibration_region(mask, most))
        any_frame = mask.chosen(mask.samples.any(0, keepdim=True))
        union = Calibration(*calibration_region(any_frame, most), averaged=True)
        return union if average_is_better(common.lines, union.lines) else common


def average_is_better(common: int, union: int) -> bool:
    """Whether to calibrate on the time average of `union` lines instead of `common` lines of every
    frame."""
    if common < FEWEST_LINES:
        return union > common
    return common < ENOUGH_LINES and union >= 2 * common


def calibration_region(mask: CartesianMask, most: int = MOST_LINES) -> tuple[slice, slice]:
    """The largest centred block that was measured in every frame, at most `most` lines.

    Parameters
    ----------
    mask : CartesianMask

    Returns
    -------
    (y, x) slices: for whole lines `x` is the full slice, for lines with an asymmetric echo the
    measured columns, else the block is square.
    """
    always = mask.samples.all(0)
    nx = always.shape[1]
    if (columns := mask.echo) is not None:
        return _largest_block(always[:, columns.start or 0, None], most)[0], columns
    return _largest_block(always, min(most, nx))


def _largest_block(measured: Tensor, most: int) -> tuple[slice, slice]:
    """The largest centred block within (y, x), square, or of whole lines if x is one long."""
    ny, nx = measured.shape
    lines = nx == 1
    most, size = min(most, ny), 0

    while size < most:
        y, x = centred(ny, size + 1), slice(None) if lines else centred(nx, size + 1)
        if not bool(measured[y, x].all()):
            break
        size += 1

    return centred(ny, size), slice(None) if lines else centred(nx, size)


def calibration_data(
    kspace: Tensor, mask: CartesianMask, source: CalibrationSource = "average"
) -> Tensor:
    """The calibration block (coil, y, x) of k-space (frame, coil, y, x), see `Calibration`.

    `average` takes the mean over all frames, which is less noisy; `first` takes the first frame, as the official
    CMRxRecon baselines do, where every frame measured the block.

    Raises
    ------
    UsageError : `option-value`, another source
    """
    if source not in ("average", "first"):
        raise UsageError(
            "option-value",
            f"The calibration source is {source!r}",
            "It is `average` or `first`",
            "Choose one of them",
        )

    block = Calibration.of(mask)
    within = kspace[..., block.y, block.x]
    if block.averaged:
        return time_average(within, mask.samples[:, block.y, _within(mask, block.x)])
    return within[0] if source == "first" else within.mean(0)


def _within(mask: CartesianMask, columns: slice) -> slice:
    """Columns of k-space as columns of the samples of a mask."""
    return slice(None) if isinstance(mask, LineMask) else columns


def calibration_block(
    kspace: Tensor, mask: CartesianMask, source: CalibrationSource = "average"
) -> Tensor:
    """The part of the calibration data that maps are made from: of whole lines the middle `MOST_COLUMNS` samples."""
    x = kspace.shape[-1]
    columns = centred(x, min(x, MOST_COLUMNS))
    narrowed = mask if isinstance(mask, LineMask) else mask.chosen(mask.samples[..., columns])
    return calibration_data(kspace[..., columns], narrowed, source)


def maps_from(calibration: Tensor, shape: tuple[int, int], sets: int = 1) -> Tensor:
    """Coil maps (coil, y, x) complex64 from calibration data (coil, cy, cx); ones for a single coil.

    With fewer than ten calibration lines the kernel shrinks from 6 to half the lines plus one, so that enough patches remain
    to tell signal from noise: of the kernels 3 to 8 the one with the smallest map error on simulated cine, or close.
    With `sets` 2 the maps are (coil, 2 y, x) where the body folds over, see `espirit`.

    Raises
    ------
    InputError : fewer than `FEWEST_LINES` calibration lines
    """
    if len(calibration) == 1:
        return torch.ones((1, *shape), dtype=torch.complex64, device=calibration.device)

    lines = min(calibration.shape[1:])
    if lines < FEWEST_LINES:
        raise too_few_lines(lines, FEWEST_LINES)
    return espirit(calibration, shape, kernel=min(KERNEL, lines // 2 + 1), sets=sets)


def estimate_maps(
    kspace: Tensor, mask: CartesianMask, source: CalibrationSource = "average"
) -> Tensor:
    """Coil maps (coil, y, x) complex64 of k-space (frame, coil, y, x) from its own calibration lines; errors as `maps_from`."""
    return maps_from(calibration_block(kspace, mask, source), (kspace.shape[2], kspace.shape[3]))
