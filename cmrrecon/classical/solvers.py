"""Iterative solvers, free of MRI: every frame of (frame, y, x) is worked on at once, on the device of the data.

`normal` is the normal operator A^H A, `rhs` is A^H y, so that normal(x) - rhs is the gradient of 1/2 ||A x - y||^2.
Operators must have norm one at most, as `Encoding` with maps of unit root-sum-of-squares has.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Operator = Callable[[Tensor], Tensor]
# Called with the number of steps done and the present x, which it must not change; says whether to stop.
Monitor = Callable[[int, Tensor], bool]


def never(step: int, x: Tensor) -> bool:
    """The monitor that lets a solver do all its steps."""
    return False


@dataclass(frozen=True)
class Solution:
    """What a solver found.

    Attributes
    ----------
    x : Tensor (frame, y, x)
    residuals : one number a step. Conjugate gradient: the residual over the right-hand side, of the worst frame.
        The others: the change of x over its size.
    """

    x: Tensor
    residuals: tuple[float, ...]


def conjugate_gradient(normal: Operator, rhs: Tensor, iterations: int, *, tolerance: float = 0.0, monitor: Monitor = never) -> Solution:
    """Solve normal(x) = rhs from x = 0 for a Hermitian positive (semi)definite operator; every frame is a problem of its own.

    Parameters
    ----------
    normal : maps (frame, y, x) to (frame, y, x), each frame for itself; of any norm
    rhs : Tensor (frame, y, x), complex
    iterations : at most this many
    tolerance : a frame is solved when its residual is at most this part of its right-hand side, and in any case when only rounding is left
    monitor : called after every step

    Hestenes and Stiefel, J Res Natl Bur Stand 1952;49:409.
    """
    x = torch.zeros_like(rhs)
    residual, direction = rhs.clone(), rhs.clone()
    energy = start = frame_energy(rhs)
    residuals = []
    tolerance = max(tolerance, torch.finfo(rhs.dtype).eps)
    for step in range(iterations):
        unsolved = energy > tolerance**2 * start
        if not bool(unsolved.any()):
            break
        image = normal(direction)
        curvature = frame_dot(direction, image)
        # A solved frame waits for the others: its direction is rounding, which a semidefinite operator would blow up.
        length = torch.where(unsolved & (curvature > 0), energy / curvature, 0).to(rhs.dtype)
        x.addcmul_(length, direction)
        residual.addcmul_(length, image, value=-1)
        previous, energy = energy, frame_energy(residual)
        direction *= torch.where(previous > 0, energy / previous, 0)
        direction += residual
        residuals.append(float(torch.where(start > 0, energy / start, 0).max().sqrt()))
        if monitor(step + 1, x):
            break
    return Solution(x, tuple(residuals))


def fista(normal: Operator, rhs: Tensor, prox: Operator, start: Tensor, iterations: int, *, monitor: Monitor = never) -> Solution:
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


# Dual step x ||K||^2. The steps converge for any; this is the quickest of 0.5, 0.2 and 0.1 on semi-real cine.
DUAL_SHARE = 0.1


def frame_dot(a: Tensor, b: Tensor) -> Tensor:
    """Real part of the inner product of each frame, (frame, 1, 1)."""
    # Of the numbers as they lie in memory where neighbours along y do, so that nothing is copied.
    pairs = zip(*(torch.view_as_real(part.mT).flatten(1) for part in (a, b)), strict=True)
    return torch.stack([torch.dot(u, v) for u, v in pairs])[:, None, None]


def frame_energy(a: Tensor) -> Tensor:
    """Sum of squared magnitudes of each frame, (frame, 1, 1)."""
    return frame_dot(a, a)


def relative_size(change: Tensor, x: Tensor) -> float:
    """||change|| / ||x||, zero if both are."""
    size = float(frame_energy(x).sum())
    return (float(frame_energy(change).sum()) / size) ** 0.5 if size > 0 else 0.0
