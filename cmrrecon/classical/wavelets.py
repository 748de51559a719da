"""Compressed sensing with wavelets, either in space alone or in space and time."""

from torch import Tensor

from cmrrecon.classical.problem import Problem
from cmrrecon.solvers import Monitor, Solution, fista, never
from cmrrecon.solvers.shrinkage import HaarShrinkage

SPACE_LEVELS = 4
TIME_LEVELS = 3
# Weight of spatial details relative to the weight of temporal details.
SPACE_SHARE = 0.1


def l1_wavelet(
    problem: Problem, *, weight: float = 0.002, iterations: int = 40, monitor: Monitor = never
) -> Solution:
    """Reconstruct with spatial wavelets, frame by frame, by FISTA.

    It minimises `1/2 ||A x - y||^2 + weight ||W x||_1`, where W computes the details of the
    two-dimensional Haar transform, averaged over its shifts (see `HaarShrinkage`).

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
    Lustig et al., Magn Reson Med 2007;58:1182.
    """
    prox = HaarShrinkage((1, 2), weight, SPACE_LEVELS)
    return fista(problem.A.N, problem.rhs, prox, problem.start, iterations, monitor=monitor)


def kt_wavelet(
    problem: Problem, *, weight: float = 0.01, iterations: int = 40, monitor: Monitor = never
) -> Solution:
    """Reconstruct with wavelets in time and space, by FISTA.

    It minimises `1/2 ||A x - y||^2 + weight (||W_t x||_1 + 0.1 ||W_yx x||_1)`. W_t computes the
    details of the Haar transform over time, and W_yx the details over space. Both are averaged over
    their shifts (see `HaarShrinkage`) and shrunk one after the other. A single frame has no time
    axis, so only W_yx is used.

    Parameters
    ----------
    problem : Problem
        Least-squares term of a normalised series.
    weight : float
        Weight of the temporal l1-norm.
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
    Sparsity in time and space together, with Fourier in time (k-t SPARSE): Lustig et al., Proc
    ISMRM 2006;14:2420.
    """
    if len(problem.rhs) == 1:
        return single_frame(problem, weight, iterations, monitor)
    over_time = HaarShrinkage((0,), weight, TIME_LEVELS)
    over_space = HaarShrinkage((1, 2), SPACE_SHARE * weight, SPACE_LEVELS)

    def prox(v: Tensor) -> Tensor:
        return over_space(over_time(v))

    return fista(problem.A.N, problem.rhs, prox, problem.start, iterations, monitor=monitor)


def single_frame(problem: Problem, weight: float, iterations: int, monitor: Monitor) -> Solution:
    """Reconstruct a single frame, for methods that need several frames.

    This is `l1_wavelet` with the weight of the spatial wavelets in `kt_wavelet`.
    """
    return l1_wavelet(problem, weight=SPACE_SHARE * weight, iterations=iterations, monitor=monitor)
