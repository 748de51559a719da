"""Detect spokes that are shifted from the positions in the trajectory."""

import torch
from torch import Tensor

from cmrrecon.classical.faults.readings import Readings
from cmrrecon.data import SpokeMask

# Number of samples checked on either side of the centre, and minimum number of spokes.
REACH, FEWEST = 12, 8


def delay(readings: Readings) -> float:
    """Measure how far spokes are shifted along their readout, in cycles per field of view.

    The shift is the distance between the centre of the energy of a spoke and the position where the
    trajectory passes the centre of k-space. The result is 0 if it is unknown. Shifts due to a
    linear phase of the image, which change sign when a spoke is turned around, are excluded.
    """
    mask = readings.mask
    if not isinstance(mask, SpokeMask):
        return 0.0

    positions = mask.trajectory.positions.double()
    spoke = positions[..., -1, :] - positions[..., 0, :]
    length = spoke.norm(dim=-1, keepdim=True)

    direction = spoke / length.clamp(min=1e-12)
    radius = (positions * direction[..., None, :]).sum(-1)
    deviation = (positions - radius[..., None] * direction[..., None, :]).norm(dim=-1)

    middle = radius.abs().argmin(-1)
    straight = (deviation.amax(-1) < 0.5) & (middle >= REACH) & (middle < readings.x - REACH)
    if not bool(straight.all()):
        return 0.0

    offsets = torch.arange(-REACH, REACH + 1, device=middle.device)
    index = (middle[..., None] + offsets).expand(readings.frames, -1, -1)
    energy = (
        torch.stack(
            [readings.kspace[:, c].gather(-1, index).abs().square() for c in range(readings.coils)]
        )
        .sum(0)
        .double()
        .square()
    )

    distance = radius.expand(readings.frames, -1, -1).gather(-1, index)
    usable = mask.samples[..., 0].expand(readings.frames, -1) & (energy.sum(-1) > 0)

    shift = (energy * distance).sum(-1) / energy.sum(-1).clamp(min=1e-300)
    unit = direction.expand(readings.frames, -1, -1)
    return _isotropic(shift[usable], unit[usable]) if int(usable.sum()) >= FEWEST else 0.0


def _isotropic(shift: Tensor, unit: Tensor) -> float:
    """Fit delays along y and x to shifts (spoke,) in directions (spoke, 2); return the larger one.

    Delays D shift a spoke in direction u by u^T D u; a linear phase s of the image shifts it by
    s^T u.
    """
    y, x = unit.unbind(-1)
    parts = torch.stack([y * y, x * x, x * y, y, x], -1)
    solution = torch.linalg.lstsq(parts.cpu(), shift[:, None].cpu(), driver="gelsd").solution[:, 0]
    return float(solution[:2].abs().amax())
