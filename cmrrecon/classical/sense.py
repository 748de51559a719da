"""SENSE: least squares with coil maps."""

from torch import Tensor

from cmrrecon.classical.problem import Problem
from cmrrecon.solvers import Monitor, Solution, conjugate_gradient, never


def sense(
    problem: Problem, *, weight: float = 0.003, iterations: int = 20, monitor: Monitor = never
) -> Solution:
    """Reconstruct by conjugate-gradient SENSE, frame by frame.

    It minimises `1/2 ||A x - y||^2 + weight/2 ||x||^2`, starting from zero.

    Parameters
    ----------
    problem : Problem
        Least-squares term of a normalised series.
    weight : float
        Tikhonov weight.
    iterations : int
        Largest number of conjugate-gradient steps.
    monitor : Monitor
        See `solvers.Monitor`.

    Returns
    -------
    Solution
        Images (frame, y, x').

    References
    ----------
    Pruessmann et al., Magn Reson Med 2001;46:638.
    """

    def normal(x: Tensor) -> Tensor:
        return problem.A.N(x).add_(x, alpha=weight)

    return conjugate_gradient(normal, problem.rhs, iterations, tolerance=1e-6, monitor=monitor)
