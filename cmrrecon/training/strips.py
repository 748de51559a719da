"""Strips: training on some adjacent columns of a scan, which costs less than training on all.

A strip is cut from the coil images and is a scan of its own, with a narrower field of view. Whole
lines measure every column alike. For line masks, the strip of an undersampled scan is therefore
exactly the undersampled strip, and data consistency is the same as in the whole scan. Only the
U-Nets see less of their surroundings. Masks of single samples are drawn for the strip.
"""

import random

from torch import Tensor

from cmrrecon.data.coverage import COMPLETE
from cmrrecon.operators.fourier import fftc, ifftc
from cmrrecon.training.entries import Entry
from cmrrecon.training.recipe import Data

# The discriminator needs this many pixels; U-Nets would see little but borders below it.
LEAST_COLUMNS = 24


def columns_of(data: Data, epoch: int) -> int:
    """Return the width of the strips in an epoch, 0 for whole scans."""
    return 0 if data.whole_from is not None and epoch >= data.whole_from else data.columns


def trained_shape(entry: Entry, columns: int) -> tuple[int, ...]:
    """Return the shape (coil, y, x) of the samples of a scan.

    A scan without the edges of k-space is used whole: a strip would spread what is missing along x
    over all of its samples.

    Parameters
    ----------
    entry : Entry
        The entry of the scan.
    columns : int
        The width of the strips; 0 for whole scans.
    """
    coils, y, x = entry["shape"][2:]
    whole = not columns or entry.get("coverage", COMPLETE) != COMPLETE
    return coils, y, x if whole else min(x, columns)


def strip(
    kspace: Tensor, lesion: Tensor, columns: int, draw: random.Random
) -> tuple[Tensor, Tensor]:
    """Return a strip of a fully sampled scan.

    The middle of the strip is drawn with the energy of its column as the weight, because half of
    the columns of an oversampled readout show nothing but air.

    Parameters
    ----------
    kspace : Tensor of shape (frame, coil, y, x), complex
        The fully sampled k-space.
    lesion : Tensor of shape (y, x), bool
        True inside lesions.
    columns : int
        The width of the strip.
    draw : random.Random
        The source of randomness.

    Returns
    -------
    kspace : Tensor of shape (frame, coil, y, columns), complex
        The k-space of the strip.
    lesion : Tensor of shape (y, columns), bool
        True inside lesions.
    """
    x = kspace.shape[-1]
    if columns >= x:
        return kspace, lesion

    images = ifftc(kspace, -1)
    energy = images.abs().square().sum((0, 1, 2))
    middle = draw.choices(range(x), energy.tolist())[0] if bool(energy.any()) else x // 2
    start = min(max(0, middle - columns // 2), x - columns)
    chosen = slice(start, start + columns)

    return fftc(images[..., chosen], -1), lesion[:, chosen]
