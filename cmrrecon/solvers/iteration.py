"""Operators, monitors and solutions, shared by all solvers.

The solvers work on all frames of (frame, y, x) at once, on the device of the data. `normal` is the
normal operator `A^H A` and `rhs` is `A^H y`, so that `normal(x) - rhs` is the gradient of
`1/2 ||A x - y||^2`. The proximal solvers need an operator with a norm of at most one. Encodings
whose coil maps have unit root-sum-of-squares meet this condition.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Operator = Callable[[Tensor], Tensor]
# Called with the number of finished steps and the current x, which it must not change. It returns
# whether to stop.
Monitor = Callable[[int, Tensor], bool]


def never(step: int, x: Tensor) -> bool:
    """Return False: this monitor never stops a solver."""
    return False


@dataclass(frozen=True)
class Solution:
    """The result of a solver.

    Attributes
    ----------
    x : Tensor of shape (frame, y, x), complex
        The last iterate.
    residuals : tuple of float
        One number for each step. For conjugate gradients this is the residual of the worst frame,
        relative to the right-hand side; for the other solvers it is the change of x, relative to x.
    """

    x: Tensor
    residuals: tuple[float, ...]


def frame_dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the real part of the inner product of each frame, of shape (frame, 1, 1)."""
    # Neighbours along y are adjacent in the memory of images, so transposing avoids a copy.
    pairs = zip(*(torch.view_as_real(part.mT).flatten(1) for part in (a, b)), strict=True)
    return torch.stack([torch.dot(u, v) for u, v in pairs])[:, None, None]


def frame_energy(a: Tensor) -> Tensor:
    """Return the sum of squared magnitudes of each frame, of shape (frame, 1, 1)."""
    return frame_dot(a, a)


def relative_size(change: Tensor, x: Tensor) -> float:
    """Return `||change|| / ||x||`, or zero if x is zero."""
    size = float(frame_energy(x).sum())
    return (float(frame_energy(change).sum()) / size) ** 0.5 if size > 0 else 0.0
