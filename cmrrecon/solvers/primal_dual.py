"""The primal-dual method, for regularisers whose proximal map is not simple."""

import torch
from torch import Tensor

from cmrrecon.solvers.iteration import Monitor, Operator, Solution, never, relative_size

# The dual step size times ||K||^2. The method converges for any value; among 0.5, 0.2 and 0.1 this
# one is the fastest on semi-real cine.
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
    """Minimise `1/2 ||A x - y||^2 + g(K x)`, where the proximal map of g is simple.

    Parameters
    ----------
    normal : callable
        `A^H A`, with a norm of at most one.
    rhs : Tensor of shape (frame, y, x), complex
        `A^H y`.
    analysis, synthesis : callable
        `K` and its adjoint.
    project : callable
        The proximal map of the convex conjugate `g*`. For a weighted l1-norm this is the projection
        onto a ball, for any step size. It may overwrite its input.
    norm : float
        An upper bound for `||K||^2`.
    start : Tensor of shape (frame, y, x), complex
        The first iterate.
    iterations : int
        The number of steps.
    monitor : callable
        Called after every step; see `Monitor`.

    Returns
    -------
    Solution
        The last iterate; its residuals are the relative changes of x.

    References
    ----------
    Condat, J Optim Theory Appl 2013;158:460. Vu, Adv Comput Math 2013;38:667.
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
