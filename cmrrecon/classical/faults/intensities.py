"""Detect spikes, outlying lines, and a coil that is far louder than the others."""

import torch
from torch import Tensor

from cmrrecon.classical.faults.readings import Readings, energy_of
from cmrrecon.data import LineMask

# Besides the central lines, the samples of this many outlying lines are checked.
CANDIDATES = 8
# Samples weaker than this fraction of the largest energy do no harm.
WEAK = 1e-3


def loudness(readings: Readings) -> tuple[float, int]:
    """How many times louder one coil is than the next, and which coil.

    It is the smaller of two ratios: of the whole energy, and of the energy of weak lines, which are
    mostly noise. A coil that is only nearer, or only noisier, stays small in one of them.
    """
    if readings.coils < 2:
        return 1.0, 0

    lines, measured = readings.coil_lines, readings.measured
    total = lines.sum((0, 2))
    weak = lines.movedim(1, 2)[measured].quantile(0.25, dim=0)
    coil = int(total.argmax())

    others = [c for c in range(readings.coils) if c != coil]
    tiny = float(total[coil]) * 1e-30
    ratios = [float(e[coil] / e[others].amax().clamp(min=tiny)) ** 0.5 for e in (total, weak)]
    return min(ratios), coil


def standing_out(readings: Readings) -> Tensor:
    """How far each line stands out from the lines around it, (frame, y): a ratio of magnitudes.

    The magnitude outside the middle of the readout is compared with the largest among the two
    measured lines on either side and the same line in other frames. Lines without neighbours do not
    count. Near the centre of k-space, where neighbours differ, neither do lines that no other frame
    measured.
    """
    outer = readings.outer
    measured, tiny = outer > 0, float(outer.max()) * 1e-20

    places = torch.arange(readings.y, device=outer.device)
    near = (places - readings.row).abs() < readings.y / 16
    others = largest_of_others(outer)

    found = torch.zeros_like(outer)
    for t in range(readings.frames):
        held = measured[t].nonzero().flatten()
        energy = outer[t, held]
        around = torch.stack([_shifted(energy, step) for step in (-2, -1, 1, 2)]).amax(0)
        known = torch.maximum(around, others[t, held])
        ratio = torch.where(known > 0, energy / known.clamp(min=tiny), 0.0).sqrt()
        found[t, held] = torch.where(near[held] & (others[t, held] == 0), 0.0, ratio)

    return found


def largest_of_others(energy: Tensor) -> Tensor:
    """At each position of each frame (frame, ...), the largest value in the other frames.

    The result is zero for a single frame.
    """
    if len(energy) == 1:
        return torch.zeros_like(energy)
    top = energy.topk(2, 0)
    frame = torch.arange(len(energy), device=energy.device).view(-1, *[1] * (energy.ndim - 1))
    return torch.where(frame == top.indices[:1], top.values[1:], top.values[:1])


def _shifted(energy: Tensor, step: int) -> Tensor:
    """The neighbour `step` positions further on; zero beyond the ends."""
    moved = energy.roll(-step)
    if step > 0:
        moved[-step:] = 0
    else:
        moved[:-step] = 0
    return moved


def spikes(readings: Readings, lines: Tensor) -> tuple[float, tuple[int, int, int]]:
    """How far a sample stands out from its neighbours along x and in other frames, and where.

    The position is (frame, y, x). Only the central lines and the most outlying ones among `lines`
    (frame, y) are checked, and only whole lines, because single samples need not have neighbours.
    """
    if not isinstance(readings.mask, LineMask):
        return 0.0, (0, 0, 0)

    candidates = lines.amax(0).topk(min(CANDIDATES, readings.y)).indices
    energy = torch.cat([readings.central, energy_of(readings.kspace[:, :, candidates])], 1)
    rows = torch.cat([torch.arange(readings.y, device=lines.device)[readings.rows], candidates])

    near = torch.stack([energy.roll(step, -1) for step in (-4, -3, -2, 2, 3, 4)]).amax(0)
    near = torch.maximum(near, largest_of_others(energy))

    strongest = float(readings.central.max())
    places = torch.arange(readings.x, device=energy.device)
    seen = ((places - readings.column).abs() > readings.x / 16) & (energy > WEAK * strongest)
    ratio = torch.where(seen, energy / near.clamp(min=1e-9 * strongest), 0.0)

    # torch.unravel_index would load SymPy, which takes a second and 40 MB.
    place, column = divmod(int(ratio.argmax()), readings.x)
    t, line = divmod(place, len(rows))
    return float(ratio.max()) ** 0.5, (t, int(rows[line]), column)
