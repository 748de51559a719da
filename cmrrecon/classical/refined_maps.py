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

Maps are smooth, so all of this works on images of half the resolution, from the centre of k-space.
The maps at full resolution are S_0 plus the same cosines, on the finer grid.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cmrrecon.classical.coarse import coarser
from cmrrecon.classical.coils import Coils
from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.classical.problem import Problem
from cmrrecon.classical.still import started
from cmrrecon.classical.wavelets import kt_wavelet
from cmrrecon.data import LineMask
from cmrrecon.operators.coils import rss, unit
from cmrrecon.operators.fourier import fft2c, fftc, ifft2c, ifftc
from cmrrecon.solvers import Operator, conjugate_gradient

# Number of rounds, and number of steps of each solver in a round.
ROUNDS, IMAGE_STEPS, MAP_STEPS = 3, 10, 6
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

    coarse = coarser(prepared)
    grid = Grid(prepared.series.image_shape, coarse.series.image_shape)
    start = grid.sampled(coils)
    fit = (LineFit if isinstance(coarse.mask, LineMask) else SampleFit)(coarse, start)

    x = kt_wavelet(started(coarse, start), iterations=IMAGE_STEPS).x
    change = fit.change(x)
    for _ in range(ROUNDS - 1):
        problem = Problem.of(coarse, changed(start, fit.maps_of(change)), x)
        x = kt_wavelet(problem, iterations=IMAGE_STEPS).x
        change = fit.change(x)

    along_y = grid.cosines(0, slice(None), slice(0, grid.few[0]), change.shape[1])
    along_x = grid.cosines(1, coils.columns, start.columns, change.shape[2])
    return changed(coils, along_y.to(change) @ change @ along_x.to(change).mT)


