"""Proximal maps of the regularisers, for images (frame, y, x).

Most of them overwrite their input to save memory; the first line of their docstring then says "in
place".
"""

import random

import torch
from torch import Tensor

# The number of dual steps in every call of `TemporalVariationShrinkage`. If a solver takes tens of
# steps, more dual steps lead to the same images. After hundreds of steps with a large weight, two
# are too few and the solver drifts around the minimum.
DUAL_STEPS = 2


def soft_threshold(x: Tensor, threshold: float) -> Tensor:
    """Shorten every complex number by `threshold`, in place; the proximal map of the l1-norm."""
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
    """Soft-threshold orthonormal Haar wavelet coefficients in place, with new pairs in every call.

    At every level the pairs of neighbours start at a random offset of 0 or 1. A pixel without a
    partner stays unchanged, so that edges do not wrap around and images may have any size. Over the
    steps of a solver the penalty becomes nearly shift-invariant, which avoids block artefacts. One
    level is close to total variation; each further level covers a larger neighbourhood.

    Parameters
    ----------
    dims : tuple of int
        The axes, counted from 0. Two axes give the separable two-dimensional transform.
    threshold : float
        The threshold of the detail coefficients at all levels.
    levels : int
        The number of levels of the transform.

    References
    ----------
    Coifman and Donoho, Lect Notes Stat 1995;103:125. Figueiredo and Nowak, IEEE Trans Image Process
    2003;12:906.
    """

    def __init__(self, dims: tuple[int, ...], threshold: float, levels: int) -> None:
        self.dims, self.threshold, self.levels = dims, threshold, levels
        self.random = random.Random(0)

    def __call__(self, x: Tensor) -> Tensor:
        """Shrink the details of x in place."""
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
            # Sums and differences. The threshold below compensates for their missing scale.
            for first, second in pairs:
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
    """Return views of the first and second members of all pairs along `dim` from `offset` on."""
    pairs = (x.shape[dim] - offset) // 2
    both = x.narrow(dim, offset, 2 * pairs)
    return both[(slice(None),) * dim + (slice(0, None, 2),)], both[
        (slice(None),) * dim + (slice(1, None, 2),)
    ]


class TemporalVariationShrinkage:
    """The proximal map, in place, of the total variation over time.

    The penalty is `threshold * sum_t ||x[t + 1] - x[t]||_1`. Each call takes projected gradient
    steps on the dual problem. The dual variable is kept between calls, so a few steps suffice as
    long as a solver changes the images only a little.

    Parameters
    ----------
    threshold : float
        The weight of the total variation.
    cyclic : bool
        Whether the difference between the first and the last frame counts too.

    References
    ----------
    Beck and Teboulle, IEEE Trans Image Process 2009;18:2419, who do not keep the dual variable.
    """

    def __init__(self, threshold: float, *, cyclic: bool = False) -> None:
        self.threshold, self.cyclic = threshold, cyclic
        self.dual: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Shrink the temporal variation of images (frame, y, x) in place."""
        if self.dual is None:
            self.dual = torch.zeros_like(x if self.cyclic else x[1:])
        for _ in range(DUAL_STEPS):
            shrunk = subtract_divergence(x.clone(), self.dual)
            inner = self.dual[: len(x) - 1]
            inner.add_(shrunk[1:], alpha=0.25).sub_(shrunk[:-1], alpha=0.25)
            if self.cyclic:
                self.dual[-1].add_(shrunk[0], alpha=0.25).sub_(shrunk[-1], alpha=0.25)
            shorten(self.dual, self.threshold)
        return subtract_divergence(x, self.dual)


def subtract_divergence(x: Tensor, dual: Tensor) -> Tensor:
    """Subtract `D^H dual` from x in place; D takes differences between neighbouring frames.

    If there are as many differences as frames, the last one is from the last frame to the first.
    """
    inner = dual[: len(x) - 1]
    x[1:].sub_(inner)
    x[:-1].add_(inner)
    if len(dual) == len(x):
        x[0].sub_(dual[-1])
        x[-1].add_(dual[-1])
    return x


def shorten(x: Tensor, length: float) -> Tensor:
    """Limit magnitudes to `length` in place; this is the part that `soft_threshold` removes."""
    real, imaginary = x.real, x.imag
    size = real.square().addcmul_(imaginary, imaginary).sqrt_()
    factor = torch.where(size > length, length / size, 1)
    real.mul_(factor)
    imaginary.mul_(factor)
    return x


class BlockShrinkage:
    """Soft-threshold the singular values of space-time blocks in place, on a shifting grid.

    The grid is shifted at random in every call to avoid block artefacts. A block is a matrix
    (frame, pixel), and its singular values come from the small product over frames. Blocks at the
    edges are padded with zeros. For the source see `llr`.

    Parameters
    ----------
    threshold : float
        The threshold of the singular values.
    size : int
        The side of a block in pixels.
    """

    def __init__(self, threshold: float, size: int) -> None:
        self.threshold, self.size = threshold, size
        self.random = random.Random(0)

    def __call__(self, x: Tensor) -> Tensor:
        """Shrink the blocks of images (frame, y, x) in place."""
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
    """Soft-threshold the singular values of matrices; the proximal map of the nuclear norm.

    It uses the eigenvectors of the (n, n) products `M M^H`, which costs far less than a singular
    value decomposition.

    Parameters
    ----------
    matrices : Tensor of shape (..., n, m), complex
        The matrices; n should be smaller than m, or not much larger.
    threshold : float
        The threshold.

    Returns
    -------
    Tensor of shape (..., n, m), complex
        The shrunk matrices.
    """
    # In single precision, eigh can return NaN if all rows are equal, as for identical frames
    # (findings/torch-eigh-equal-rows.sh). In double precision it is no slower.
    values, vectors = torch.linalg.eigh((matrices @ matrices.mH).to(torch.complex128))
    factor = (
        values.clamp(min=torch.finfo(values.dtype).tiny)
        .rsqrt_()
        .mul_(-threshold)
        .add_(1)
        .clamp_(min=0)
    )

    projection = (vectors * factor[..., None, :]) @ vectors.mH
    shrunk: Tensor = projection.to(matrices.dtype) @ matrices
    return shrunk


def temporal_fourier_shrinkage(x: Tensor, threshold: float) -> Tensor:
    """Soft-threshold the orthonormal temporal Fourier transform of images (frame, y, x).

    The mean over time is not shrunk.
    """
    spectrum = torch.fft.fft(x, dim=0, norm="ortho")
    soft_threshold(spectrum[1:], threshold)
    shrunk: Tensor = torch.fft.ifft(spectrum, dim=0, norm="ortho")
    return shrunk
