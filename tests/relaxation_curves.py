"""Curves of known relaxation times."""

import torch

from cmrrecon.simulation.phantoms import INVERSION_TIMES, PREPARATION_TIMES

MOLLI_TIMES = torch.tensor(INVERSION_TIMES, dtype=torch.float64)
PREPARED = torch.tensor(PREPARATION_TIMES, dtype=torch.float64)


def recovery(times, t1, inversion=2.0, density=1.0):
    """|signal| (frame, pixel) of an imperfect inversion read out by pulses.

    The apparent T1 is t1 / (inversion - 1).
    """
    return (density * (1 - inversion * torch.exp(-times[:, None] * (inversion - 1) / t1))).abs()
