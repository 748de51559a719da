"""Low-rank reconstruction: locally low rank, and low rank plus sparse."""

import math

import torch
from torch import Tensor

from cmrrecon.classical.problem import Problem
from cmrrecon.classical.wavelets import single_frame
from cmrrecon.solvers import Monitor, Solution, fista, never
from cmrrecon.solvers.shrinkage import (
    BlockShrinkage,
    singular_value_threshold,
    temporal_fourier_shrinkage,
)

# Side of a block in pixels.
BLOCK = 8
# Threshold of the singular values for an image of one pixel, relative to the threshold of the
# temporal frequencies.
LOW_RANK_SHARE = 0.6


def llr(
    problem: Problem, *, weight: float = 0.03, iterations: int = 40, monitor: Monitor = never
) -> Solution:
    """Reconstruct with a locally low-rank penalty, by FISTA.

    It minimises `1/2 ||A x - y||^2 + weight sum_b ||x_b||_*`, where x_b are blocks of 8 x 8 pixels
    as matrices (frame, pixel), on a grid that is shifted at random in each step. A single frame has
    rank one and is reconstructed by `single_frame` instead.

    Parameters
    ----------
    problem : Problem
        Least-squares term of a normalised series.
    weight : float
        Weight of the nuclear norms.
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
    Trzasko and Manduca, Proc ISMRM 2011;19:4371; Zhang et al., Magn Reson Med 2015;73:655.
    """
    if len(problem.rhs) == 1:
        return single_frame(problem, weight, iterations, monitor)
    return fista(
        problem.A.N,
        problem.rhs,
        BlockShrinkage(weight, BLOCK),
        problem.start,
        iterations,
        monitor=monitor,
    )


def low_rank_sparse(
    problem: Problem, *, weight: float = 0.01, iterations: int = 40, monitor: Monitor = never
) -> Solution:
    """Reconstruct as low rank plus sparse (L+S), by FISTA.

    It minimises `1/2 ||A (L + S) - y||^2 + w_L ||L||_* + weight ||F_t S||_1`. The image is the sum
    of L, a matrix (frame, pixel) of the whole image, and S. F_t is the temporal Fourier transform
    without the zero frequency. w_L is `LOW_RANK_SHARE` times the weight times the square root of
    the number of pixels. A single frame has rank one and is reconstructed by `single_frame`
    instead.

    Parameters
    ----------
    problem : Problem
        Least-squares term of a normalised series.
    weight : float
        Weight of the sparse part.
    iterations : int
        FISTA steps.
    monitor : Monitor
        See `solvers.Monitor`; it sees the sum of both parts.

    Returns
    -------
    Solution
        Images (frame, y, x').

    References
    ----------
    Otazo et al., Magn Reson Med 2015;73:1125.
    """
    if len(problem.rhs) == 1:
        return single_frame(problem, weight, iterations, monitor)

    rank_weight = LOW_RANK_SHARE * weight * math.sqrt(problem.rhs[0].numel())
    # Both parts are divided by sqrt(2), so that the operator of the pair has norm one again.
    half = math.sqrt(0.5)

    def total(parts: Tensor) -> Tensor:
        return (parts[0] + parts[1]).mul_(half)

    def normal(parts: Tensor) -> Tensor:
        return torch.stack([problem.A.N(total(parts)).mul_(half)] * 2)

    def prox(parts: Tensor) -> Tensor:
        low, sparse = parts
        low.copy_(singular_value_threshold(low.flatten(1), rank_weight * half).reshape(low.shape))
        sparse.copy_(temporal_fourier_shrinkage(sparse, weight * half))
        return parts

    start = torch.stack([problem.start / half, torch.zeros_like(problem.start)])
    found = fista(
        normal,
        problem.rhs * half,
        prox,
        start,
        iterations,
        monitor=lambda step, parts: monitor(step, total(parts)),
    )

    return Solution(total(found.x), found.residuals)
