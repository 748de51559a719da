"""Conjugate gradients: one loop for images, coil maps and unrolled networks."""

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
    """Solve `normal(x) = rhs` from x = 0 for a Hermitian positive (semi)definite operator.

    Each entry of the first axis (such as a frame or a coil) is a separate problem. The loop is
    differentiable: gradients reach `rhs` and everything that `normal` depends on.

    Parameters
    ----------
    normal : callable
        Maps (frame, y, x) to (frame, y, x), each frame separately. Its norm is arbitrary.
    rhs : Tensor of shape (frame, y, x), complex
        The right-hand side.
    iterations : int
        The maximum number of steps.
    precondition : callable or None
        Maps a residual to an approximate error. None uses the residual itself.
    inner : callable
        The real inner product of each problem, which maps two tensors to (frame, 1, 1).
    tolerance : float
        A frame is solved when its residual is at most this fraction of its right-hand side, or
        when only rounding errors are left.
    monitor : callable
        Called after every step; see `Monitor`.

    Returns
    -------
    Solution
        The solution; its residuals are those of the worst frame, relative to the right-hand side.

    References
    ----------
    Hestenes and Stiefel, J Res Natl Bur Stand 1952;49:409.
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

        # A solved frame stays as it is: its direction consists of rounding errors, which a
        # semidefinite operator would amplify.
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
