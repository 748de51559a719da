"""Iterative solvers, free of MRI."""

from collections.abc import Callable

import torch
from torch import Tensor


def conjugate_gradient(normal: Callable[[Tensor], Tensor], rhs: Tensor, iterations: int, tolerance: float = 0.0) -> Tensor:
    """Solve normal(x) = rhs from x = 0 for a Hermitian positive (semi)definite operator; every frame is a problem of its own.

    Parameters
    ----------
    normal : maps (frame, y, x) to (frame, y, x), each frame for itself
    rhs : Tensor (frame, y, x), complex
    iterations : at most this many
    tolerance : stop when the residual of every frame is at most this part of its right-hand side

    Returns
    -------
    Tensor (frame, y, x)

    Hestenes and Stiefel, J Res Natl Bur Stand 1952;49:409.
    """

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a.conj() * b).real.sum((-2, -1), keepdim=True)

    x = torch.zeros_like(rhs)
    residual = rhs.clone()
    direction = rhs.clone()
    energy = dot(residual, residual)
    goal = tolerance**2 * energy
    for _ in range(iterations):
        if bool((energy <= goal).all()):
            break
        image = normal(direction)
        curvature = dot(direction, image)
        # A frame that is solved exactly has no direction left and must not divide by zero.
        step = torch.where(curvature > 0, energy / curvature, 0)
        x += step * direction
        residual -= step * image
        previous, energy = energy, dot(residual, residual)
        direction = residual + torch.where(previous > 0, energy / previous, 0) * direction
    return x
