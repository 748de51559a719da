"""The official pseudo-radial pattern: spokes on the Cartesian grid, rotated from frame to frame."""

import math

import torch
from torch import Tensor

from cmrrecon.operators.fourier import centred
from cmrrecon.sampling.plan import Plan, round_half_up

# Rotation from frame to frame in degrees, the golden angle.
FRAME_ANGLE = 137.5


def kt_radial(plan: Plan) -> Tensor:
    """Draw spokes through the centre of k-space.

    The angles divide 180 degrees into `floor(180 / (0.6 R))` steps, including both ends. Each spoke
    is a full row of a square template, rotated about the centre of the grid by nearest-neighbour
    interpolation and cropped. Spokes are therefore straight in samples, not in millimetres.

    Parameters
    ----------
    plan : Plan
        Sizes and acceleration.

    Returns
    -------
    Tensor of shape (frame, y, x), bool
        The mask without the calibration square.

    Notes
    -----
    This reproduces the official ktRadialSampling of 2024 and 2025, run in Octave, bit for bit. The
    only exceptions are angles at odd multiples of 45 degrees on an even grid, where rounding errors
    decide ties in Octave's rotation (up to 5.2 % of the samples differ).
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
    """Return cosine and sine, exact at multiples of 90 degrees so that rotations are exact."""
    if degrees % 90 == 0:
        return ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[int(degrees % 360 // 90)]
    return math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
