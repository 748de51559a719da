"""The forward model of vSHARP, on images and k-space (batch, frame, coil, h, w).

Everything is computed frame by frame, so the coil images need little memory.
"""

import torch
from torch import Tensor

from cmrrecon.networks.layers import safe_root
from cmrrecon.operators.fourier import fft2c, ifft2c


def normal(x: Tensor, mask: Tensor, maps: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Apply `A^H A` to images (batch, frame, h, w), with a mask whose corner comes first."""
    masks = mask.expand(-1, x.shape[1], -1, -1, -1)
    images = []

    for one, m, s in zip(*(torch.split(part, 1, 1) for part in (x, masks, maps)), strict=True):
        k = torch.fft.fftn(one[:, :, None] * s, dim=axes, norm="ortho") * m
        images.append((torch.fft.ifftn(k, dim=axes, norm="ortho") * s.conj()).sum(2))
    return torch.cat(images, 1)


def combined(kspace: Tensor, maps: Tensor | None) -> Tensor:
    """Combine k-space (batch, frame, coil, h, w) to images with the maps, or by a plain sum."""
    images = []
    for frame, y in enumerate(torch.split(kspace, 1, 1)):
        s = 1 if maps is None else maps[:, frame : frame + 1].conj()
        images.append((ifft2c(y) * s).sum(2))
    return torch.cat(images, 1)


def completed(y: Tensor, known: Tensor, image: Tensor, maps: Tensor) -> Tensor:
    """Return k-space (batch, frame, coil, h, w) with that of an image where it is not known."""
    known = known.expand(-1, y.shape[1], -1, -1, -1)
    given = (torch.split(part, 1, 1) for part in (y, known, image, maps))
    frames = (torch.where(k, m, fft2c(x * s)) for m, k, x, s in zip(*given, strict=True))
    return torch.cat(list(frames), 1)


def modulus(x: Tensor) -> Tensor:
    """Return the magnitudes of complex images."""
    return safe_root(x.real.square() + x.imag.square())
