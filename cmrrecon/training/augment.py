"""Augmentation: other scans that could have been measured, made from fully sampled k-space."""

import random

import torch
from torch import Tensor

from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import centred, fft2c, ifft2c
from cmrrecon.training.recipe import Data

DIMMEST = 1e-6


def augment(
    kspace: Tensor, lesion: Tensor, limit: float, data: Data, draw: random.Random
) -> tuple[Tensor, Tensor, float]:
    """Flips, gamma, a larger field of view and lost coils, as the recipe says; lesions move along.

    Parameters
    ----------
    kspace : Tensor (frame, coil, y, x), fully sampled, of normal scale
    lesion : Tensor (y, x), bool: where lesions are
    limit : the brightest pixel of the scan
    data : of the recipe
    draw : decides

    Returns
    -------
    k-space and lesions of the same shapes, and the limit
    """
    flips = [axis for axis in (-2, -1) if draw.random() < data.flip]
    exponent = (1 + data.gamma) ** draw.uniform(-1, 1)
    wider = 1 + draw.uniform(0, data.fov)
    lost = [draw.random() < data.coil_dropout for _ in range(kspace.shape[1])]

    if flips or data.gamma or data.fov:
        images = ifft2c(kspace).flip(flips)
        lesion = lesion.flip(flips)
        if data.gamma:
            # The same factor in all coils, so that the coil maps stay what they are.
            images = images * rss(images)[:, None].clamp(min=DIMMEST) ** (exponent - 1)

        kspace = fft2c(images)
        if data.fov:
            kspace, lesion = widen(images, lesion, wider)

    if any(lost) and not all(lost):
        kspace = kspace * ~torch.tensor(lost, device=kspace.device)[:, None, None]

    return kspace, lesion, limit**exponent


def noisy(kspace: Tensor, data: Data, draw: random.Random) -> Tensor:
    """K-space with at most as much white noise added as the recipe says; targets stay without."""
    sigma, seed = draw.uniform(0, data.noise), draw.getrandbits(31)
    if not data.noise:
        return kspace
    return kspace + sigma * torch.randn(
        kspace.shape, dtype=kspace.dtype, generator=torch.Generator().manual_seed(seed)
    )


def widen(images: Tensor, lesion: Tensor, factor: float) -> tuple[Tensor, Tensor]:
    """K-space of a field of view `factor` times as large with the same matrix: a smaller body in larger pixels, as bright as before.

    Parameters
    ----------
    images : Tensor (.., y, x), complex; lesion : Tensor (y, x), bool
    """
    shape = images.shape[-2:]
    larger = [round(factor * n) for n in shape]
    rows, columns = (centred(m, n) for m, n in zip(larger, shape, strict=True))

    padded = images.new_zeros((*images.shape[:-2], *larger))
    padded[..., rows, columns] = images

    # Orthonormal transforms of the two sizes differ by the root of their ratio.
    kspace = fft2c(padded)[..., rows, columns] * (shape.numel() / (larger[0] * larger[1])) ** 0.5

    boxes = lesion.new_zeros(larger)
    boxes[rows, columns] = lesion
    y, x = (nearest(n, m) for n, m in zip(shape, larger, strict=True))
    return kspace, boxes[y][:, x]


def nearest(pixels: int, larger: int) -> Tensor:
    """Of each of `pixels` the nearest of `larger` pixels over the same field of view; both are centred at n // 2."""
    place = (torch.arange(pixels) - pixels // 2) * (larger / pixels) + larger // 2
    return place.round().long().clamp(0, larger - 1)
