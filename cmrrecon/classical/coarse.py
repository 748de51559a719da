"""Series of half the resolution, for what need not be known finely: coil maps, and trials."""

import math
from dataclasses import replace
from functools import cached_property

from torch import Tensor

from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.data import CartesianMask, Series
from cmrrecon.operators.fourier import centred

# Fraction of k-space along each axis, and smallest number of samples to keep.
PART, FEWEST = 0.5, 64
# FFTs are fast for sizes without larger prime factors.
FAST_FACTORS = (2, 3, 5)


def coarser(prepared: PreparedSeries) -> PreparedSeries:
    """Return a Cartesian series of about half the resolution, with the same brightness."""
    series, mask = prepared.series, prepared.mask
    assert isinstance(mask, CartesianMask)
    y, x = series.image_shape
    few_y, few_x = fewer(y), fewer(x)

    def middle(values: Tensor) -> Tensor:
        values = values[..., centred(y, few_y), :]
        return values if values.shape[-1] == 1 else values[..., centred(x, few_x)]

    small = replace(
        mask,
        samples=middle(mask.samples),
        averages=None if mask.averages is None else middle(mask.averages),
        centre=(few_y // 2, few_x // 2),
    )
    part = replace(series, kspace=middle(series.kspace), mask=small, rolled=(0, 0))
    brightness = math.sqrt(y * x / (few_y * few_x))
    return _Coarse(prepared, part, brightness)


class _Coarse(PreparedSeries):
    """A series of less resolution; its noise is estimated from the whole series."""

    def __init__(self, whole: PreparedSeries, part: Series, brightness: float) -> None:
        super().__init__(part, whole.scale * brightness, whiten=False)
        self.whole, self.brightness = whole, brightness

    @cached_property
    def noise_power(self) -> Tensor | None:
        power = self.whole.noise_power
        return None if power is None else power / self.brightness**2


def fewer(n: int) -> int:
    """Choose a fast number of samples of at least `PART` of n, but at least `FEWEST`."""
    few = max(FEWEST, math.ceil(PART * n))
    while few < n and not _is_fast(few):
        few += 1
    return min(few, n)


def _is_fast(n: int) -> bool:
    for factor in FAST_FACTORS:
        while n % factor == 0:
            n //= factor
    return n == 1
