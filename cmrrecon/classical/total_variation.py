"""Compressed sensing with total variation, over space or over time."""

import torch
from torch import Tensor

from cmrrecon.classical.problem import Problem
from cmrrecon.solvers import Monitor, Solution, fista, never, primal_dual
from cmrrecon.solvers.shrinkage import TemporalVariationShrinkage, shorten

# Weight of the spatial total variation that stands in for the temporal one of a single frame.
SPACE_SHARE = 0.2


def tv(
    problem: Problem, *, weight: float = 0.002, iterations: int = 100, monitor: Monitor = never
) -> Solution:
    """Spatial total variation: min 1/2 ||A x - y||^2 + weight (||D_y x||_1 + ||D_x x||_1), frame by frame, by primal-dual steps.

    Parameters
    ----------
    problem : of a normalised series
    weight : of the total variation
    iterations : primal-dual steps
    monitor : see `solvers.Monitor`

    Block et al., Magn Reson Med 2007;57:1086.
    """

    def analysis(x: Tensor) -> Tensor:
        return torch.stack([differences(x, 1), differences(x, 2)])

    def synthesis(dual: Tensor) -> Tensor:
        return differences_adjoint(dual[0], 1).add_(differences_adjoint(dual[1], 2))

    def project(dual: Tensor) -> Tensor:
        return shorten(dual, weight)

    rhs, start = problem.rhs, problem.start
    return primal_dual(
        problem.A.N, rhs, analysis, synthesis, project, 8.0, start, iterations, monitor=monitor
    )


def temporal_tv(
    problem: Problem, *, weight: float = 0.01, iterations: int = 25, monitor: Monitor = never
) -> Solution:
    """Temporal total variation: min 1/2 ||A x - y||^2 + weight ||D_t x||_1 by FISTA from the time average.

    D_t are the differences of neighbouring frames; the last is not joined to the first. A single frame has no time: `tv` with a fifth of
    the weight is its reconstruction.

    Parameters
    ----------
    problem : of a normalised series
    weight : of the total variation
    iterations : FISTA steps
    monitor : see `solvers.Monitor`

    Feng et al., Magn Reson Med 2014;72:707 (the regulariser, there for radial sampling).
    """
    if len(problem.rhs) == 1:
        return tv(problem, weight=SPACE_SHARE * weight, iterations=iterations, monitor=monitor)
    return fista(
        problem.A.N,
        problem.rhs,
        TemporalVariationShrinkage(weight),
        problem.start,
        iterations,
        monitor=monitor,
    )


def differences(x: Tensor, dim: int) -> Tensor:
    """x[i + 1] - x[i] along `dim`, zero in the last place."""
    n = x.shape[dim] - 1
    out = torch.zeros_like(x)
    torch.sub(x.narrow(dim, 1, n), x.narrow(dim, 0, n), out=out.narrow(dim, 0, n))
    return out


def differences_adjoint(d: Tensor, dim: int) -> Tensor:
    """The adjoint of `differences`; what stands in the last place is ignored."""
    n = d.shape[dim] - 1
    out = torch.zeros_like(d)
    inner = d.narrow(dim, 0, n)
    out.narrow(dim, 0, n).sub_(inner)
    out.narrow(dim, 1, n).add_(inner)
    return out
