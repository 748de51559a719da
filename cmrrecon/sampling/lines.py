"""Patterns of whole readout lines, regular or random, without the calibration lines."""

from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from cmrrecon.sampling.plan import Plan, round_half_up

# The largest denominator of a fractional R: 1.1 means 11/10, not the nearest binary number.
FINEST_FRACTION = 1000


def comb(lines: Tensor, acceleration: float) -> Tensor:
    """Select every R-th line: line y if `floor(y / R)` differs from `floor((y - 1) / R)`.

    With `R = p / q` this is exactly `(y q) mod p < q`. For integer R it is `y mod R = 0`.

    Parameters
    ----------
    lines : Tensor of any shape, int64
        Line numbers, which may be negative.
    acceleration : float
        R, at least 1.

    Returns
    -------
    Tensor of the same shape, bool
        True where a line is sampled.
    """
    ratio = Fraction(acceleration).limit_denominator(FINEST_FRACTION)
    return lines * ratio.denominator % ratio.numerator < ratio.denominator


def uniform(plan: Plan) -> Tensor:
    """Sample every R-th line from line 0 on, the same in all frames: (1, y, 1).

    This reproduces the official programs mySubsampling and UniformSampling.
    """
    return comb(torch.arange(plan.y), plan.acceleration)[None, :, None]


def kt_uniform(plan: Plan) -> Tensor:
    """Sample every R-th line, shifted by one line from frame to frame: (frame, y, 1).

    This reproduces the official program ktUniformSampling of 2024.
    """
    mask = comb(torch.arange(plan.y) - torch.arange(plan.frames)[:, None], plan.acceleration)
    odd_series = plan.year == 2024 and plan.frames % 2 == 1 and plan.frames > 1 and plan.y % 2 == 0
    if odd_series and float(plan.acceleration).is_integer():
        # The program of 2024 shifts an odd number of frames by half a frame: all lines move back by
        # y/2 positions, across frames, and the end of the last frame stays empty. T1 and T2 mapping
        # files have these masks.
        mask = torch.cat(
            [mask.flatten()[plan.y // 2 :], torch.zeros(plan.y // 2, dtype=torch.bool)]
        ).reshape(mask.shape)
        mask[0, 0] = True

    return mask[:, :, None]


def random(plan: Plan) -> Tensor:
    """Draw `round(y / R)` different lines with equal probability, the same in all frames."""
    return _drawn_lines(plan, np.ones(plan.y))


def gaussian(plan: Plan) -> Tensor:
    """Draw `round(y / R)` different lines, denser towards the centre: (1, y, 1).

    The density is `exp(-p^2 / sigma^2)`, where `sigma = y / 5` and p is the distance from the
    centre line `y // 2`. The lines are the same in all frames.
    """
    return _drawn_lines(plan, np.exp(-(((np.arange(plan.y) - plan.y // 2) / (plan.y / 5)) ** 2)))


def _drawn_lines(plan: Plan, density: np.ndarray) -> Tensor:
    """Draw `round(y / R)` lines without replacement: (1, y, 1)."""
    count = round_half_up(plan.y / plan.acceleration)
    mask = torch.zeros(plan.y, dtype=torch.bool)
    # NumPy keeps this generator frozen, so a seed leads to the same lines with every version.
    mask[
        np.random.RandomState(plan.seed).choice(
            plan.y, count, replace=False, p=density / density.sum()
        )
    ] = True
    return mask[None, :, None]
