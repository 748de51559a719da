"""From an image to measured k-space: coil sensitivity maps, noise and Fourier encoding."""

import math

import torch
from torch import Tensor

from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import fft2c
from cmrrecon.simulation.shapes import generator, grid, uniform

# Half axes (y, x) in mm of the ellipse on which the coils are placed.
ARRAY = (150.0, 190.0)
# Pixels darker than this fraction of the largest magnitude are air and do not count as signal.
OBJECT_THRESHOLD = 0.05


def coil_maps(coils: int, y: int, x: int, seed: int) -> Tensor:
    """Return sensitivity maps of loops around the body, with unit root sum of squares everywhere.

    The sensitivity of a loop of radius a falls as `1 / (d^2 + a^2)^(3/2)` with the distance d from
    its centre, like its field on the axis (Biot-Savart). The phase is the angle of the loop around
    the body plus a smooth polynomial.

    Parameters
    ----------
    coils : int
        The number of coils.
    y, x : int
        The size of the maps in pixels.
    seed : int
        Determines the exact positions of the coils and their phases.

    Returns
    -------
    Tensor of shape (coil, y, x), complex64
        The maps.
    """
    random = generator(seed, "coils")
    rows, columns = grid(y, x)
    maps = []

    for i in range(coils):
        place = 2 * math.pi * (i + uniform(-0.2, 0.2, random)) / coils
        centre = (ARRAY[0] * math.sin(place), ARRAY[1] * math.cos(place))
        # Neighbouring coils are on alternate sides of the slice, like the rows of a coil array.
        height, radius = 35.0 * (-1) ** i + uniform(-10, 10, random), uniform(60, 90, random)

        squared = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 + height**2

        v, u = rows / 160, columns / 160
        c = torch.randn(5, generator=random) * torch.tensor([0.7, 0.7, 0.3, 0.2, 0.2])
        phase = place + c[0] * u + c[1] * v + c[2] * u * v + c[3] * u**2 + c[4] * v**2
        maps.append(torch.polar((squared + radius**2) ** -1.5, phase))

    stacked = torch.stack(maps)
    return stacked / rss(stacked)


def noise_sigma(image: Tensor, snr_db: float) -> float:
    """Return the standard deviation of the complex noise for a given signal-to-noise ratio.

    It is the RMS of the image over the object, divided by `10^(snr_db / 20)`. The object consists
    of the pixels above 5 % of the maximum magnitude in any frame. Sigma covers the real and the
    imaginary part, `E|n|^2 = sigma^2`. With orthonormal transforms and maps of unit RSS it is the
    same in k-space, in coil images and in their combination.

    Parameters
    ----------
    image : Tensor of shape (frame, ..., y, x), complex
        The noise-free image.
    snr_db : float
        The signal-to-noise ratio in dB; infinity for no noise.
    """
    magnitude = image.abs()
    shown = magnitude.amax(0) > OBJECT_THRESHOLD * magnitude.max()
    return float(magnitude[:, shown].square().mean().sqrt()) * 10 ** (-snr_db / 20)


def acquire(images: Tensor, maps: Tensor, sigma: float, *seed: int) -> Tensor:
    """Return fully sampled k-space of images seen by coils, with complex white Gaussian noise.

    Parameters
    ----------
    images : Tensor of shape (..., y, x), complex64
        The noise-free images.
    maps : Tensor of shape (coil, y, x), complex64
        The coil sensitivity maps.
    sigma : float
        The standard deviation of the complex noise, `E|n|^2 = sigma^2`.
    *seed : int
        One or more integers that determine the noise, such as the seed and the slice.

    Returns
    -------
    Tensor of shape (..., coil, y, x), complex64
        The k-space, on the device of the images.
    """
    return with_noise(fft2c(images.unsqueeze(-3) * maps), sigma, *seed)


def with_noise(kspace: Tensor, sigma: float, *seed: int) -> Tensor:
    """Add noise to k-space of any shape; the parameters are the same as in `acquire`."""
    if sigma > 0:
        noise = torch.randn(kspace.shape, dtype=kspace.dtype, generator=generator("noise", *seed))
        kspace = kspace + sigma * noise.to(kspace.device)
    return kspace