@dataclass(frozen=True)
class Grid:
    """A grid of pixels over the same field of view as a finer one.

    Attributes
    ----------
    many : tuple of int
        Size (y, x) of the fine grid.
    few : tuple of int
        Size (y, x) of this grid.
    """

    many: tuple[int, int]
    few: tuple[int, int]

    def position(self, axis: int, fine: slice) -> Tensor:
        """Return the positions of fine pixels, in pixels of this grid; the middles coincide."""
        many, few = self.many[axis], self.few[axis]
        return (torch.arange(many)[fine] - many // 2) * (few / many) + few // 2

    def cosines(self, axis: int, fine: slice, part: slice, count: int) -> Tensor:
        """Compute the cosines of a part of this grid at fine pixels, (pixel, count)."""
        return cosines(self.position(axis, fine) - part.start, part.stop - part.start, count)

    def sampled(self, coils: Coils) -> Coils:
        """Interpolate the measured maps of one set at the pixels of this grid."""
        maps = coils.measured
        for axis in (0, 1):
            many, few = self.many[axis], self.few[axis]
            place = (torch.arange(few, device=maps.device) - few // 2) * (many / few) + many // 2
            before = place.clamp(0, many - 1).floor().long().clamp(max=max(0, many - 2))
            share = (place.clamp(0, many - 1) - before).reshape((-1, 1) if axis == 0 else (-1,))
            after = (before + 1).clamp(max=many - 1)
            maps = maps.index_select(1 + axis, before).lerp(
                maps.index_select(1 + axis, after), share.to(maps.dtype)
            )

        position = self.position(1, coils.columns)
        first, last = float(position[0]), float(position[-1])
        start = min(max(0, math.floor(first)), self.few[1] - 1)
        columns = slice(start, min(self.few[1], max(start, math.ceil(last)) + 1))
        maps = unit(maps)
        return Coils(maps, maps, columns)


def changed(coils: Coils, change: Tensor) -> Coils:
    """Add a change (coil, y, x') to the measured maps, within the columns and the support."""
    maps = coils.measured[..., coils.columns]
    whole = torch.zeros_like(coils.measured)
    whole[..., coils.columns] = torch.where(rss(maps) > 0, unit(maps + change), 0)
    return Coils(whole, whole, coils.columns)


def cosines(positions: Tensor, n: int, count: int) -> Tensor:
    """Compute the first `count` orthonormal cosines of an axis of n pixels at any positions.

    Parameters
    ----------
    positions : Tensor of shape (place,)
        Positions in pixels; outside the axis, cosines keep the value of its end.
    n : int
        Number of pixels of the axis.
    count : int
        Number of cosines, at most n.

    Returns
    -------
    Tensor of shape (place, count), float32
        One cosine per column.
    """
    place = ((positions + 0.5) / n).clamp(0, 1)
    waves = torch.cos(math.pi * torch.arange(count) * place[:, None].double())
    waves *= math.sqrt(2 / n)
    waves[:, 0] *= math.sqrt(0.5)
    return waves.float()


def coil_dot(a: Tensor, b: Tensor) -> Tensor:
    """Compute the real part of the inner product of each coil, (coil, 1, 1).

    The sum is pairwise, because alternating between images and maps, or a network, would amplify
    the rounding errors of `torch.dot`.
    """
    return (torch.view_as_real(a) * torch.view_as_real(b)).sum((1, 2, 3))[:, None, None]


class MapFit(ABC):
    """Fits the change of coil maps to the measured samples of a series, for given images."""

    def __init__(self, prepared: PreparedSeries, coils: Coils) -> None:
        self.mask, self.columns = prepared.mask, coils.columns
        self.weights = prepared.weights
        self.maps = coils.measured[..., coils.columns]
        self.samples = self._samples(prepared.kspace / prepared.scale)

        y, x = self.maps.shape[1:]
        count_y, count_x = min(y, COSINES), min(x, max(2, round(COSINES * x / y)))
        self.along_y = cosines(torch.arange(y), y, count_y).to(self.maps)
        self.along_x = cosines(torch.arange(x), x, count_x).to(self.maps)

        squares = torch.arange(count_y)[:, None] ** 2 + (torch.arange(count_x) * (y / x)) ** 2
        self.rise = 1 + RISE * squares.to(self.maps.real)

    def change(self, x: Tensor) -> Tensor:
        """Return the coefficients (coil, cosine, cosine) of the change that fits images best."""
        energy = x.abs().square().mean() * self.mask.samples.float().mean() * len(x)
        weight = WEIGHT * energy * self.rise
        projected = self._normal(x)

        def normal(change: Tensor) -> Tensor:
            return weight * change + projected(change)

        # The coils are independent problems.
        rhs = self._coefficients(self._missing(x))
        return conjugate_gradient(
            normal,
            rhs,
            MAP_STEPS,
            inner=coil_dot,
            precondition=lambda residual: residual / (energy + weight),
        ).x

    def maps_of(self, coefficients: Tensor) -> Tensor:
        """Return the change of the maps (coil, y, x') with the given coefficients."""
        return self.along_y @ coefficients @ self.along_x.mT

    def _coefficients(self, maps: Tensor) -> Tensor:
        return self.along_y.mT @ maps @ self.along_x

    def _missing(self, x: Tensor) -> Tensor:
        """Compute sum_t conj(x_t) F^H W_t M_t (y_t - F S_0 x_t), (coil, y, x')."""
        return self._gathered(x, lambda t: self.samples[t] - self._transformed(self.maps * x[t]))

    def _gathered(self, x: Tensor, samples: Callable[[int], Tensor]) -> Tensor:
        """Compute sum_t conj(x_t) F^H W_t M_t k_t for samples k_t of every frame, (coil, y, x')."""
        total = torch.zeros_like(self.maps)
        for t, image in enumerate(x):
            total += self._back(samples(t) * self._weight(t)) * image.conj()
        return total

    def _weight(self, t: int) -> Tensor:
        """Return the weights of the samples of frame `t`, (y, x or 1); zero if not measured."""
        measured = self.mask.frame(t).to(self.maps.real.dtype)
        return measured if self.weights is None else measured * self.weights[t % len(self.weights)]

    @abstractmethod
    def _normal(self, x: Tensor) -> Operator:
        """Return the map from coefficients c to B^H sum_t conj(x_t) F^H W_t M_t F (x_t B c)."""

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

    Whole lines can be transformed along x to single columns of the image. In each column the normal
    operator is a small matrix over the cosines along y, the same for all coils.
    """

    def _normal(self, x: Tensor) -> Operator:
        count = self.along_y.shape[1]
        matrices = x.new_zeros((x.shape[2], count, count))
        for t, image in enumerate(x):
            weight = self._weight(t)[:, 0]
            seen = fftc(image.mT[:, :, None] * self.along_y, -2)[:, weight > 0]
            seen = seen * weight[weight > 0].sqrt()[:, None]
            matrices += seen.mH @ seen

        def project(change: Tensor) -> Tensor:
            columns = (change @ self.along_x.mT).permute(2, 1, 0)
            return (matrices @ columns).permute(2, 1, 0) @ self.along_x

        return project

    def _samples(self, kspace: Tensor) -> Tensor:
        return ifftc(kspace, -1)[..., self.columns]

    def _transformed(self, seen: Tensor) -> Tensor:
        return fftc(seen, -2)

    def _back(self, samples: Tensor) -> Tensor:
        return ifftc(samples, -2)


class SampleFit(MapFit):
    """Map fit to single samples, with transforms of whole images."""

    def _normal(self, x: Tensor) -> Operator:
        def project(change: Tensor) -> Tensor:
            maps = self.maps_of(change)
            return self._coefficients(self._gathered(x, lambda t: self._transformed(maps * x[t])))

        return project

    def _samples(self, kspace: Tensor) -> Tensor:
        return kspace

    def _transformed(self, seen: Tensor) -> Tensor:
        whole = seen.new_zeros((*seen.shape[:2], self.samples.shape[-1]))
        whole[..., self.columns] = seen
        return fft2c(whole)

    def _back(self, samples: Tensor) -> Tensor:
        return ifft2c(samples)[..., self.columns]
