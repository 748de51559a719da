"""SENSE: least squares with coil maps."""

from torch import Tensor

from cmrrecon.classical.problem import Problem
from cmrrecon.solvers import Monitor, Solution, conjugate_gradient, never


def sense(
    problem: Problem, *, weight: float = 0.003, iterations: int = 20, monitor: Monitor = never
) -> Solution:
    """Conjugate-gradient SENSE: min 1/2 ||A x - y||^2 + weight / 2 ||x||^2, frame by frame.

    Parameters
    ----------
    problem : of a normalised series
    weight : Tikhonov weight
    iterations : conjugate-gradient steps at most; the start is zero
    monitor : see `solvers.Monitor`

    Pruessmann et al., Magn Reson Med 2001;46:638.
    """

    def normal(x: Tensor) -> Tensor:
        return problem.A.N(x).add_(x, alpha=weight)

    return conjugate_gradient(normal, problem.rhs, iterations, tolerance=1e-6, monitor=monitor)
