"""Compressed sensing with total variation, over space or over time."""

import torch
from torch import Tensor

from cmrrecon.classical.problem import Problem
from cmrrecon.solvers import Monitor, Solution, fista, never, primal_dual
from cmrrecon.solvers.shrinkage import TemporalVariationShrinkage, shorten

# A single frame is reconstructed with spatial total variation, with this fraction of the temporal
# weight.
SPACE_SHARE = 0.2


def tv(
    problem: Problem, *, weight: float = 0.002, iterations: int = 100, monitor: Monitor = never
) -> Solution:
    """Reconstruct with spatial total variation, frame by frame, by primal-dual steps.

    It minimises `1/2 ||A x - y||^2 + weight (||D_y x||_1 + ||D_x x||_1)`, where D computes the
    differences of neighbouring pixels.

    Parameters
    ----------
    problem : Problem
        Least-squares term of a normalised series.
    weight : float
        Weight of the total variation.
    iterations : int
        Primal-dual steps.
    monitor : Monitor
        See `solvers.Monitor`.

    Returns
    -------
    Solution
        Images (frame, y, x').

    References
    ----------
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
    """Reconstruct with temporal total variation by FISTA, starting from the time average.

    It minimises `1/2 ||A x - y||^2 + weight ||D_t x||_1`, where D_t computes the differences of
    neighbouring frames, between the last and the first only if time is cyclic (`Problem.cyclic`). A
    single frame has no time axis and is reconstructed by `tv` with a fifth of the weight.

    Parameters
    ----------
    problem : Problem
        Least-squares term of a normalised series.
    weight : float
        Weight of the total variation.
    iterations : int
        FISTA steps.
    monitor : Monitor
        See `solvers.Monitor`.

    Returns
    -------
    Solution
        Images (frame, y, x').

    References
    ----------
    Feng et al., Magn Reson Med 2014;72:707 (the regulariser, used there for radial sampling).
    """
    if len(problem.rhs) == 1:
        return tv(problem, weight=SPACE_SHARE * weight, iterations=iterations, monitor=monitor)
    return fista(
        problem.A.N,
        problem.rhs,
        TemporalVariationShrinkage(weight, cyclic=problem.cyclic),
        problem.start,
        iterations,
        monitor=monitor,
    )


def differences(x: Tensor, dim: int) -> Tensor:
    """Compute the differences x[i + 1] - x[i] along `dim`, with zero in the last place."""
    n = x.shape[dim] - 1
    out = torch.zeros_like(x)
    torch.sub(x.narrow(dim, 1, n), x.narrow(dim, 0, n), out=out.narrow(dim, 0, n))
    return out


def differences_adjoint(d: Tensor, dim: int) -> Tensor:
    """Apply the adjoint of `differences`, which ignores the last place."""
    n = d.shape[dim] - 1
    out = torch.zeros_like(d)
    inner = d.narrow(dim, 0, n)
    out.narrow(dim, 0, n).sub_(inner)
    out.narrow(dim, 1, n).add_(inner)
    return out
