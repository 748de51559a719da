"""Detect spokes whose centre is not where the trajectory says."""

import torch
from torch import Tensor

from cmrrecon.classical.faults.readings import Readings
from cmrrecon.data import SpokeMask

# Samples checked on either side of the centre, and the fewest spokes needed.
REACH, FEWEST = 12, 8


def delay(readings: Readings) -> float:
    """How far spokes are shifted along their readout, in cycles per field of view; 0 if unknown.

    The energy around the middle of a spoke is compared with the position where the trajectory
    passes the centre. Shifts that rotate with the spokes come from the phase of the image and
    cancel.
    """
    mask = readings.mask
    if not isinstance(mask, SpokeMask):
        return 0.0

    positions = mask.trajectory.positions.double()
    along = positions[..., -1, :] - positions[..., 0, :]
    length = along.norm(dim=-1, keepdim=True)

    direction = along / length.clamp(min=1e-12)
    radius = (positions * direction[..., None, :]).sum(-1)
    aside = (positions - radius[..., None] * direction[..., None, :]).norm(dim=-1)

    middle = radius.abs().argmin(-1)
    straight = (aside.amax(-1) < 0.5) & (middle >= REACH) & (middle < readings.x - REACH)
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

    place = radius.expand(readings.frames, -1, -1).gather(-1, index)
    held = mask.samples[..., 0].expand(readings.frames, -1) & (energy.sum(-1) > 0)

    shift = (energy * place).sum(-1) / energy.sum(-1).clamp(min=1e-300)
    unit = direction.expand(readings.frames, -1, -1)
    return _isotropic(shift[held], unit[held]) if int(held.sum()) >= FEWEST else 0.0


def _isotropic(shift: Tensor, unit: Tensor) -> float:
    """The larger of the delays along y and x, fitted to shifts (spoke,) in directions (spoke, 2).

    A spoke in direction u is shifted by u^T D u for delays D, and by s^T u for a ramp s of phase.
    """
    y, x = unit.unbind(-1)
    parts = torch.stack([y * y, x * x, x * y, y, x], -1)
    solution = torch.linalg.lstsq(parts.cpu(), shift[:, None].cpu(), driver="gelsd").solution[:, 0]
    return float(solution[:2].abs().amax())
