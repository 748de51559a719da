"""Conjugate gradients."""

import torch
from torch import Tensor

from cmrrecon.solvers.iteration import Monitor, Operator, Solution, frame_dot, frame_energy, never


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
