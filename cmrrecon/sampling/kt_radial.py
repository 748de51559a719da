"""The official pseudo-radial pattern: spokes on the Cartesian grid, turned by the golden angle from frame to frame."""

import math

import torch
from torch import Tensor

from cmrrecon.operators.fourier import centred
from cmrrecon.sampling.plan import Plan, round_half_up

FRAME_ANGLE = 137.5


def kt_radial(plan: Plan) -> Tensor:
    """Spokes through the centre, (frame, y, x), without the calibration square.

    floor(180 / (0.6 R)) angles over 180 degrees (both ends included); each spoke is one full row of a square template, rotated by
    nearest neighbour about the centre of the grid and cropped, so spokes are straight in samples, not in millimetres.
    Source: official ktRadialSampling of 2024 and 2025. Bit for bit as Octave runs it, except where an angle is an odd multiple of
    45 degrees on an even grid: there its rotation breaks ties by rounding noise (up to 5.2 % of the samples).
    """
    size = max(plan.y, plan.x)
    centre = (size + 1) / 2
    row = round_half_up(size / 2)
    # Template positions count from 1; its columns run along y, its rows along x.
    offset = torch.arange(1, size + 1, dtype=torch.float64) - centre
    column_offset, row_offset = offset[centred(size, plan.y), None], offset[centred(size, plan.x)]
    beams = max(1, math.floor(1 / (0.6 * plan.acceleration) * 180))
    mask = torch.zeros((plan.frames, plan.y, plan.x), dtype=torch.bool)

    for frame in range(plan.frames):
        for beam in range(beams + 1):
            cos, sin = _cos_sin(FRAME_ANGLE * frame + beam * (180 / beams))
            along = cos * column_offset - sin * row_offset + centre
            across = sin * column_offset + cos * row_offset + centre
            mask[frame] |= (torch.floor(across + 0.5) == row) & (along >= 1) & (along <= size)

    return mask


def _cos_sin(degrees: float) -> tuple[float, float]:
    """Cosine and sine, exact at multiples of 90 degrees, so that those rotations are exact too."""
    if degrees % 90 == 0:
        return ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[int(degrees % 360 // 90)]
    return math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
