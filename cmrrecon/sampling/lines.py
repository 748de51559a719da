"""Patterns of whole readout lines: the regular combs and the plain random draws. None of them adds the calibration lines."""

from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from cmrrecon.sampling.plan import Plan, round_half_up

# Denominator up to which a fractional R is taken at its word: 1.1 means 11/10, not the nearest binary number.
FINEST_FRACTION = 1000


def comb(lines: Tensor, acceleration: float) -> Tensor:
    """Every R-th line, exactly: line y is taken if floor(y / R) differs from floor((y - 1) / R).

    With R = p / q that is (y q) mod p < q; for whole R it is y mod R = 0.

    Parameters
    ----------
    lines : Tensor of line numbers, any shape, int64, may be negative
    acceleration : R >= 1

    Returns
    -------
    Tensor bool, the shape of `lines`
    """
    ratio = Fraction(acceleration).limit_denominator(FINEST_FRACTION)
    return lines * ratio.denominator % ratio.numerator < ratio.denominator


def uniform(plan: Plan) -> Tensor:
    """Every R-th line from line 0 on, the same in all frames: (1, y, 1). Source: official mySubsampling and UniformSampling."""
    return comb(torch.arange(plan.y), plan.acceleration)[None, :, None]


def kt_uniform(plan: Plan) -> Tensor:
    """Every R-th line, moved on by one line a frame: (frame, y, 1). Source: official ktUniformSampling of 2024."""
    mask = comb(torch.arange(plan.y) - torch.arange(plan.frames)[:, None], plan.acceleration)
    odd_series = plan.year == 2024 and plan.frames % 2 == 1 and plan.frames > 1 and plan.y % 2 == 0
    if odd_series and float(plan.acceleration).is_integer():
        # The generator of 2024 misplaces an odd number of frames by half a frame: everything moves y/2 lines earlier, across the
        # frames, so that nothing is left for the end of the last one. T1 and T2 mapping files have these masks.
        mask = torch.cat(
            [mask.flatten()[plan.y // 2 :], torch.zeros(plan.y // 2, dtype=torch.bool)]
        ).reshape(mask.shape)
        mask[0, 0] = True

    return mask[:, :, None]


def random(plan: Plan) -> Tensor:
    """round(y / R) different lines, all equally likely, the same in all frames: (1, y, 1)."""
    return _drawn_lines(plan, np.ones(plan.y))


def gaussian(plan: Plan) -> Tensor:
    """round(y / R) different lines with density exp(-p^2 / sigma^2), sigma = y / 5, the same in all frames: (1, y, 1).

    p is the distance from the centre line y // 2.
    """
    return _drawn_lines(plan, np.exp(-(((np.arange(plan.y) - plan.y // 2) / (plan.y / 5)) ** 2)))


def _drawn_lines(plan: Plan, density: np.ndarray) -> Tensor:
    """round(y / R) lines drawn without replacement: (1, y, 1)."""
    count = round_half_up(plan.y / plan.acceleration)
    mask = torch.zeros(plan.y, dtype=torch.bool)
    # NumPy keeps this generator frozen, so that a seed gives the same lines on every version.
    mask[
        np.random.RandomState(plan.seed).choice(
            plan.y, count, replace=False, p=density / density.sum()
        )
    ] = True
    return mask[None, :, None]
