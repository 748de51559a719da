"""The input of all sampling patterns, and the rules that they share."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cmrrecon.operators.fourier import centred


@dataclass(frozen=True)
class Plan:
    """The input of a sampling pattern.

    Attributes
    ----------
    frames, y, x : int
        The lengths of the mask's axes.
    acceleration : float
        The nominal R, not counting the calibration. It may be fractional.
    acs : int
        The number of calibration lines (line patterns), or the side of the calibration square.
    seed : int
        The seed of random patterns, 0 for the others.
    year : int
        The challenge year whose special rules apply.
    """

    frames: int
    y: int
    x: int
    acceleration: float
    acs: int
    seed: int
    year: int


def calibration(plan: Plan, lines: bool) -> Tensor:
    """Return the fully sampled centre: `acs` lines (1, y, 1) or a square (1, y, x), bool."""
    mask = torch.zeros((1, plan.y, 1 if lines else plan.x), dtype=torch.bool)
    mask[:, centred(plan.y, plan.acs), slice(None) if lines else centred(plan.x, plan.acs)] = True
    return mask


def round_half_up(value: float) -> int:
    """Round halves up like MATLAB, for values >= 0; Python rounds them to the even neighbour."""
    return math.floor(value + 0.5)
