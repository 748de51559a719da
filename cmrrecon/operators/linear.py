"""The interface of every linear operator between images and k-space."""

from abc import ABC, abstractmethod
from typing import Protocol

from torch import Tensor


class LinearOperator(ABC):
    """A linear operator A on images: `A(x)`, its adjoint `A.H(k)` and the normal operator `A.N(x)`.

    Solvers need only `A.N`. Subclasses document the shapes. All methods run on the device of their
    input.
    """

    @abstractmethod
    def __call__(self, images: Tensor) -> Tensor:
        """Map images to k-space."""

    @abstractmethod
    def H(self, kspace: Tensor) -> Tensor:
        """Map k-space to images by the adjoint."""

    def N(self, images: Tensor) -> Tensor:
        """Apply the normal operator `A.H(A(x))`; subclasses may do so faster."""
        return self.H(self(images))


class NormalOperator(Protocol):
    """The part of an operator that solvers need: a self-adjoint, positive semidefinite `N`."""

    def N(self, images: Tensor) -> Tensor:
        """Apply the normal operator to images (frame, y, x)."""
