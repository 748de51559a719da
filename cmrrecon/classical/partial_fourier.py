"""Partial Fourier and asymmetric echoes: fill the missing side of k-space from the other side.

K-space of a real image is conjugate symmetric. An image whose phase varies slowly becomes real once
that phase is removed, and the symmetric centre of k-space gives the phase (Noll et al., IEEE Trans
Med Imaging 1991;10:154). As a term of the minimised function (Bydder and Robson, Magn Reson Med
2005;53:1393), the constraint leaves the solver its own regularisation::

    1/2 ||A x - y||^2 + w/2 ||Im(conj(p) x)||^2,   p the phase, |p| = 1
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cmrrecon.classical.problem import Problem
from cmrrecon.data import CartesianMask
from cmrrecon.data.coverage import symmetric_part
from cmrrecon.operators.cartesian import apart
from cmrrecon.operators.fourier import fft2c, ifft2c
from cmrrecon.operators.linear import NormalOperator

# Weight w of the imaginary part.
WEIGHT = 1.0


@dataclass(frozen=True, eq=False)
class PhaseConstrained:
    """The normal operator of an encoding with a penalty on the imaginary part, of norm up to one.

    It is linear only over the real numbers, which is what the inner products of the solvers expect.

    Attributes
    ----------
    A : NormalOperator
        The encoding.
    phase : Tensor of shape (frame, y, x'), complex
        Phase factors of magnitude one.
    """

    A: NormalOperator
    phase: Tensor

    def N(self, images: Tensor) -> Tensor:
        """Apply (A.N + w P) / (1 + w) to images (frame, y, x'); P keeps what is out of phase."""
        imaginary = (images * self.phase.conj()).imag * 1j * self.phase
        return self.A.N(images).add_(imaginary, alpha=WEIGHT).div_(1 + WEIGHT)


def constrained(problem: Problem, x: Tensor, mask: CartesianMask) -> Problem:
    """Add the phase constraint to a problem, with the phase of a first solution x (frame, y, x').

    Regularisation weights keep their meaning if they are divided by 1 + `WEIGHT`.
    """
    phase = smooth_phase(problem.whole(x), mask)[..., problem.columns]
    return replace(problem, A=PhaseConstrained(problem.A, phase), rhs=problem.rhs / (1 + WEIGHT))


def smooth_phase(images: Tensor, mask: CartesianMask) -> Tensor:
    """Phase factors of images (frame, n y, x) at the resolution of the symmetric k-space centre."""
    y, x = mask.samples.shape[1], images.shape[-1]
    every = apart(images, images.shape[-2] // y)

    centre = mask.centre or (y // 2, x // 2)
    along_y, along_x = symmetric_part(mask.samples.expand(-1, y, x), centre)
    window = _hann(along_y, images)[:, None] * _hann(along_x, images)

    low = torch.zeros_like(every)
    low[..., along_y, along_x] = fft2c(every)[..., along_y, along_x] * window

    return torch.exp(1j * ifft2c(low).angle()).flatten(-3, -2)


def _hann(part: slice, like: Tensor) -> Tensor:
    """A Hann window over a part of an axis that ends above zero."""
    window: Tensor = torch.hann_window(part.stop - part.start + 2, periodic=False)[1:-1]
    return window.to(like.device)
