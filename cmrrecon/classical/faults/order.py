"""Frames that do not follow one another."""

import torch
from torch import Tensor

from cmrrecon.classical.faults.readings import Readings

# What all pairs of frames share of their distance is noise; a little less is taken off.
NOISE = 0.8
FEWEST, FEWEST_SAMPLES = 6, 256
# The largest ratio of the brightness of frames in a cine.
BRIGHTNESS = 1.3


def distances(readings: Readings) -> Tensor | None:
    """Squared distance between frames (frame, frame) over the samples of the block that both have.

    A part of their energy, free of a factor of phase. None where all frames share too few samples,
    or differ in brightness.
    """
    held, block = readings.held, readings.block
    frames = len(block)
    always = held.all(0)
    if int(always.sum()) < FEWEST_SAMPLES:
        return None
    values = (block * always).flatten(1)
    gram = values @ values.mH
    energy = gram.diagonal().real
    if float(energy.max()) > BRIGHTNESS**2 * float(energy.min()):
        return None
    found = (energy[:, None] + energy[None] - 2 * gram.abs()).clamp(min=0) / energy.mean()
    apart = ~torch.eye(frames, dtype=torch.bool, device=found.device)
    return (found - NOISE * found[apart].min()).clamp(min=0) * apart


def disorder(readings: Readings) -> float:
    """How many times longer the way through the frames is in the stored order than in a better one.

    1 where it is not known: few frames, too few common samples, or frames that differ in brightness
    or are known to be no cine, whose order may be any.
    """
    known = readings.series.acquisition
    cine = known.modality in (None, "Cine") and known.venc is None
    found = distances(readings) if cine and readings.frames >= FEWEST else None
    if found is None:
        return 1.0
    order = list(range(len(found)))
    ways = [tour(found, order[start::step]) for step in (2, 3) for start in range(step)]
    stored, best = tour(found, order), tour(found, shorter(found, order))
    interleaved = sum(ways[:2]) < stored / 2 or sum(ways[2:]) < stored / 2
    return 1.0 if interleaved else stored / max(best, 1e-12)


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
