"""What all solvers share: the operators they call, the monitor that watches them, the solution they return.

Every frame of (frame, y, x) is worked on at once, on the device of the data. `normal` is the normal operator A^H A and `rhs` is A^H y,
so that normal(x) - rhs is the gradient of 1/2 ||A x - y||^2. The proximal solvers need an operator of norm one at most, as encodings
with maps of unit root-sum-of-squares have.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Operator = Callable[[Tensor], Tensor]
# Called with the number of steps done and the current x, which it must not change; returns whether to stop.
Monitor = Callable[[int, Tensor], bool]


def never(step: int, x: Tensor) -> bool:
    """The monitor that never stops a solver."""
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
