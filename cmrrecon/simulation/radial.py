"""Radial acquisition: golden-angle spokes through the centre of k-space, and their samples."""

import math

import torch
from torch import Tensor

from cmrrecon.operators.noncartesian import NonCartesianEncoding
from cmrrecon.simulation.acquisition import with_noise

# 111.246 degrees: any number of successive spokes covers the circle evenly.
GOLDEN_ANGLE = math.pi * (math.sqrt(5) - 1) / 2


def golden_angle(frames: int, spokes: int, samples: int, n: int) -> Tensor:
    """Positions on spokes that keep turning by the golden angle from frame to frame.

    Parameters
    ----------
    frames, spokes : int
        Number of frames, and of spokes per frame.
    samples : int
        Number of samples per spoke, from one end of k-space to the other; sample `samples // 2` is
        at the centre.
    n : int
        Matrix size of the images.

    Returns
    -------
    Tensor of shape (frame, spoke, sample, 2), float32
        Positions (y, x) in cycles per field of view.

    References
    ----------
    Winkelmann et al., IEEE Trans Med Imaging 2007;26:68.
    """
    angle = (
        torch.arange(frames * spokes, dtype=torch.float64).reshape(frames, spokes, 1) * GOLDEN_ANGLE
    )
    radius = (torch.arange(samples, dtype=torch.float64) - samples // 2) * (n / samples)
    return torch.stack([angle.sin() * radius, angle.cos() * radius], -1).float()


def acquire_along(
    trajectory: Tensor, images: Tensor, maps: Tensor, sigma: float, *seed: int
) -> Tensor:
    """K-space along a trajectory of images seen through coils, with complex white Gaussian noise.

    Parameters
    ----------
    trajectory : Tensor of shape (frame, spoke, sample, 2)
        Positions (y, x) in cycles per field of view.
    images : Tensor of shape (frame, y, x), complex64
        Noise-free images.
    maps, sigma, *seed : Tensor, float, int
        As in `acquire`.

    Returns
    -------
    Tensor of shape (frame, coil, spoke, sample), complex64
        K-space.

    Raises
    ------
    UsageError
        If finufft is not installed.
    """
    everywhere = torch.ones((1, trajectory.shape[1], 1), dtype=torch.bool)
    return with_noise(NonCartesianEncoding(maps, trajectory, everywhere)(images), sigma, *seed)
