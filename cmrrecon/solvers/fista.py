"""Accelerated proximal gradients."""

from torch import Tensor

from cmrrecon.solvers.iteration import Monitor, Operator, Solution, never, relative_size


def fista(
    normal: Operator,
    rhs: Tensor,
    prox: Operator,
    start: Tensor,
    iterations: int,
    *,
    monitor: Monitor = never,
) -> Solution:
    """Minimise 1/2 ||A x - y||^2 + g(x) by proximal gradient steps of length one with Nesterov's momentum.

    Parameters
    ----------
    normal, rhs : of the least-squares term
    prox : v -> argmin_x 1/2 ||x - v||^2 + g(x); may overwrite v
    start : Tensor (frame, y, x)
    iterations : number of steps
    monitor : called after every step

    Beck and Teboulle, SIAM J Imaging Sci 2009;2:183.
    """
    x, ahead, momentum = start, start, 1.0
    residuals = []
    for step in range(iterations):
        v = normal(ahead).neg_().add_(rhs).add_(ahead)
        previous, x = x, prox(v)
        before, momentum = momentum, (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        change = x - previous
        residuals.append(relative_size(change, x))
        ahead = change.mul_((before - 1) / momentum).add_(x)
        if monitor(step + 1, x):
            break

    return Solution(x, tuple(residuals))
