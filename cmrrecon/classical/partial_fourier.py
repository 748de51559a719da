"""Partial Fourier and asymmetric echoes: fill the missing side of k-space from the other side.

The k-space of a real image is conjugate symmetric. An image with a slowly varying phase becomes
real once that phase is removed, and the phase can be estimated from the symmetric centre of k-space
(Noll et al., IEEE Trans Med Imaging 1991;10:154). The constraint is added to the data term (Bydder
and Robson, Magn Reson Med 2005;53:1393), so that the solver keeps its own regularisation::

    1/2 ||A x - y||^2 + w/2 ||Im(conj(p) x)||^2

Here `p` is the phase factor, with `|p| = 1`.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cmrrecon.classical.problem import Problem
from cmrrecon.data import CartesianMask
from cmrrecon.data.coverage import symmetric_part
from cmrrecon.operators.cartesian import split_sets
from cmrrecon.operators.fourier import fft2c, ifft2c
from cmrrecon.operators.linear import NormalOperator

# Weight w of the imaginary part.
WEIGHT = 1.0


@dataclass(frozen=True, eq=False)
class PhaseConstrained:
    """The normal operator of an encoding with a penalty on the imaginary part.

    Its norm is at most one. It is linear only over the real numbers, which is enough for the inner
    products of the solvers.

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
        """Apply (A.N + w P) / (1 + w) to images (frame, y, x'); P keeps the imaginary part."""
        imaginary = (images * self.phase.conj()).imag * 1j * self.phase
        return self.A.N(images).add_(imaginary, alpha=WEIGHT).div_(1 + WEIGHT)


def constrained(problem: Problem, x: Tensor, mask: CartesianMask) -> Problem:
    """Add the phase constraint to a problem, with the phase of a first solution x (frame, y, x').

    To have the same effect as before, regularisation weights must be divided by 1 + `WEIGHT`.
    """
    phase = smooth_phase(problem.whole(x), mask)[..., problem.columns]
    return replace(problem, A=PhaseConstrained(problem.A, phase), rhs=problem.rhs / (1 + WEIGHT))


def smooth_phase(images: Tensor, mask: CartesianMask) -> Tensor:
    """Return phase factors of images (frame, n y, x) at the resolution of the symmetric centre."""
    y, x = mask.samples.shape[1], images.shape[-1]
    image_sets = split_sets(images, images.shape[-2] // y)

    centre = mask.centre or (y // 2, x // 2)
    along_y, along_x = symmetric_part(mask.samples.expand(-1, y, x), centre)
    window = _hann(along_y, images)[:, None] * _hann(along_x, images)

    smooth = torch.zeros_like(image_sets)
    smooth[..., along_y, along_x] = fft2c(image_sets)[..., along_y, along_x] * window

    return torch.exp(1j * ifft2c(smooth).angle()).flatten(-3, -2)


def _hann(part: slice, like: Tensor) -> Tensor:
    """Return a Hann window over a part of an axis; its ends are above zero."""
    window: Tensor = torch.hann_window(part.stop - part.start + 2, periodic=False)[1:-1]
    return window.to(like.device)
