"""Calibration lines where even all frames together leave gaps: lines and images are found in turns.

S = maps of the lines there are, x = CG-SENSE of the time average, lines in gaps = F S x, and again
"""

import torch
from torch import Tensor

from cmrrecon.data import CartesianMask, LineMask
from cmrrecon.operators.cartesian import encoding
from cmrrecon.operators.coil_images import time_average
from cmrrecon.operators.fourier import centred, fft2c
from cmrrecon.operators.sensitivity import FEWEST_LINES, Calibration, maps_from
from cmrrecon.solvers import conjugate_gradient

# A block of so many lines without gaps needs no more; about so many are made where it is smaller.
ENOUGH, MADE = 12, 24
# The part of them that must have been measured, and adjacent lines among them to begin with.
MEASURED, FIRST = 2 / 3, FEWEST_LINES
TURNS, STEPS, WEIGHT = 3, 12, 0.003


def completed(kspace: Tensor, mask: CartesianMask) -> Tensor | None:
    """The central lines (coil, y', x) of the time average, their gaps filled; None where it is not
    needed or not possible.

    It is needed where too few adjacent lines calibrate, and possible where two thirds of the
    central lines were measured in some frame, `FIRST` of them side by side. On simulated cine maps
    of lines with six gaps in 24 lose less than 1 dB against those of all lines; with nine they lose
    10 dB.

    Parameters
    ----------
    kspace : Tensor (frame, coil, y, x), complex
    mask : CartesianMask; single samples are left to `Calibration`
    """
    union = mask.samples.any(0)
    found = Calibration.of(mask)
    enough = ENOUGH if found.averaged else FEWEST_LINES
    if not isinstance(mask, LineMask) or found.lines >= enough:
        return None

    rows = centred(len(union), min(MADE, len(union)))
    average = time_average(kspace, mask.samples)
    lines = average[:, rows]

    begun = [run for run in runs(union[rows, 0]) if run.stop - run.start >= FIRST]
    if float(union[rows].float().mean()) < MEASURED or not begun:
        return None

    # Those with the most signal tell most.
    block = lines[:, max(begun, key=lambda run: float(lines[:, run].abs().square().sum()))]
    for _ in range(TURNS):
        block = torch.where(union[rows], lines, _predicted(average, union, block)[:, rows])

    return block


def runs(measured: Tensor) -> list[slice]:
    """The runs of adjacent True in (n,)."""
    found, start = [], 0
    for place, there in enumerate([*measured.tolist(), False]):
        if there:
            continue
        if place > start:
            found.append(slice(start, place))
        start = place + 1

    return found


def _predicted(average: Tensor, union: Tensor, block: Tensor) -> Tensor:
    """The k-space (coil, y, x) of the image that fits the time average, with the maps of a
    block."""
    maps = maps_from(block, (average.shape[1], average.shape[2]))
    A = encoding(maps, LineMask(union[None]))
    x = conjugate_gradient(lambda x: A.N(x) + WEIGHT * x, A.H(average[None]), STEPS).x
    return fft2c(maps * x[0])
