"""The accelerated proximal gradient method."""

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
    """Minimise `1/2 ||A x - y||^2 + g(x)` by accelerated proximal gradient steps of length one.

    Parameters
    ----------
    normal : callable
        `A^H A`, with a norm of at most one.
    rhs : Tensor of shape (frame, y, x), complex
        `A^H y`.
    prox : callable
        Maps `v` to `argmin_x 1/2 ||x - v||^2 + g(x)`. It may overwrite `v`.
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
