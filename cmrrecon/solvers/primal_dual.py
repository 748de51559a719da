"""Primal-dual steps, for regularisers whose proximal map is not simple."""

import torch
from torch import Tensor

from cmrrecon.solvers.iteration import Monitor, Operator, Solution, never, relative_size

# Dual step x ||K||^2. The steps converge for any; this is the quickest of 0.5, 0.2 and 0.1 on semi-real cine.
DUAL_SHARE = 0.1


def primal_dual(
    normal: Operator,
    rhs: Tensor,
    analysis: Operator,
    synthesis: Operator,
    project: Operator,
    norm: float,
    start: Tensor,
    iterations: int,
    *,
    monitor: Monitor = never,
) -> Solution:
    """Minimise 1/2 ||A x - y||^2 + g(K x) where the proximal map of g is simple and that of g(K x) is not.

    Parameters
    ----------
    normal, rhs : of the least-squares term
    analysis, synthesis : K and its adjoint
    project : proximal map of the convex conjugate g*; for a weighted l1-norm the projection onto a ball, whatever the step
    norm : an upper bound of ||K||^2
    start : Tensor (frame, y, x)
    iterations : number of steps
    monitor : called after every step

    Condat, J Optim Theory Appl 2013;158:460; Vu, Adv Comput Math 2013;38:667.
    """
    dual_step = DUAL_SHARE / norm
    step_length = 1 / (0.5 + DUAL_SHARE)
    x, dual = start, torch.zeros_like(analysis(start))
    residuals = []

    for step in range(iterations):
        gradient = normal(x).sub_(rhs).add_(synthesis(dual))
        change = gradient.mul_(-step_length)
        x = x + change
        dual = project(dual.add_(analysis(change.add_(x)), alpha=dual_step))
        residuals.append(relative_size(change.sub_(x), x))
        if monitor(step + 1, x):
            break

    return Solution(x, tuple(residuals))
