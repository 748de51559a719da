"""From an image to what coils measure: sensitivity maps of loops around the body, noise, k-space."""

import math

import torch
from torch import Tensor

from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import fft2c
from cmrrecon.simulation.shapes import generator, grid, uniform

ARRAY = (150.0, 190.0)  # mm, half axes (y, x) of the ellipse on which the coils lie
OBJECT_THRESHOLD = 0.05  # of the largest magnitude: darker pixels are air and do not count for the signal-to-noise ratio


def coil_maps(coils: int, y: int, x: int, seed: int) -> Tensor:
    """Sensitivity maps of loops around the body, with unit root sum of squares in every pixel.

    The magnitude of a loop of radius a falls as 1 / (d^2 + a^2)^(3/2) with the distance d from its centre, as its field on
    the axis does (Biot-Savart); its phase is that of its place around the body plus a smooth polynomial.

    Parameters
    ----------
    coils, y, x : sizes
    seed : where the coils lie exactly, and their phase

    Returns
    -------
    Tensor (coil, y, x) complex64
    """
    random = generator(seed, "coils")
    rows, columns = grid(y, x)
    maps = []

    for i in range(coils):
        place = 2 * math.pi * (i + uniform(-0.2, 0.2, random)) / coils
        centre = (ARRAY[0] * math.sin(place), ARRAY[1] * math.cos(place))
        # Neighbours lie alternately on either side of the slice, as the rows of an array do.
        height, radius = 35.0 * (-1) ** i + uniform(-10, 10, random), uniform(60, 90, random)

        squared = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 + height**2
        v, u = rows / 160, columns / 160

        c = torch.randn(5, generator=random) * torch.tensor([0.7, 0.7, 0.3, 0.2, 0.2])
        phase = place + c[0] * u + c[1] * v + c[2] * u * v + c[3] * u**2 + c[4] * v**2
        maps.append(torch.polar((squared + radius**2) ** -1.5, phase))

    stacked = torch.stack(maps)
    return stacked / rss(stacked)


def noise_sigma(image: Tensor, snr_db: float) -> float:
    """Standard deviation of complex noise at this signal-to-noise ratio: RMS of the image over the object / 10^(dB / 20).

    The object is where the magnitude, in any frame, exceeds 5 % of its maximum. Sigma counts both parts, E|n|^2 = sigma^2;
    with orthonormal transforms and maps of unit RSS it is the same in k-space, in coil images and in their combination.

    Parameters
    ----------
    image : Tensor (frame, ..., y, x) complex
    snr_db : in dB; infinity means no noise
    """
    magnitude = image.abs()
    shown = magnitude.amax(0) > OBJECT_THRESHOLD * magnitude.max()
    return float(magnitude[:, shown].square().mean().sqrt()) * 10 ** (-snr_db / 20)


def acquire(images: Tensor, maps: Tensor, sigma: float, *seed: int) -> Tensor:
    """Fully sampled k-space of images seen through coils, with complex white Gaussian noise.

    Parameters
    ----------
    images : Tensor (..., y, x) complex64
    maps : Tensor (coil, y, x) complex64
    sigma : standard deviation of the complex noise, E|n|^2 = sigma^2
    seed : one or more integers that fix the noise, such as the seed and the slice

    Returns
    -------
    Tensor (..., coil, y, x) complex64, on the device of the images
    """
    return with_noise(fft2c(images.unsqueeze(-3) * maps), sigma, *seed)


def with_noise(kspace: Tensor, sigma: float, *seed: int) -> Tensor:
    """K-space of any shape with the noise of this seed added; see `acquire`."""
    if sigma > 0:
        noise = torch.randn(kspace.shape, dtype=kspace.dtype, generator=generator("noise", *seed))
        kspace = kspace + sigma * noise.to(kspace.device)
    return kspace
