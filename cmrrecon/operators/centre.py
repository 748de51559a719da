"""Find the centre of k-space, and roll it to the middle of the matrix.

Rolling k-space multiplies the image by a linear phase and changes nothing else. Series are
therefore reconstructed with their centre in the middle, and the phase of complex images is restored
afterwards.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from cmrrecon.data import CartesianMask, Series
from cmrrecon.operators.sensitivity import Calibration

# The energy must peak at least this many samples away from the middle, and be this many times the
# energy at the middle.
NEAREST, CLEARLY = 3, 2.0
# A displacement that does not increase the number of calibration lines counts only if it is at
# least this fraction of the axis. In real scans with a correct centre, the peak is up to 3 of 96
# lines and 4 of 512 samples away from the middle.
LARGE = 1 / 16
# Number of neighbours averaged, and of positions compared, on either side of the peak.
SMOOTH, ABOUT = 1, 2


def recentred(series: Series) -> Series:
    """Roll the series so that the centre of k-space is at (y // 2, x // 2).

    The centre comes from the mask if the mask states it, otherwise from the energy. The mask of the
    result states the new centre. Spokes stay as they are.
    """
    mask = series.mask
    if not isinstance(mask, CartesianMask):
        return series

    y, x = series.kspace.shape[2:]
    middle = y // 2, x // 2
    centre = found_centre(series) if mask.centre is None else mask.centre
    offset = middle[0] - centre[0], middle[1] - centre[1]

    if offset == (0, 0):
        return replace(series, mask=replace(mask, centre=middle))
    rolled = replace(rolled_mask(mask, offset), centre=middle)
    return replace(series, kspace=series.kspace.roll(offset, (2, 3)), mask=rolled, rolled=offset)


def restored(images: Tensor, series: Series) -> Tensor:
    """Restore the order of images (frame, y, x), and the phase that recentring the series removed.

    Magnitudes do not change.
    """
    images = images.roll(series.first, 0) if series.first else images
    if series.rolled == (0, 0) or not images.is_complex():
        return images
    for axis, offset in zip((-2, -1), series.rolled, strict=True):
        n = images.shape[axis]
        turns = (torch.arange(n, dtype=torch.float64) - n // 2) * (-offset / n)
        phase = torch.polar(torch.ones_like(turns), 2 * math.pi * turns).to(images)
        images = images * (phase[:, None] if axis == -2 else phase)
    return images


def found_centre(series: Series) -> tuple[int, int]:
    """Find the centre (y, x) of Cartesian k-space by its energy; the default is the middle.

    The energy of each position is averaged over the frames that measured it, so the sampling
    pattern does not matter. A displacement counts if the energy there is `CLEARLY` times larger
    than around the middle, and if it either adds calibration lines or is large without losing any.
    The position with the most calibration lines near the peak becomes the centre.
    """
    mask = series.mask
    assert isinstance(mask, CartesianMask)

    y, x = series.kspace.shape[2:]
    energy = mean_energy(series)
    peaks = tuple(displaced(energy, axis) for axis in (0, 1))
    if peaks == (None, None):
        return y // 2, x // 2

    worth = Calibration.of(mask).worth
    found = [y // 2, x // 2]
    for axis, peak in enumerate(peaks):
        if peak is None:
            continue
        places = sorted(range(peak - ABOUT, peak + ABOUT + 1), key=lambda c: abs(c - peak))
        worths = {c: _worth_of_block(mask, c, axis) for c in places if 0 <= c < energy.shape[axis]}
        best = max(worths, key=lambda c: worths[c])
        large = abs(peak - found[axis]) >= LARGE * energy.shape[axis]
        if worths[best] > worth or (large and worths[best] == worth):
            found[axis] = best

    return found[0], found[1]


def mean_energy(series: Series) -> Tensor:
    """Sum the energy (y, x) over coils, and average it over the frames that measured each sample.

    Positions that no frame measured are zero.
    """
    total = torch.zeros(series.kspace.shape[2:], dtype=torch.float64, device=series.kspace.device)
    counts = torch.zeros_like(series.mask.frame(0), dtype=torch.float64)
    for t, frame in enumerate(series.kspace):
        measured = series.mask.frame(t)
        total += (frame.real.square() + frame.imag.square()).sum(0) * measured
        counts += measured
    return total / counts.clamp(min=1)


def displaced(energy: Tensor, axis: int) -> int | None:
    """Find a clear peak of the energy (y, x) away from the middle of an axis; None without one.

    Unmeasured lines do not count.
    """
    profile = energy.sum(1 - axis)
    measured = (profile > 0).to(profile)
    window = torch.ones((1, 1, 2 * SMOOTH + 1), dtype=profile.dtype, device=profile.device)

    def summed(values: Tensor) -> Tensor:
        return torch.nn.functional.conv1d(values[None, None], window, padding=SMOOTH)[0, 0]

    smooth = summed(profile) / summed(measured).clamp(min=1)

    middle, peak = len(profile) // 2, int(profile.argmax())
    if abs(peak - middle) < NEAREST or not bool(smooth[peak] > CLEARLY * smooth[middle]):
        return None
    return peak


def _worth_of_block(mask: CartesianMask, centre: int, axis: int) -> tuple[bool, int]:
    """Rate the calibration block that results from a centre at this position of an axis."""
    n = mask.samples.shape[1 + axis]
    offset = [0, 0]
    offset[axis] = n // 2 - centre if n > 1 else 0
    return Calibration.of(rolled_mask(mask, (offset[0], offset[1]))).worth


def rolled_mask(mask: CartesianMask, offset: tuple[int, int]) -> CartesianMask:
    """Roll the mask like its k-space, by `offset` samples along (y, x)."""
    calibration, averages = mask.calibration_only, mask.averages
    # Rolling does not change axes of length one, such as x of whole lines.
    return replace(
        mask,
        samples=mask.samples.roll(offset, (-2, -1)),
        calibration_only=None if calibration is None else calibration.roll(offset, (-2, -1)),
        averages=None if averages is None else averages.roll(offset, (-2, -1)),
    )
