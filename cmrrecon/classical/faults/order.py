"""Detect frames that are out of order."""

import torch
from torch import Tensor

from cmrrecon.classical.faults.readings import Readings

# The distance that all pairs of frames share is noise; this fraction of it is subtracted.
NOISE = 0.8
FEWEST, FEWEST_SAMPLES = 6, 256
# The first frames are enough.
MOST = 32
# Motion shows best in the middle of the readout.
COLUMNS = 16
# Distances below which an order shows, relative to the mean distance: of neighbours, and of frames
# any fixed number apart.
NEIGHBOURS, APART = 0.6, 0.44
# Largest ratio of brightness between frames of a cine.
BRIGHTNESS = 1.3


def disorder(readings: Readings) -> float:
    """How many times longer the path through the frames is as stored than in a better order.

    It is 1 if the stored order shows: neighbours are more alike than other frames, or frames a
    fixed number apart are, as in several heartbeats or interleaved sets of frames. It is also 1 if
    the order is unknown: few frames, too few common samples, or no cine.
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
    """The mean distance of frames `lag` apart: the smaller one of circular and linear time."""
    line, rest = found.diagonal(lag), found.diagonal(len(found) - lag)
    circle = (line.sum() + rest.sum()) / (len(line) + len(rest))
    return min(float(line.mean()), float(circle))


def _common(readings: Readings) -> Tensor | None:
    """The samples of the block that all of the first frames measured, (frame, sample).

    None if there are too few.
    """
    middle = readings.block.shape[-1] // 2
    columns = slice(max(0, middle - COLUMNS // 2), middle + COLUMNS // 2)
    block, held = readings.block[:MOST, ..., columns], readings.held[:MOST, :, columns].all(0)
    if len(block) < FEWEST or int(held.sum()) * readings.coils < FEWEST_SAMPLES:
        return None
    return block[..., held].flatten(1)


def _a_cine(readings: Readings, common: Tensor) -> bool:
    """Whether frames form a cine: as the file says, else if all are about equally bright."""
    known = readings.series.acquisition
    if known.venc is not None:
        return False
    if known.modality is not None:
        return known.modality == "Cine"

    brightness = common.norm(dim=1)
    return float(brightness.max()) < BRIGHTNESS * float(brightness.min())


def distances(common: Tensor) -> Tensor:
    """Squared distances between frames (frame, frame) without their noise and any global phase.

    Parameters
    ----------
    common : Tensor of shape (frame, sample), complex
        Samples that all frames measured.

    Returns
    -------
    Tensor of shape (frame, frame), real
        The distances.
    """
    gram = common @ common.mH
    energy = gram.diagonal().real
    found = (energy[:, None] + energy[None] - 2 * gram.abs()) / energy.mean()
    apart = ~torch.eye(len(gram), dtype=torch.bool, device=gram.device)
    return (found - NOISE * found[apart].min()).clamp(min=0) * apart


def tour(found: Tensor, order: list[int]) -> float:
    """Length of the closed path through frames in this order."""
    return float(found[order, order[1:] + order[:1]].sum())


def shorter(found: Tensor, order: list[int]) -> list[int]:
    """Shorten a closed path by reversing pieces as long as that helps (2-opt)."""
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
