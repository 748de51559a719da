"""Refine coil maps with all measured samples, not only the calibration lines.

For known images x, the data are linear in the maps S; for known maps, they are linear in the
images. Both are estimated alternately, as in JSENSE (Ying and Sheng, Magn Reson Med
2007;57:1196)::

    x = kt-wavelet with the current maps, starting from the last x
    S = argmin sum_t ||M_t F S x_t - y_t||^2 + ||W (S - S_0)||^2

S_0 are the ESPIRiT maps. Samples are weighted by their number of averages. S - S_0 is a sum of a
few cosines, and W increases with their frequencies. Unlike complex exponentials, cosines may differ
at opposite ends of the field of view, where the error of ESPIRiT is largest if the body reaches the
edge.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from cmrrecon.classical.coils import Coils
from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.classical.problem import Problem
from cmrrecon.classical.wavelets import kt_wavelet
from cmrrecon.data import LineMask
from cmrrecon.operators.coils import rss, unit
from cmrrecon.operators.fourier import fft2c, fftc, ifft2c, ifftc
from cmrrecon.solvers import conjugate_gradient

# Number of rounds, and number of steps of each solver in a round.
ROUNDS, IMAGE_STEPS, MAP_STEPS = 3, 15, 6
# Number of cosines along y (in proportion along x), weight of the deviation from ESPIRiT, and its
# increase with the squared frequency.
COSINES, WEIGHT, RISE = 32, 0.001, 0.25


def refined(prepared: PreparedSeries, coils: Coils) -> Coils:
    """Refine the first set of maps of `coils` for a Cartesian series, within its columns.

    The map of a single coil is returned unchanged.
    """
    coils = coils.first
    if len(coils.measured) == 1:
        return coils

    problem = Problem.of(prepared, coils)
    kind = LineFit if isinstance(prepared.mask, LineMask) else SampleFit
    fit = kind(prepared, coils)

    x = problem.start
    for repeat in range(ROUNDS):
        if repeat:
            problem = Problem.of(prepared, coils, x)
        x = kt_wavelet(problem, iterations=IMAGE_STEPS).x
        coils = fit(x)

    return coils


def cosines(n: int, count: int, like: Tensor) -> Tensor:
    """Build orthonormal cosines (n, count) over an axis of n pixels; the count is limited to n.

    Parameters
    ----------
    n : int
        Number of pixels.
    count : int
        Number of cosines.
    like : Tensor
        Tensor whose device and dtype are used.

    Returns
    -------
    Tensor of shape (n, count)
        One cosine per column.
    """
    place = (torch.arange(n, device=like.device) + 0.5) / n
    waves = torch.cos(math.pi * torch.arange(min(count, n), device=like.device) * place[:, None])
    basis: Tensor = waves / waves.norm(dim=0)
    return basis.to(like.dtype)


def coil_dot(a: Tensor, b: Tensor) -> Tensor:
    """Compute the real part of the inner product of each coil, (coil, 1, 1).

    The sum is pairwise, because alternating between images and maps, or a network, would amplify
    the rounding errors of `torch.dot`.
    """
    return (torch.view_as_real(a) * torch.view_as_real(b)).sum((1, 2, 3))[:, None, None]


class MapFit(ABC):
    """Fits coil maps to the measured samples of a series, for given images.

    Called with images (frame, y, x'), it returns coils with the best maps for these images.
    """

    def __init__(self, prepared: PreparedSeries, coils: Coils) -> None:
        self.mask, self.start, self.columns = prepared.mask, coils, coils.columns
        self.weights = prepared.weights
        self.maps = coils.measured[..., coils.columns]
        self.samples = self._samples(prepared.kspace / prepared.scale)

        y, x = self.maps.shape[1:]
        self.along_y = cosines(y, COSINES, self.maps)
        self.along_x = cosines(x, max(2, round(COSINES * x / y)), self.maps)
        along_y, along_x = (
            torch.arange(basis.shape[1], device=basis.device)
            for basis in (self.along_y, self.along_x)
        )

        squares = along_y[:, None] ** 2 + (along_x * (y / x)) ** 2
        self.rise = 1 + RISE * squares.to(self.maps.real.dtype)

    def __call__(self, x: Tensor) -> Coils:
        """Return coils with the maps that fit images (frame, y, x') best."""
        energy = x.abs().square().mean() * self.mask.samples.float().mean() * len(x)
        weight = WEIGHT * energy * self.rise

        def normal(change: Tensor) -> Tensor:
            predicted = self._projected(self._maps(change), x, None)
            return weight * change - self._coefficients(predicted)

        # The coils are independent problems.
        rhs = self._coefficients(self._projected(self.maps, x, self.samples))
        change = conjugate_gradient(
            normal,
            rhs,
            MAP_STEPS,
            inner=coil_dot,
            precondition=lambda residual: residual / (energy + weight),
        ).x

        maps = self.maps + self._maps(change)
        seen = rss(self.maps) > 0
        whole = torch.zeros_like(self.start.measured)
        whole[..., self.columns] = torch.where(seen, unit(maps), 0)

        return Coils(whole, whole, self.columns)

    def _coefficients(self, maps: Tensor) -> Tensor:
        return self.along_y.mT @ maps @ self.along_x

    def _maps(self, coefficients: Tensor) -> Tensor:
        return self.along_y @ coefficients @ self.along_x.mT

    def _projected(self, maps: Tensor, x: Tensor, samples: Tensor | None) -> Tensor:
        """Compute sum_t conj(x_t) F^H W_t M_t (y_t - F S x_t), with y = 0 if samples are None."""
        total = torch.zeros_like(maps)
        for t, image in enumerate(x):
            predicted = self._transformed(maps * image)
            residual = -predicted if samples is None else samples[t] - predicted
            residual = residual * self.mask.frame(t)
            if self.weights is not None:
                residual *= self.weights[t % len(self.weights)]
            total += self._back(residual) * image.conj()
        return total

    @abstractmethod
    def _samples(self, kspace: Tensor) -> Tensor:
        """Return the samples to fit, from normalised k-space (frame, coil, y, x)."""

    @abstractmethod
    def _transformed(self, seen: Tensor) -> Tensor:
        """Transform coil images (coil, y, x') to the sampled domain."""

    @abstractmethod
    def _back(self, samples: Tensor) -> Tensor:
        """Apply the adjoint of `_transformed`."""


class LineFit(MapFit):
    """Map fit to whole lines.

    Whole lines can be transformed along x to single columns of the image, so the fit itself needs
    only transforms along y.
    """

    def _samples(self, kspace: Tensor) -> Tensor:
        return ifftc(kspace, -1)[..., self.columns]

    def _transformed(self, seen: Tensor) -> Tensor:
        return fftc(seen, -2)

    def _back(self, samples: Tensor) -> Tensor:
        return ifftc(samples, -2)


class SampleFit(MapFit):
    """Map fit to single samples, with transforms of whole images."""

    def _samples(self, kspace: Tensor) -> Tensor:
        return kspace

    def _transformed(self, seen: Tensor) -> Tensor:
        whole = seen.new_zeros((*seen.shape[:2], self.samples.shape[-1]))
        whole[..., self.columns] = seen
        return fft2c(whole)

    def _back(self, samples: Tensor) -> Tensor:
        return ifft2c(samples)[..., self.columns]
