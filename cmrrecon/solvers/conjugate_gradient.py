"""Conjugate gradients: the one loop for images, coil maps and unrolled networks."""

from collections.abc import Callable

import torch
from torch import Tensor

from cmrrecon.solvers.iteration import Monitor, Operator, Solution, frame_dot, never

Inner = Callable[[Tensor, Tensor], Tensor]


def conjugate_gradient(
    normal: Operator,
    rhs: Tensor,
    iterations: int,
    *,
    precondition: Operator | None = None,
    inner: Inner = frame_dot,
    tolerance: float = 0.0,
    monitor: Monitor = never,
) -> Solution:
    """Solve normal(x) = rhs from x = 0 for a Hermitian positive (semi)definite operator.

    Every entry of the first axis (a frame, say, or a coil) is a problem of its own. Gradients reach
    `rhs` and whatever `normal` depends on.

    Parameters
    ----------
    normal : maps (frame, y, x) to (frame, y, x), each frame for itself; of any norm
    rhs : Tensor (frame, y, x), complex
    iterations : at most this many
    precondition : maps a residual to an approximate error; None for the residual itself
    inner : real inner product of each problem, of two arguments to (frame, 1, 1)
    tolerance : a frame is solved when its residual is at most this part of its right-hand side, and
        in any case when only rounding is left
    monitor : called after every step

    Returns
    -------
    Solution; its residuals are relative to the right-hand side, of the worst frame

    Source: Hestenes and Stiefel, J Res Natl Bur Stand 1952;49:409.
    """
    x, residual = torch.zeros_like(rhs), rhs
    direction = residual if precondition is None else precondition(residual)
    power = inner(residual, direction)
    energy = size = inner(rhs, rhs)
    limit = max(tolerance, torch.finfo(rhs.dtype).eps) ** 2 * size
    residuals = []

    for step in range(iterations):
        unsolved = energy > limit
        if not bool(unsolved.any()):
            break
        image = normal(direction)
        curvature = inner(direction, image)

        # A solved frame waits for the others: its direction is rounding, which a semidefinite
        # operator would blow up.
        moving = unsolved & (curvature > 0)
        length = torch.where(moving, power / torch.where(moving, curvature, 1), 0).to(rhs.dtype)
        x = torch.addcmul(x, length, direction)
        residual = torch.addcmul(residual, length, image, value=-1)
        scaled = residual if precondition is None else precondition(residual)
        before, power = power, inner(residual, scaled)
        energy = power if precondition is None else inner(residual, residual)
        momentum = torch.where(before > 0, power / torch.where(before > 0, before, 1), 0)
        direction = torch.addcmul(scaled, momentum.to(rhs.dtype), direction)
        relative = torch.where(size > 0, energy / torch.where(size > 0, size, 1), 0)
        residuals.append(float(relative.detach().max().clamp(min=0).sqrt()))
        if monitor(step + 1, x):
            break

    return Solution(x, tuple(residuals))
