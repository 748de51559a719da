"""Detect frames that are out of order."""

import torch
from torch import Tensor

from cmrrecon.classical.faults.readings import Readings

# The smallest distance between two frames is mostly noise; this fraction of it is subtracted from
# all distances.
NOISE = 0.8
# Minimum number of frames, and of samples that all frames measured.
FEWEST, FEWEST_SAMPLES = 6, 256
# Only this many frames at the beginning are checked, which is enough.
MOST = 32
# Motion is clearest in the middle of the readout, so only this many columns are used.
COLUMNS = 16
# Frames are in order if the mean distance of neighbours, or of frames a fixed number apart, is
# below this fraction of the mean distance of all frames.
NEIGHBOURS, LAGGED = 0.6, 0.44
# Largest ratio of brightness between frames of a cine.
BRIGHTNESS = 1.3


def disorder(readings: Readings) -> float:
    """Measure how much longer the path through the frames is as stored than in a better order.

    The result is a ratio of lengths. It is 1 if frames are clearly in order: neighbours are more
    alike than other frames, or so are frames a fixed number apart, as with several heartbeats or
    interleaved sets of frames. It is also 1 if the order cannot be judged, because there are too
    few frames or common samples, or the frames are not a cine.
    """
    common = _common(readings)
    if common is None or not _is_cine(readings, common):
        return 1.0

    distance = distances(common)
    count = len(distance)
    mean = float(distance.sum()) / (count * (count - 1))

    order = list(range(count))
    stored, best = tour(distance, order), tour(distance, shorter(distance, order))

    neighbours = stored / count / max(mean, 1e-30)
    lagged = min(_mean_distance(distance, lag) for lag in range(1, count // 2 + 1)) / max(
        mean, 1e-30
    )
    if neighbours < NEIGHBOURS or lagged < LAGGED or not best > 0:
        return 1.0
    return stored / best


def _mean_distance(distance: Tensor, lag: int) -> float:
    """Average the distance between frames `lag` apart, in linear or cyclic time (the smaller)."""
    line, rest = distance.diagonal(lag), distance.diagonal(len(distance) - lag)
    circle = (line.sum() + rest.sum()) / (len(line) + len(rest))
    return min(float(line.mean()), float(circle))


def _common(readings: Readings) -> Tensor | None:
    """Select the samples of the block that all of the first frames measured, (frame, sample).

    None if there are too few.
    """
    middle = readings.block.shape[-1] // 2
    columns = slice(max(0, middle - COLUMNS // 2), middle + COLUMNS // 2)
    block, measured = (
        readings.block[:MOST, ..., columns],
        readings.block_measured[:MOST, :, columns].all(0),
    )
    if len(block) < FEWEST or int(measured.sum()) * readings.coils < FEWEST_SAMPLES:
        return None
    return block[..., measured].flatten(1)


def _is_cine(readings: Readings, common: Tensor) -> bool:
    """Return whether the frames form a cine: from the file, or else from their brightness."""
    known = readings.series.acquisition
    if known.venc is not None:
        return False
    if known.modality is not None:
        return known.modality == "Cine"

    brightness = common.norm(dim=1)
    return float(brightness.max()) < BRIGHTNESS * float(brightness.min())


def distances(common: Tensor) -> Tensor:
    """Compute squared distances (frame, frame) without their noise and any global phase.

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
    distance = (energy[:, None] + energy[None] - 2 * gram.abs()) / energy.mean()
    off_diagonal = ~torch.eye(len(gram), dtype=torch.bool, device=gram.device)
    return (distance - NOISE * distance[off_diagonal].min()).clamp(min=0) * off_diagonal


def tour(distance: Tensor, order: list[int]) -> float:
    """Return the length of the closed path through frames in this order."""
    return float(distance[order, order[1:] + order[:1]].sum())


def shorter(distance: Tensor, order: list[int]) -> list[int]:
    """Shorten a closed path by reversing parts of it until that no longer helps (2-opt)."""
    d = distance.tolist()
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
