"""What a sampling pattern is drawn for, and the rules that all patterns share."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cmrrecon.operators.fourier import centred


@dataclass(frozen=True)
class Plan:
    """What a pattern is drawn for.

    Attributes
    ----------
    frames, y, x : lengths of the mask's axes
    acceleration : nominal R, not counting the calibration; may be fractional
    acs : calibration lines (line patterns) or side of the calibration square (the others)
    seed : for the random patterns, 0 for the others
    year : challenge year whose peculiarities hold
    """

    frames: int
    y: int
    x: int
    acceleration: float
    acs: int
    seed: int
    year: int


def calibration(plan: Plan, lines: bool) -> Tensor:
    """The fully sampled centre: `acs` lines (1, y, 1) or an acs x acs square (1, y, x), bool."""
    mask = torch.zeros((1, plan.y, 1 if lines else plan.x), dtype=torch.bool)
    mask[:, centred(plan.y, plan.acs), slice(None) if lines else centred(plan.x, plan.acs)] = True
    return mask


def round_half_up(value: float) -> int:
    """MATLAB's round for values >= 0: halves go up (Python's round takes them to the even neighbour)."""
    return math.floor(value + 0.5)
