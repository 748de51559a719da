"""The linear operator from images to multi-coil Cartesian k-space.

`Encoding` is abstract. `LineEncoding` (whole lines) and `SampleEncoding` (single samples) differ in
how they compute the normal operator.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from copy import copy
from typing import Any, Self

import torch
from torch import Tensor

from cmrrecon.data import CartesianMask, LineMask
from cmrrecon.operators.fourier import fft2c, ifft2c, ifftc
from cmrrecon.operators.linear import LinearOperator
from cmrrecon.tools.errors import UsageError

# On a CPU, all coil images of one frame fit into the cache; with transforms along x as well, only
# a few coils do. A GPU needs large batches.
CPU_COILS = 4
GPU_BYTES = 2**28


class Encoding(LinearOperator, ABC):
    """Sampling x Fourier transform x coil maps: `A(x)`, its adjoint `A.H(k)` and `A.N(x)`.

    The forward operator is::

        A(x)[t, c] = w mask[t] * fft2c(maps[c] * x[t])

    w is one, or, if some lines were averaged more often than others, the square root of
    `CartesianMask.weights`. With n sets of maps, stacked along y, x consists of n images stacked in
    the same way, and each coil sees their sum (soft-SENSE).

    All three operators are differentiable with respect to their argument. Gradients do not reach
    the maps.

    Parameters
    ----------
    maps : Tensor of shape (coil, n y, x), complex
        Coil sensitivity maps; n sets stacked along y.
    mask : CartesianMask
        The measured samples.
    columns : slice
        The columns of x that the images cover; in other columns they are zero. All by default.

    Raises
    ------
    UsageError
        If maps and mask do not fit together (`shape-mismatch`).

    References
    ----------
    Pruessmann et al., Magn Reson Med 1999;42:952. Soft-SENSE: Uecker et al., Magn Reson Med
    2014;71:990.
    """

    def __init__(self, maps: Tensor, mask: CartesianMask, columns: slice = slice(None)) -> None:
        shape = mask.samples.shape
        if maps.ndim != 3 or maps.shape[1] % shape[1] or shape[2] not in (1, maps.shape[2]):
            raise UsageError(
                "shape-mismatch",
                f"The maps have shape {tuple(maps.shape)} and the mask {tuple(shape)}",
                "Maps (coil, y, x) and a mask (frame or 1, y, x or 1) must agree in y and x",
                "Give maps and mask of the same series",
            )

        self.mask, self.columns, self.width = mask, columns, maps.shape[2]
        self.height, self.sets = shape[1], maps.shape[1] // shape[1]

        self.maps = y_fastest(maps[..., columns])
        self.maps_conj = self.maps.conj().resolve_conj()

        # Shifts before and after F^H m F cancel, even for odd sizes. The normal operator therefore
        # uses plain transforms, with the mask in FFT order and scaled for both of them.
        self.averaging = mask.weights
        weights = mask.samples if self.averaging is None else mask.samples * self.averaging
        weights = torch.fft.ifftshift(weights, (-2, -1)).to(maps.real.dtype)[:, None]
        self.weights = weights / self._transformed_samples()

    def __call__(self, images: Tensor) -> Tensor:
        """Map images (frame, y, x) to k-space (frame, coil, y, x), zero where not measured."""
        return linear(self._forward, self._weighted_adjoint, images, self._frames(images))

    def H(self, kspace: Tensor) -> Tensor:
        """Map k-space (frame, coil, y, x) to images (frame, y, x) by the adjoint.

        Samples outside the mask are ignored.
        """
        return linear(self._weighted_adjoint, self._forward, kspace, self._frames(kspace))

    def back(self, kspace: Tensor) -> Tensor:
        """Compute the right-hand side A.H(w k) of least squares from measured k-space."""
        return self._adjoint(kspace, self._frames(kspace), self.averaging)

    def N(self, images: Tensor) -> Tensor:
        """Apply the normal operator A.H(A(x)) to images (frame, y, x).

        It never keeps the k-space of a whole series in memory.
        """
        return linear(self._normal, self._normal, images, self._frames(images))

    def first_set(self) -> Self:
        """Return the operator with only the first set of maps."""
        first = copy(self)
        first.sets = 1
        first.maps, first.maps_conj = (
            y_fastest(maps[:, : self.height]) for maps in (self.maps, self.maps_conj)
        )
        return first

    @abstractmethod
    def _transformed_samples(self) -> int:
        """Return the number of samples in each transform of the normal operator."""

    @abstractmethod
    def _normal(self, images: Tensor, frames: int) -> Tensor:
        """Apply the normal operator to images (frame, y, x)."""

    @abstractmethod
    def _combined(self, frame: Tensor, mask: Tensor, factor: Tensor | None) -> Tensor:
        """Compute coil images (coil, y, x') of a frame (coil, y, x) multiplied by `factor`."""

    def _frames(self, data: Tensor) -> int:
        if len(self.mask.samples) not in (1, data.shape[0]):
            raise UsageError(
                "shape-mismatch",
                f"The mask has {len(self.mask.samples)} frames and the data {data.shape[0]}",
                "A mask must have a single frame or the frames of the data",
                "Give the mask that belongs to these data",
            )
        return data.shape[0]

    def _forward(self, images: Tensor, frames: int) -> Tensor:
        coils = len(self.maps)
        kspace = images.new_empty((frames, coils, self.height, self.width))

        for t, mask, root in self._each_frame(frames, self._roots()):
            full = images.new_zeros((coils, self.height, self.width))
            self._apply_maps(self.maps, images[t], full[..., self.columns])
            kspace[t] = fft2c(full) * mask
            if root is not None:
                kspace[t] *= root

        return kspace

    def _weighted_adjoint(self, kspace: Tensor, frames: int) -> Tensor:
        return self._adjoint(kspace, frames, self._roots())

    def _adjoint(self, kspace: Tensor, frames: int, factors: Tensor | None) -> Tensor:
        images = self._like_images(kspace, frames)
        for t, mask, factor in self._each_frame(frames, factors):
            self._combine_coils(self._combined(kspace[t], mask, factor), self.maps_conj, images[t])
        return images

    def _roots(self) -> Tensor | None:
        """Return the square roots of the sample weights."""
        return None if self.averaging is None else self.averaging.sqrt()

    def _each_frame(
        self, frames: int, factors: Tensor | None
    ) -> Iterator[tuple[int, Tensor, Tensor | None]]:
        """Yield the number, measured samples and factors of every frame."""
        for t in range(frames):
            yield t, self.mask.frame(t), None if factors is None else factors[t % len(factors)]

    def _apply_maps(self, maps: Tensor, x: Tensor, out: Tensor) -> None:
        """Map images (..., n y, x') to coil images (..., coil, y, x')."""
        if self.sets == 1:
            torch.mul(maps, x, out=out)
        else:
            torch.sum(self._split(maps * x), -3, out=out)

    def _combine_coils(self, seen: Tensor, maps_conj: Tensor, out: Tensor) -> None:
        """Apply the adjoint of `_apply_maps`, overwriting `seen`."""
        if self.sets == 1:
            torch.sum(seen.mul_(maps_conj), -3, out=out)
        else:
            combined = self._split(maps_conj).mul(seen[..., None, :, :])
            out.copy_(combined.sum(-4).flatten(-3, -2))

    def _split(self, stacked: Tensor) -> Tensor:
        """View (..., n y, x) as (..., n, y, x)."""
        return split_sets(stacked, self.sets)

    def _batches(self, frames: int) -> Iterator[tuple[slice, Tensor]]:
        """Yield the frames to process together, with their weights; on a CPU, one at a time."""
        nx = max(self.maps.shape[2], self.weights.shape[-1])
        frame_bytes = len(self.maps) * self.height * nx * self.maps.element_size()
        step = 1 if self.maps.device.type == "cpu" else max(1, GPU_BYTES // frame_bytes)
        for first in range(0, frames, step):
            part = slice(first, min(first + step, frames))
            yield part, self.weights if len(self.weights) == 1 else self.weights[part]

    def _like_images(self, data: Tensor, frames: int) -> Tensor:
        _, ny, nx = self.maps.shape
        return data.new_empty((frames, nx, ny)).mT

    def _buffers(self, frames: int, coils: int) -> tuple[Tensor, Tensor]:
        """Allocate memory for coil images before and after a transform; on a CPU both share it."""
        first = self.maps.new_empty((frames, coils, self.maps.shape[2], self.height)).mT
        return first, first if first.device.type == "cpu" else torch.empty_like(first)


class LineEncoding(Encoding):
    """Encoding of whole readout lines.

    The transforms along the readout cancel in the normal operator, which needs only those along y.
    """

    def _transformed_samples(self) -> int:
        return self.height

    def _combined(self, frame: Tensor, mask: Tensor, factor: Tensor | None) -> Tensor:
        lines = mask[:, 0]
        along_x = self._buffers(1, len(self.maps))[0][0].zero_()

        if bool(lines.any()):  # FFTs refuse an empty batch
            measured = ifftc(frame[:, lines], -1)[..., self.columns]
            along_x[:, lines] = measured if factor is None else measured * factor[lines]

        return ifftc(along_x, -2)

    def _normal(self, images: Tensor, frames: int) -> Tensor:
        out = self._like_images(images, frames)
        images = images.detach()

        a = b = self.maps.new_empty(0)
        for part, weights in self._batches(frames):
            x = images[part, None]
            if len(a) != len(x):
                a, b = self._buffers(len(x), len(self.maps))
            self._apply_maps(self.maps, x, a)

            torch.fft.fft(a, dim=-2, out=b)
            b.mul_(weights)
            torch.fft.ifft(b, dim=-2, norm="forward", out=a)
            self._combine_coils(a, self.maps_conj, out[part])

        return out


class SampleEncoding(Encoding):
    """Encoding of single samples, with transforms along both axes."""

    def _transformed_samples(self) -> int:
        return self.height * self.width

    def _combined(self, frame: Tensor, mask: Tensor, factor: Tensor | None) -> Tensor:
        return ifft2c(frame * (mask if factor is None else mask * factor))[..., self.columns]

    def _normal(self, images: Tensor, frames: int) -> Tensor:
        """Transform along x between the transforms along y, which run only on image columns."""
        out = self._like_images(images, frames).zero_()
        images = images.detach()

        coils_at_once = CPU_COILS if self.maps.device.type == "cpu" else len(self.maps)

        for maps, maps_conj in zip(
            torch.split(self.maps, coils_at_once),
            torch.split(self.maps_conj, coils_at_once),
            strict=True,
        ):
            a = b = wide = wide_k = self.maps.new_empty(0)
            for part, weights in self._batches(frames):
                x = images[part, None]
                if len(a) != len(x):
                    a, b = self._buffers(len(x), len(maps))
                    wide, wide_k = (
                        self.maps.new_empty((*a.shape[:-1], self.width)) for _ in range(2)
                    )

                self._apply_maps(maps, x, a)
                torch.fft.fft(a, dim=-2, out=b)
                wide.zero_()[..., self.columns] = b
                torch.fft.fft(wide, dim=-1, out=wide_k)
                wide_k.mul_(weights)
                torch.fft.ifft(wide_k, dim=-1, norm="forward", out=wide)

                b.copy_(wide[..., self.columns])
                torch.fft.ifft(b, dim=-2, norm="forward", out=a)
                self._combine_coils(a, maps_conj, gathered := torch.empty_like(out[part]))
                out[part] += gathered

        return out


def encoding(maps: Tensor, mask: CartesianMask, columns: slice = slice(None)) -> Encoding:
    """Build the encoding of Cartesian k-space for the kind of its mask.

    Parameters are those of `Encoding`.
    """
    kind = LineEncoding if isinstance(mask, LineMask) else SampleEncoding
    return kind(maps, mask, columns)


def split_sets(stacked: Tensor, sets: int) -> Tensor:
    """View sets stacked along y (..., n y, x) as (..., n, y, x), in the same memory."""
    *before, height, width = stacked.shape
    return stacked.view(*before, sets, height // sets, width)


def y_fastest(x: Tensor) -> Tensor:
    """Copy values (..., y, x) so that neighbours along y are adjacent in memory.

    This makes transforms along y fastest.
    """
    return x.mT.contiguous().mT


Operator = Callable[[Tensor, int], Tensor]


class _Linear(torch.autograd.Function):
    """A linear operator whose gradient is its adjoint, so no intermediate values are kept."""

    @staticmethod
    def forward(ctx: Any, forward: Operator, adjoint: Operator, x: Tensor, frames: int) -> Tensor:
        ctx.operators, ctx.frames = (forward, adjoint), frames
        return forward(x, frames)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, Tensor, None]:
        forward, adjoint = ctx.operators
        return None, None, linear(adjoint, forward, gradients[0], ctx.frames), None


def linear(forward: Operator, adjoint: Operator, x: Tensor, frames: int) -> Tensor:
    """Compute forward(x, frames), with the adjoint as its gradient."""
    result: Tensor = _Linear.apply(forward, adjoint, x, frames)  # type: ignore[no-untyped-call]
    return result
