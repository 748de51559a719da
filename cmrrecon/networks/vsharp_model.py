"""The forward model of vSHARP, on images and k-space (batch, frame, coil, h, w).

Everything is computed frame by frame, and without gradients on a CPU coil by coil: few coil images
need little memory, and a single one fits into the cache.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from cmrrecon.networks.layers import safe_root
from cmrrecon.operators.fourier import fft2c, ifft2c

# Tensors (batch, coil, h, w) of one frame that belong together.
Frame = tuple[Tensor, ...]


def normal(x: Tensor, mask: Tensor, maps: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Apply `A^H A` to images (batch, frame, h, w), with a mask whose corner comes first."""

    def of_coils(image: Tensor, m: Tensor, s: Tensor) -> Tensor:
        k = torch.fft.fftn(image * s, dim=axes, norm="ortho") * m
        images: Tensor = torch.fft.ifftn(k, dim=axes, norm="ortho") * s.conj()
        return images

    return _summed(of_coils, x[:, :, None].expand_as(maps), mask.expand_as(maps), maps)


def combined(kspace: Tensor, maps: Tensor | None) -> Tensor:
    """Combine k-space (batch, frame, coil, h, w) to images with the maps, or by a plain sum."""
    if maps is None:
        return _summed(ifft2c, kspace)
    return _summed(lambda y, s: ifft2c(y) * s.conj(), kspace, maps)


def completed(y: Tensor, known: Tensor, image: Tensor, maps: Tensor) -> Tensor:
    """Return k-space (batch, frame, coil, h, w) with that of an image where it is not known."""

    def of_coils(k: Tensor, m: Tensor, x: Tensor, s: Tensor) -> Tensor:
        return torch.where(m, k, fft2c(x * s))

    given = y, known.expand_as(y), image.expand_as(y), maps
    if torch.is_grad_enabled():
        return torch.stack([of_coils(*frame) for frame in _frames(*given)], 1)

    out = y.new_empty(y.shape)
    for frame in _frames(out, *given):
        for place, *coils in _coils(frame):
            place.copy_(of_coils(*coils))
    return out


def modulus(x: Tensor) -> Tensor:
    """Return the magnitudes of complex images."""
    return safe_root(x.real.square() + x.imag.square())


def _summed(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """Apply a function to the coils of every frame and add the coils up."""
    images = []
    for frame in _frames(*tensors):
        first, *others = _coils(frame)
        total = function(*first).sum(1)
        for coils in others:
            total = total + function(*coils).sum(1)
        images.append(total)
    return torch.stack(images, 1)


def _frames(*tensors: Tensor) -> Iterator[Frame]:
    return zip(*(part.unbind(1) for part in tensors), strict=True)


def _coils(frame: Frame) -> Iterator[Frame]:
    """Yield the coils of a frame, a few at a time."""
    alone = not (torch.is_grad_enabled() or frame[0].is_cuda)
    return zip(*(torch.split(part, 1 if alone else len(part[0]), 1) for part in frame), strict=True)
