"""Augmentation: turn fully sampled k-space into other scans that could have been measured."""

import random

import torch
from torch import Tensor

from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import centred, fft2c, ifft2c
from cmrrecon.training.recipe import Data

# Pixels below this value are set to it before a negative power is applied.
LEAST_MAGNITUDE = 1e-6


def augment(
    kspace: Tensor, lesion: Tensor, limit: float, data: Data, draw: random.Random
) -> tuple[Tensor, Tensor, float]:
    """Apply the recipe's flips, gamma, larger field of view and coil dropout to a scan.

    Parameters
    ----------
    kspace : Tensor of shape (frame, coil, y, x), complex
        The fully sampled k-space, divided by the scale of the scan.
    lesion : Tensor of shape (y, x), bool
        True inside lesions; it moves with the image.
    limit : float
        The brightest pixel of the scan.
    data : Data
        The `data` section of the recipe.
    draw : random.Random
        The source of randomness.

    Returns
    -------
    kspace, lesion : Tensor
        The augmented scan, with the same shapes.
    limit : float
        The brightest pixel after augmentation.
    """
    flips = [axis for axis in (-2, -1) if draw.random() < data.flip]
    exponent = (1 + data.gamma) ** draw.uniform(-1, 1)
    wider = 1 + draw.uniform(0, data.fov)
    lost = [draw.random() < data.coil_dropout for _ in range(kspace.shape[1])]

    if flips or data.gamma or data.fov:
        images = ifft2c(kspace).flip(flips)
        lesion = lesion.flip(flips)
        if data.gamma:
            # The factor is the same for all coils, which leaves the coil maps unchanged.
            images = images * rss(images)[:, None].clamp(min=LEAST_MAGNITUDE) ** (exponent - 1)

        kspace = fft2c(images)
        if data.fov:
            kspace, lesion = widen(images, lesion, wider)

    if any(lost) and not all(lost):
        kspace = kspace * ~torch.tensor(lost, device=kspace.device)[:, None, None]

    return kspace, lesion, limit**exponent


def noisy(kspace: Tensor, data: Data, draw: random.Random) -> Tensor:
    """Add white noise of a random strength, up to the recipe's `noise`, to the input k-space."""
    sigma, seed = draw.uniform(0, data.noise), draw.getrandbits(31)
    if not data.noise:
        return kspace
    return kspace + sigma * torch.randn(
        kspace.shape, dtype=kspace.dtype, generator=torch.Generator().manual_seed(seed)
    )


def widen(images: Tensor, lesion: Tensor, factor: float) -> tuple[Tensor, Tensor]:
    """Return the k-space of a larger field of view with the same matrix.

    The body covers fewer pixels, which are larger, and is as bright as before.

    Parameters
    ----------
    images : Tensor of shape (..., y, x), complex
        Coil images.
    lesion : Tensor of shape (y, x), bool
        True inside lesions.
    factor : float
        The factor by which the field of view grows.
    """
    shape = images.shape[-2:]
    larger = [round(factor * n) for n in shape]
    rows, columns = (centred(m, n) for m, n in zip(larger, shape, strict=True))

    padded = images.new_zeros((*images.shape[:-2], *larger))
    padded[..., rows, columns] = images

    # Orthonormal transforms of the two sizes differ by the square root of the ratio of the sizes.
    kspace = fft2c(padded)[..., rows, columns] * (shape.numel() / (larger[0] * larger[1])) ** 0.5

    boxes = lesion.new_zeros(larger)
    boxes[rows, columns] = lesion
    y, x = (nearest(n, m) for n, m in zip(shape, larger, strict=True))
    return kspace, boxes[y][:, x]


def nearest(pixels: int, larger: int) -> Tensor:
    """Map each of `pixels` to the nearest of `larger` pixels over the same field of view.

    Both grids have their centre at n // 2.
    """
    place = (torch.arange(pixels) - pixels // 2) * (larger / pixels) + larger // 2
    return place.round().long().clamp(0, larger - 1)
