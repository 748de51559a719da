"""The linear operator between images and multi-coil Cartesian k-space.

`Encoding` is abstract; whole lines (`LineEncoding`) and single samples (`SampleEncoding`) differ in how the normal operator is done.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from cmrrecon.data import CartesianMask, LineMask
from cmrrecon.operators.fourier import fft2c, ifft2c, ifftc
from cmrrecon.operators.linear import LinearOperator
from cmrrecon.tools.errors import UsageError

# On a CPU one frame's coil images stay in the cache, with transforms along x as well those of a few coils; a GPU wants much work at once.
CPU_COILS = 4
GPU_BYTES = 2**28


class Encoding(LinearOperator, ABC):
    """Sampling x Fourier transform x coil maps: `A(x)`, its adjoint `A.H(k)` and `A.N(x)` = `A.H(A(x))`.

    All three can be differentiated by what they are applied to; gradients do not reach the maps.

    A(x)[t, c] = mask[t] * fft2c(maps[c] * x[t])   (Pruessmann et al., Magn Reson Med 1999;42:952)

    Parameters
    ----------
    maps : Tensor (coil, y, x), complex
    mask : CartesianMask
    columns : the images hold only these columns of x and are zero in the others; all by default

    Raises
    ------
    UsageError : `shape-mismatch`, maps and mask do not belong together
    """

    def __init__(self, maps: Tensor, mask: CartesianMask, columns: slice = slice(None)) -> None:
        shape = mask.samples.shape
        if maps.ndim != 3 or shape[1] != maps.shape[1] or shape[2] not in (1, maps.shape[2]):
            raise UsageError(
                "shape-mismatch",
                f"The maps have shape {tuple(maps.shape)} and the mask {tuple(shape)}",
                "Maps (coil, y, x) and a mask (frame or 1, y, x or 1) with the same y and x are needed",
                "Give maps and mask of the same series",
            )
        self.mask, self.columns, self.width = mask, columns, maps.shape[2]
        self.maps = y_fastest(maps[..., columns])
        self.maps_conj = self.maps.conj().resolve_conj()
        # F^H m F does not change when both transforms start elsewhere, so the normal operator needs no centring, for odd sizes
        # either: plain transforms, the mask in their order, and both scale factors in the mask.
        weights = torch.fft.ifftshift(mask.samples, (-2, -1)).to(maps.real.dtype)[:, None]
        self.weights = weights / self._transformed_samples()

    def __call__(self, images: Tensor) -> Tensor:
        """Images (frame, y, x) to k-space (frame, coil, y, x), zero where not measured."""
        return linear(self._forward, self._adjoint, images, self._frames(images))

    def H(self, kspace: Tensor) -> Tensor:
        """Adjoint: k-space (frame, coil, y, x) to images (frame, y, x); samples outside the mask are ignored."""
        return linear(self._adjoint, self._forward, kspace, self._frames(kspace))

    def N(self, images: Tensor) -> Tensor:
        """Normal operator A.H(A(x)) on images (frame, y, x), without ever holding the k-space of a series."""
        return linear(self._normal, self._normal, images, self._frames(images))

    @abstractmethod
    def _transformed_samples(self) -> int:
        """Samples of the transforms in the normal operator."""

    @abstractmethod
    def _normal(self, images: Tensor, frames: int) -> Tensor:
        """The normal operator on images (frame, y, x)."""

    @abstractmethod
    def _combined(self, frame: Tensor, mask: Tensor) -> Tensor:
        """Coil images (coil, y, x') of the measured samples of a frame (coil, y, x)."""

    def _frames(self, data: Tensor) -> int:
        if len(self.mask.samples) not in (1, data.shape[0]):
            raise UsageError(
                "shape-mismatch",
                f"The mask has {len(self.mask.samples)} frames and the data {data.shape[0]}",
                "A mask must have as many frames as the data, or one for all",
                "Cut both to the same frames",
            )
        return data.shape[0]

    def _forward(self, images: Tensor, frames: int) -> Tensor:
        coils, ny = self.maps.shape[:2]
        kspace = images.new_empty((frames, coils, ny, self.width))
        for t, mask in self._each(frames):
            full = images.new_zeros((coils, ny, self.width))
            full[..., self.columns] = self.maps * images[t]
            kspace[t] = fft2c(full) * mask
        return kspace

    def _adjoint(self, kspace: Tensor, frames: int) -> Tensor:
        images = self._like_images(kspace, frames)
        for t, mask in self._each(frames):
            combined = self._combined(kspace[t], mask)
            torch.sum(combined.mul_(self.maps_conj), 0, out=images[t])
        return images

    def _each(self, frames: int) -> Iterator[tuple[int, Tensor]]:
        return ((t, self.mask.frame(t)) for t in range(frames))

    def _batches(self, frames: int) -> Iterator[tuple[slice, Tensor]]:
        """Frames that are worked on together, and their weights; on a CPU one by one."""
        ny, nx = self.maps.shape[1], max(self.maps.shape[2], self.weights.shape[-1])
        frame_bytes = len(self.maps) * ny * nx * self.maps.element_size()
        step = 1 if self.maps.device.type == "cpu" else max(1, GPU_BYTES // frame_bytes)
        for first in range(0, frames, step):
            part = slice(first, min(first + step, frames))
            yield part, self.weights if len(self.weights) == 1 else self.weights[part]

    def _like_images(self, data: Tensor, frames: int) -> Tensor:
        _, ny, nx = self.maps.shape
        return data.new_empty((frames, nx, ny)).mT

    def _buffers(self, frames: int, coils: int) -> tuple[Tensor, Tensor]:
        """Memory for coil images before and after a transform; on a CPU it is the same, to stay in the cache."""
        _, ny, nx = self.maps.shape
        first = self.maps.new_empty((frames, coils, nx, ny)).mT
        return first, first if first.device.type == "cpu" else torch.empty_like(first)


class LineEncoding(Encoding):
    """For whole readout lines. Along the readout the transform and its inverse cancel: transforms along y are enough."""

    def _transformed_samples(self) -> int:
        return self.maps.shape[1]

    def _combined(self, frame: Tensor, mask: Tensor) -> Tensor:
        lines = mask[:, 0]
        along_x = torch.zeros_like(self.maps)
        if bool(lines.any()):  # no transform takes an empty batch
            along_x[:, lines] = ifftc(frame[:, lines], -1)[..., self.columns]
        return ifftc(along_x, -2)

    def _normal(self, images: Tensor, frames: int) -> Tensor:
        out = self._like_images(images, frames)
        images = images.detach()
        a = b = self.maps.new_empty(0)
        for part, weights in self._batches(frames):
            x = images[part, None]
            if len(a) != len(x):
                a, b = self._buffers(len(x), len(self.maps))
            torch.mul(self.maps, x, out=a)
            torch.fft.fft(a, dim=-2, out=b)
            b.mul_(weights)
            torch.fft.ifft(b, dim=-2, norm="forward", out=a)
            torch.sum(a.mul_(self.maps_conj), 1, out=out[part])
        return out


class SampleEncoding(Encoding):
    """For single samples: transforms along both axes."""

    def _transformed_samples(self) -> int:
        return self.maps.shape[1] * self.width

    def _combined(self, frame: Tensor, mask: Tensor) -> Tensor:
        return ifft2c(frame * mask)[..., self.columns]

    def _normal(self, images: Tensor, frames: int) -> Tensor:
        """Transforms along x between those along y, which are done only where there are image columns."""
        out = self._like_images(images, frames).zero_()
        images = images.detach()
        together = CPU_COILS if self.maps.device.type == "cpu" else len(self.maps)
        for maps, maps_conj in zip(
            torch.split(self.maps, together), torch.split(self.maps_conj, together), strict=True
        ):
            a = b = wide = wide_k = self.maps.new_empty(0)
            for part, weights in self._batches(frames):
                x = images[part, None]
                if len(a) != len(x):
                    a, b = self._buffers(len(x), len(maps))
                    wide, wide_k = (
                        self.maps.new_empty((*a.shape[:-1], self.width)) for _ in range(2)
                    )
                torch.mul(maps, x, out=a)
                torch.fft.fft(a, dim=-2, out=b)
                wide.zero_()[..., self.columns] = b
                torch.fft.fft(wide, dim=-1, out=wide_k)
                wide_k.mul_(weights)
                torch.fft.ifft(wide_k, dim=-1, norm="forward", out=wide)
                b.copy_(wide[..., self.columns])
                torch.fft.ifft(b, dim=-2, norm="forward", out=a)
                out[part] += torch.sum(a.mul_(maps_conj), 1)
        return out


def encoding(maps: Tensor, mask: CartesianMask, columns: slice = slice(None)) -> Encoding:
    """The encoding of Cartesian k-space for the kind of its mask; parameters as `Encoding`."""
    kind = LineEncoding if isinstance(mask, LineMask) else SampleEncoding
    return kind(maps, mask, columns)


def y_fastest(x: Tensor) -> Tensor:
    """The same values (..., y, x) with neighbours along y side by side in memory, where transforms along y run fastest."""
    return x.mT.contiguous().mT


Operator = Callable[[Tensor, int], Tensor]


class _Linear(torch.autograd.Function):
    """A linear operator whose gradient is its adjoint: no intermediate needs to be kept."""

    @staticmethod
    def forward(ctx: Any, forward: Operator, adjoint: Operator, x: Tensor, frames: int) -> Tensor:
        ctx.operators, ctx.frames = (forward, adjoint), frames
        return forward(x, frames)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, Tensor, None]:
        forward, adjoint = ctx.operators
        return None, None, linear(adjoint, forward, gradients[0], ctx.frames), None


def linear(forward: Operator, adjoint: Operator, x: Tensor, frames: int) -> Tensor:
    """forward(x, frames), differentiable by its adjoint."""
    result: Tensor = _Linear.apply(forward, adjoint, x, frames)  # type: ignore[no-untyped-call]
    return result
