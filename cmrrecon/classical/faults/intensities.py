"""Detect spikes, outlying lines, and a coil that is far louder than the others."""

import torch
from torch import Tensor

from cmrrecon.classical.faults.readings import Readings, energy_of
from cmrrecon.data import LineMask

# Spikes are searched for in the central lines and in this many of the most outlying lines.
CANDIDATES = 8
# Samples below this fraction of the largest energy are harmless.
WEAK = 1e-3


def loudness(readings: Readings) -> tuple[float, int]:
    """Measure how many times louder the loudest coil is than the next, and find that coil.

    The result is the smaller of two ratios, one for all lines and one for weak lines, which are
    mostly noise. A coil that is just nearer to the body, or just noisier, stands out in only one of
    them.
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
    """Measure how far each line stands out from the lines around it, (frame, y).

    This is a ratio of magnitudes outside the middle of the readout. The line is compared with the
    largest of the two measured lines on either side and the same line in other frames. Lines
    without neighbours do not count. Near the centre of k-space, where neighbours differ, lines that
    no other frame measured do not count either.
    """
    outer = readings.outer
    measured, tiny = outer > 0, float(outer.max()) * 1e-20

    places = torch.arange(readings.y, device=outer.device)
    central = (places - readings.row).abs() < readings.y / 16
    others = largest_of_others(outer)

    found = torch.zeros_like(outer)
    for t in range(readings.frames):
        lines = measured[t].nonzero().flatten()
        energy = outer[t, lines]
        neighbours = torch.stack([_shifted(energy, step) for step in (-2, -1, 1, 2)]).amax(0)
        largest = torch.maximum(neighbours, others[t, lines])
        ratio = torch.where(largest > 0, energy / largest.clamp(min=tiny), 0.0).sqrt()
        found[t, lines] = torch.where(central[lines] & (others[t, lines] == 0), 0.0, ratio)

    return found


def largest_of_others(energy: Tensor) -> Tensor:
    """Find the largest value in the other frames, at each position of each frame (frame, ...).

    The result is zero for a single frame.
    """
    if len(energy) == 1:
        return torch.zeros_like(energy)
    top = energy.topk(2, 0)
    frame = torch.arange(len(energy), device=energy.device).view(-1, *[1] * (energy.ndim - 1))
    return torch.where(frame == top.indices[:1], top.values[1:], top.values[:1])


def lone_value(readings: Readings) -> tuple[float, tuple[int, int, int, int]]:
    """Measure how many times larger the largest value of k-space is than all others, and find it.

    Even the centre of k-space is not alone: other coils, frames and its neighbours are similar.
    """
    maxima = torch.stack([frame.abs().flatten(1).amax(1) for frame in readings.kspace])
    t, c = divmod(int(maxima.argmax()), readings.coils)
    coil = readings.kspace[t, c].abs().flatten()
    position = int(coil.argmax())

    largest = float(coil[position])
    coil[position] = 0
    maxima[t, c] = coil.amax()
    second = float(maxima.max())
    return largest / second if second else 1.0, (t, c, *divmod(position, readings.x))


def _shifted(energy: Tensor, step: int) -> Tensor:
    """Return the value `step` positions further along; zero beyond the ends."""
    moved = energy.roll(-step)
    if step > 0:
        moved[-step:] = 0
    else:
        moved[:-step] = 0
    return moved


def spikes(readings: Readings, lines: Tensor) -> tuple[float, tuple[int, int, int]]:
    """Find the sample that stands out most from its neighbours along x and in other frames.

    The result is the ratio of their magnitudes, and the position (frame, y, x) of the sample. Only
    the central lines and the most outlying ones among `lines` (frame, y) are checked. Masks of
    single samples are not checked, because their samples may lack neighbours.
    """
    if not isinstance(readings.mask, LineMask):
        return 0.0, (0, 0, 0)

    candidates = lines.amax(0).topk(min(CANDIDATES, readings.y)).indices
    energy = torch.cat([readings.central, energy_of(readings.kspace[:, :, candidates])], 1)
    rows = torch.cat([torch.arange(readings.y, device=lines.device)[readings.rows], candidates])

    neighbours = torch.stack([energy.roll(step, -1) for step in (-4, -3, -2, 2, 3, 4)]).amax(0)
    neighbours = torch.maximum(neighbours, largest_of_others(energy))

    strongest = float(readings.central.max())
    places = torch.arange(readings.x, device=energy.device)
    counted = ((places - readings.column).abs() > readings.x / 16) & (energy > WEAK * strongest)
    ratio = torch.where(counted, energy / neighbours.clamp(min=1e-9 * strongest), 0.0)

    # torch.unravel_index would load SymPy, which takes a second and 40 MB.
    place, column = divmod(int(ratio.argmax()), readings.x)
    t, line = divmod(place, len(rows))
    return float(ratio.max()) ** 0.5, (t, int(rows[line]), column)
