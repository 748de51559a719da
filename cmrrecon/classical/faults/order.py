"""Frames that do not follow one another."""

import torch
from torch import Tensor

from cmrrecon.classical.faults.readings import Readings

# What all pairs of frames share of their distance is noise; a little less is taken off.
NOISE = 0.8
FEWEST, FEWEST_SAMPLES = 6, 256
# The first frames tell enough.
MOST = 32
# Motion is seen best in the middle of the readout.
COLUMNS = 16
# Distances below which an order shows, parts of the mean distance: of neighbours, and of frames any
# number apart.
NEIGHBOURS, APART = 0.6, 0.44
# The largest ratio of the brightness of frames in a cine.
BRIGHTNESS = 1.3


def disorder(readings: Readings) -> float:
    """How many times longer the way through the frames is in the stored order than in a better one.

    1 where the stored order shows: neighbours are more alike than other frames, or frames a fixed
    number apart, as in several heart beats or in sets of frames in turn. 1 too where it is not
    known: few frames, too few common samples, or no cine.
    """
    common = _common(readings)
    if common is None or not _a_cine(readings, common):
        return 1.0

    found = distances(common)
    count = len(found)
    everything = float(found.sum()) / (count * (count - 1))

    order = list(range(count))
    stored, best = tour(found, order), tour(found, shorter(found, order))

    neighbours = stored / count / max(everything, 1e-30)
    apart = min(_apart(found, lag) for lag in range(1, count // 2 + 1)) / max(everything, 1e-30)
    if neighbours < NEIGHBOURS or apart < APART or not best > 0:
        return 1.0
    return stored / best


def _apart(found: Tensor, lag: int) -> float:
    """The mean distance of frames so far apart, with time as a circle or as a line: the smaller."""
    line, rest = found.diagonal(lag), found.diagonal(len(found) - lag)
    circle = (line.sum() + rest.sum()) / (len(line) + len(rest))
    return min(float(line.mean()), float(circle))


def _common(readings: Readings) -> Tensor | None:
    """The samples of the block that all of the first frames have, (frame, sample); None if too
    few."""
    middle = readings.block.shape[-1] // 2
    columns = slice(max(0, middle - COLUMNS // 2), middle + COLUMNS // 2)
    block, held = readings.block[:MOST, ..., columns], readings.held[:MOST, :, columns].all(0)
    if len(block) < FEWEST or int(held.sum()) * readings.coils < FEWEST_SAMPLES:
        return None
    return block[..., held].flatten(1)


def _a_cine(readings: Readings, common: Tensor) -> bool:
    """Whether frames follow one another: as the file says, else if all are about equally bright."""
    known = readings.series.acquisition
    if known.venc is not None:
        return False
    if known.modality is not None:
        return known.modality == "Cine"

    brightness = common.norm(dim=1)
    return float(brightness.max()) < BRIGHTNESS * float(brightness.min())


def distances(common: Tensor) -> Tensor:
    """Squared distances between frames (frame, frame) less their noise, free of a phase.

    Parameters
    ----------
    common : Tensor (frame, sample)
    """
    gram = common @ common.mH
    energy = gram.diagonal().real
    found = (energy[:, None] + energy[None] - 2 * gram.abs()) / energy.mean()
    apart = ~torch.eye(len(gram), dtype=torch.bool, device=gram.device)
    return (found - NOISE * found[apart].min()).clamp(min=0) * apart


def tour(found: Tensor, order: list[int]) -> float:
    """Length of the closed way through frames in this order."""
    return float(found[order, order[1:] + order[:1]].sum())


def shorter(found: Tensor, order: list[int]) -> list[int]:
    """A shorter closed way: pieces are turned round as long as that helps (2-opt)."""
    d = found.tolist()
    order, n, improved = order[:], len(order), True
    while improved:
        improved = False
        for i in range(n - 1):
            for j in range(i + 2, n - (i == 0)):
                a, b, c, e = order[i], order[i + 1], order[j], order[(j + 1) % n]
                if d[a][c] + d[b][e] < d[a][b] + d[c][e] - 1e-12:
                    order[i + 1 : j + 1] = order[i + 1 : j + 1][::-1]
                    improved = True

    return order
