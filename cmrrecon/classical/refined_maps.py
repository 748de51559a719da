"""Coil maps from all that was measured, not from the calibration lines alone.

Given images x, the data are linear in the maps; given maps, in the images. So both are found in turns, as in JSENSE (Ying and Sheng, Magn
Reson Med 2007;57:1196):

    x = kt-wavelet with the present maps, from the last x
    S = argmin sum_t ||M_t F S x_t - y_t||^2 + ||W (S - S_0)||^2,   S_0 the maps of ESPIRiT

S - S_0 is made of few cosines, which unlike complex exponentials need not agree at opposite ends of the field of view: there, where the
body reaches the edge, ESPIRiT errs most. W rises with their frequencies.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from cmrrecon.classical.problem import Coils, Problem
from cmrrecon.classical.wavelets import kt_wavelet
from cmrrecon.data.scan import Series
from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import fft2c, fftc, ifft2c, ifftc

# Turns, and steps of both solvers in each.
TURNS, IMAGE_STEPS, MAP_STEPS = 3, 15, 6
# Cosines along y; along x as many a pixel. The weight of the deviation from ESPIRiT, and how fast it rises with the frequency squared.
COSINES, WEIGHT, RISE = 32, 0.001, 0.25


def refined(series: Series, coils: Coils, scale: float) -> Coils:
    """Better maps than `coils` for a Cartesian series, in the columns of `coils`; the same ones for a single coil.

    Parameters
    ----------
    scale : what the k-space is divided by to be normalised
    """
    if len(coils.measured) == 1:
        return coils
    problem = Problem.of(series, coils, scale)
    data = Measured(series, coils, scale)
    x = problem.start
    for _ in range(TURNS):
        x = kt_wavelet(replace(problem, start=x), iterations=IMAGE_STEPS).x
        coils = data.fitted(x)
        problem = Problem.of(series, coils, scale)
    return coils


def cosines(n: int, count: int, like: Tensor) -> Tensor:
    """(n, count): orthonormal cosines over an axis of n pixels, at most n of them, on the device and of the type of a tensor."""
    place = (torch.arange(n, device=like.device) + 0.5) / n
    waves = torch.cos(math.pi * torch.arange(min(count, n), device=like.device) * place[:, None])
    basis: Tensor = waves / waves.norm(dim=0)
    return basis.to(like.dtype)


class Measured:
    """The measured samples of a series, on the columns of some coils, and the fit of maps to them."""

    def __init__(self, series: Series, coils: Coils, scale: float) -> None:
        self.mask, self.start, self.columns = series.mask, coils, coils.columns
        self.lines = series.mask.shape[2] == 1
        self.maps = coils.measured[..., coils.columns]
        # Along x lines are whole, so that columns of the image can be had by themselves.
        kspace = series.kspace / scale
        self.samples = ifftc(kspace, -1)[..., coils.columns] if self.lines else kspace
        y, x = self.maps.shape[1:]
        self.along_y, self.along_x = cosines(y, COSINES, self.maps), cosines(x, max(2, round(COSINES * x / y)), self.maps)
        along_y, along_x = (torch.arange(basis.shape[1], device=basis.device) for basis in (self.along_y, self.along_x))
        self.rise = 1 + RISE * (along_y[:, None] ** 2 + (along_x * (y / x)) ** 2).to(self.maps.real.dtype)

    def fitted(self, x: Tensor) -> Coils:
        """Coils with the maps that fit images (frame, y, x') best."""
        energy = x.abs().square().mean() * self.mask.float().mean() * len(x)
        weight = WEIGHT * energy * self.rise
        # Preconditioned conjugate gradients, each coil a problem of its own.
        residual = self._coefficients(self._left(self.maps, x, self.samples))
        change, scaled = torch.zeros_like(residual), residual / (energy + weight)
        direction, power = scaled, _dot(residual, scaled)
        for _ in range(MAP_STEPS):
            image = weight * direction - self._coefficients(self._left(self._maps(direction), x, None))
            length = power / _dot(direction, image).clamp(min=torch.finfo(torch.float32).tiny)
            change, residual = change + length * direction, residual - length * image
            scaled = residual / (energy + weight)
            previous, power = power, _dot(residual, scaled)
            direction = scaled + power / previous.clamp(min=torch.finfo(torch.float32).tiny) * direction
        maps = self.maps + self._maps(change)
        size = rss(maps)
        seen = rss(self.maps) > 0
        whole = torch.zeros_like(self.start.measured)
        whole[..., self.columns] = torch.where(seen, maps / torch.where(size > 0, size, 1), 0)
        return Coils(whole, whole, self.columns)

    def _coefficients(self, maps: Tensor) -> Tensor:
        return self.along_y.mT @ maps @ self.along_x

    def _maps(self, coefficients: Tensor) -> Tensor:
        return self.along_y @ coefficients @ self.along_x.mT

    def _left(self, maps: Tensor, x: Tensor, samples: Tensor | None) -> Tensor:
        """sum_t conj(x_t) F^H M_t (y_t - F S x_t), for no samples without y."""
        total = torch.zeros_like(maps)
        for t, image in enumerate(x):
            predicted = self._transformed(maps * image)
            left = (-predicted if samples is None else samples[t] - predicted) * self.mask[t % len(self.mask)]
            total += (ifftc(left, -2) if self.lines else ifft2c(left)[..., self.columns]) * image.conj()
        return total

    def _transformed(self, seen: Tensor) -> Tensor:
        """Coil images (coil, y, x') to what was sampled of them: along y, or along both axes of the whole image."""
        if self.lines:
            return fftc(seen, -2)
        whole = seen.new_zeros((*seen.shape[:2], self.samples.shape[-1]))
        whole[..., self.columns] = seen
        return fft2c(whole)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """The real part of the inner product of every coil, (coil, 1, 1)."""
    return (torch.view_as_real(a) * torch.view_as_real(b)).sum((1, 2, 3))[:, None, None]
