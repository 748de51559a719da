"""Which part of k-space calibrates the coils, and coil sensitivity maps from it."""

from typing import Literal

import torch
from torch import Tensor

from cmrrecon.data import CartesianMask, LineMask
from cmrrecon.operators.espirit import KERNEL, espirit, too_few_lines
from cmrrecon.operators.fourier import centred
from cmrrecon.tools.errors import UsageError

__all__ = ["calibration_data", "calibration_region", "espirit", "estimate_maps", "too_few_lines"]

# More lines make calibration slower, hardly better; the official baselines take 24 of fully sampled data.
MOST_LINES = 32
# With fewer there are hardly any patches to learn from.
FEWEST_LINES = 4
# Coils vary slowly, so the middle of the readout says nearly as much as the whole. With 64 of 448 samples the median map error on simulated
# cine is up to a fifth larger and the crop loses faint tissue.
MOST_COLUMNS = 192

CalibrationSource = Literal["average", "first"]


def calibration_region(mask: CartesianMask, most: int = MOST_LINES) -> tuple[slice, slice]:
    """The largest centred block that was measured in every frame, at most `most` lines.

    Parameters
    ----------
    mask : CartesianMask

    Returns
    -------
    (y, x) slices: for whole lines `x` is the full slice, else the block is square.
    """
    always = mask.samples.all(0)
    ny, nx = always.shape
    lines = isinstance(mask, LineMask)
    most = min(most, ny if lines else min(ny, nx))
    size = 0
    while size < most:
        y, x = centred(ny, size + 1), slice(None) if lines else centred(nx, size + 1)
        if not bool(always[y, x].all()):
            break
        size += 1
    return centred(ny, size), slice(None) if lines else centred(nx, size)


def calibration_data(
    kspace: Tensor, mask: CartesianMask, source: CalibrationSource = "average"
) -> Tensor:
    """The calibration block (coil, y, x) of k-space (frame, coil, y, x).

    `average` takes the mean over all frames, which is less noisy; `first` takes the first frame, as the official
    CMRxRecon baselines do.

    Raises
    ------
    UsageError : `option-value`, another source
    """
    y, x = calibration_region(mask)
    block = kspace[..., y, x]
    if source == "first":
        return block[0]
    if source == "average":
        return block.mean(0)
    raise UsageError(
        "option-value",
        f"The calibration source is {source!r}",
        "It is `average` or `first`",
        "Choose one of them",
    )


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
