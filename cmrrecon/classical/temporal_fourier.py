"""Compressed sensing with the Fourier transform over time."""

from torch import Tensor

from cmrrecon.classical.problem import Problem
from cmrrecon.classical.wavelets import single_frame
from cmrrecon.solvers import Monitor, Solution, fista, never
from cmrrecon.solvers.shrinkage import temporal_fourier_shrinkage


def temporal_fourier(
    problem: Problem, *, weight: float = 0.01, iterations: int = 30, monitor: Monitor = never
) -> Solution:
    """Reconstruct with sparsity in the temporal Fourier domain (k-t sparse), by FISTA.

    It minimises `1/2 ||A x - y||^2 + weight ||F_t x||_1`, where F_t is the temporal Fourier
    transform without the zero frequency. A single frame has no time axis and is reconstructed by
    `single_frame` instead.

    Parameters
    ----------
    problem : Problem
        Least-squares term of a normalised series.
    weight : float
        Weight of the l1-norm.
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
    Lustig et al., Proc ISMRM 2006;14:2420; Jung et al., Magn Reson Med 2009;61:103.
    """
    if len(problem.rhs) == 1:
        return single_frame(problem, weight, iterations, monitor)

    def prox(v: Tensor) -> Tensor:
        return temporal_fourier_shrinkage(v, weight)

    return fista(problem.A.N, problem.rhs, prox, problem.start, iterations, monitor=monitor)
