"""What every linear operator between images and k-space offers."""

from abc import ABC, abstractmethod
from typing import Protocol

from torch import Tensor


class LinearOperator(ABC):
    """A linear operator A on images: `A(x)`, its adjoint `A.H(k)` and the normal operator `A.N(x)`.

    Solvers need `A.N` alone. Subclasses state the shapes; all work on the device of their input.
    """

    @abstractmethod
    def __call__(self, images: Tensor) -> Tensor:
        """Images to k-space."""

    @abstractmethod
    def H(self, kspace: Tensor) -> Tensor:
        """The adjoint: k-space to images."""

    def N(self, images: Tensor) -> Tensor:
        """The normal operator A.H(A(x)); subclasses may know a faster way."""
        return self.H(self(images))


class NormalOperator(Protocol):
    """What solvers need of an operator: a self-adjoint, positive semidefinite `N` on images."""

    def N(self, images: Tensor) -> Tensor:
        """The normal operator on images (frame, y, x)."""
