"""Proximal maps: how regularisers shrink images (frame, y, x). They overwrite what they are given, to spare memory."""

import random

import torch
from torch import Tensor

# Steps on the dual of the temporal variation at every call. More give the same images within the tens of steps that solvers do; after
# hundreds, with a large weight, this few let the solver wander about the minimum.
DUAL_STEPS = 2


def soft_threshold(x: Tensor, threshold: float) -> Tensor:
    """Shorten every complex number by `threshold`, down to zero: the proximal map of threshold x the l1-norm. In place."""
    if threshold == 0:
        return x
    real, imaginary = x.real, x.imag
    factor = (
        real.square().addcmul_(imaginary, imaginary).rsqrt_().mul_(-threshold).add_(1).clamp_(min=0)
    )
    real.mul_(factor)
    imaginary.mul_(factor)
    return x


class HaarShrinkage:
    """Soft-thresholds orthonormal Haar wavelet coefficients, with neighbours paired anew at every call. In place.

    At every level neighbours are paired from an offset of 0 or 1 that changes from call to call, and what has no partner stays as
    it is: no ends are wrapped and any size will do. Over the steps of a solver the penalty becomes nearly invariant to shifts,
    which rids the image of blocks (Coifman and Donoho, Lect Notes Stat 1995;103:125; Figueiredo and Nowak, IEEE Trans Image
    Process 2003;12:906). One level is close to total variation; the others reach further with each step.

    Parameters
    ----------
    dims : axes, counted from 0; two give the separable two-dimensional transform
    threshold : for the detail coefficients of all levels
    levels : how often the sums of pairs are paired again
    """

    def __init__(self, dims: tuple[int, ...], threshold: float, levels: int) -> None:
        self.dims, self.threshold, self.levels = dims, threshold, levels
        self.random = random.Random(0)

    def __call__(self, x: Tensor) -> Tensor:
        """X with its details shrunk."""
        if self.threshold > 0:
            self._shrink(x, 1, self.threshold)
        return x

    def _shrink(self, x: Tensor, level: int, threshold: float) -> None:
        bands, split = [x], []
        for dim in self.dims:
            offset = self.random.randrange(2) if x.shape[dim] > 2 else 0
            if x.shape[dim] - offset < 2:
                continue
            pairs = [pair_up(band, dim, offset) for band in bands]
            for first, second in pairs:  # sum and difference, not yet scaled to be orthonormal
                torch.sub(first.add_(second), second, alpha=2, out=second)
            split.append(pairs)
            bands = [half for pair in pairs for half in pair]

        if not split:
            return
        threshold *= 2 ** (len(split) / 2)
        for detail in bands[1:]:
            soft_threshold(detail, threshold)

        if level < self.levels:
            self._shrink(bands[0], level + 1, threshold)
        for pairs in reversed(split):
            for first, second in pairs:
                torch.sub(first.add_(second).mul_(0.5), second, out=second)


def pair_up(x: Tensor, dim: int, offset: int) -> tuple[Tensor, Tensor]:
    """Views of the first and the second of each pair of neighbours along `dim`, from `offset` on."""
    pairs = (x.shape[dim] - offset) // 2
    both = x.narrow(dim, offset, 2 * pairs)
    return both[(slice(None),) * dim + (slice(0, None, 2),)], both[
        (slice(None),) * dim + (slice(1, None, 2),)
    ]


class TemporalVariationShrinkage:
    """Proximal map of the total variation over time, threshold x sum_t ||x[t + 1] - x[t]||_1, by projected gradient steps on its dual.

    The dual is kept from call to call, so a few steps are enough while a solver changes the images little.

    Parameters
    ----------
    threshold : weight of the total variation

    Beck and Teboulle, IEEE Trans Image Process 2009;18:2419 (there without keeping the dual).
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self.dual: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Images (frame, y, x) with their temporal variation shrunk; in place."""
        if self.dual is None:
            self.dual = torch.zeros_like(x[1:])
        for _ in range(DUAL_STEPS):
            shrunk = subtract_divergence(x.clone(), self.dual)
            self.dual.add_(shrunk[1:], alpha=0.25).sub_(shrunk[:-1], alpha=0.25)
            shorten(self.dual, self.threshold)
        return subtract_divergence(x, self.dual)


def subtract_divergence(x: Tensor, dual: Tensor) -> Tensor:
    """X minus the adjoint of the differences of neighbouring frames, of `dual` (frame - 1, y, x); in place."""
    x[1:].sub_(dual)
    x[:-1].add_(dual)
    return x


def shorten(x: Tensor, length: float) -> Tensor:
    """Complex numbers longer than `length` cut to it, what `soft_threshold` takes away. In place."""
    real, imaginary = x.real, x.imag
    size = real.square().addcmul_(imaginary, imaginary).sqrt_()
    factor = torch.where(size > length, length / size, 1)
    real.mul_(factor)
    imaginary.mul_(factor)
    return x


class BlockShrinkage:
    """Soft-thresholds the singular values of space-time blocks, with the grid of blocks shifted anew at every call.

    A block is a matrix (frame, pixels); its singular values come from the small matrix of its frames. Blocks at the edges are
    completed by zeros. Source as `llr`.

    Parameters
    ----------
    threshold : for the singular values
    size : side of a block in pixels
    """

    def __init__(self, threshold: float, size: int) -> None:
        self.threshold, self.size = threshold, size
        self.random = random.Random(0)

    def __call__(self, x: Tensor) -> Tensor:
        """Images (frame, y, x) with their blocks shrunk."""
        frames, ny, nx = x.shape
        top, left = (self.random.randrange(self.size) for _ in range(2))
        padded = torch.nn.functional.pad(
            x.mT, (top, -(top + ny) % self.size, left, -(left + nx) % self.size)
        ).mT
        rows, columns = padded.shape[1] // self.size, padded.shape[2] // self.size
        tiles = padded.view(frames, rows, self.size, columns, self.size)
        blocks = tiles.permute(1, 3, 0, 2, 4).reshape(rows * columns, frames, -1)
        shrunk = singular_value_threshold(blocks, self.threshold)
        tiles.copy_(
            shrunk.reshape(rows, columns, frames, self.size, self.size).permute(2, 0, 3, 1, 4)
        )

        return x.copy_(padded[:, top : top + ny, left : left + nx])


def singular_value_threshold(matrices: Tensor, threshold: float) -> Tensor:
    """Shorten the singular values of matrices (..., n, m), n <= m or not much larger: the proximal map of the nuclear norm.

    From the eigenvectors of the (n, n) products M M^H, which costs far less than a singular value decomposition.
    """
    values, vectors = torch.linalg.eigh(matrices @ matrices.mH)
    factor = (
        values.clamp(min=torch.finfo(values.dtype).tiny)
        .rsqrt_()
        .mul_(-threshold)
        .add_(1)
        .clamp_(min=0)
    )
    shrunk: Tensor = ((vectors * factor[..., None, :]) @ vectors.mH) @ matrices

    return shrunk


def temporal_fourier_shrinkage(x: Tensor, threshold: float) -> Tensor:
    """Soft-threshold the orthonormal Fourier transform over time of images (frame, y, x); the mean over time is not shrunk."""
    spectrum = torch.fft.fft(x, dim=0, norm="ortho")
    soft_threshold(spectrum[1:], threshold)
    shrunk: Tensor = torch.fft.ifft(spectrum, dim=0, norm="ortho")
    return shrunk
