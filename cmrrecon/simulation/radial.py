"""Radial acquisition: golden-angle spokes through the centre of k-space, and their samples."""

import math

import torch
from torch import Tensor

from cmrrecon.operators.noncartesian import NonCartesianEncoding
from cmrrecon.simulation.acquisition import with_noise

# 111.246 degrees: any number of successive spokes covers the circle evenly.
GOLDEN_ANGLE = math.pi * (math.sqrt(5) - 1) / 2


def golden_angle(frames: int, spokes: int, samples: int, n: int) -> Tensor:
    """Return positions on spokes that keep turning by the golden angle, across frames too.

    Parameters
    ----------
    frames, spokes : int
        The number of frames, and of spokes per frame.
    samples : int
        The number of samples per spoke, from one end of k-space to the other; sample `samples // 2`
        is at the centre.
    n : int
        The matrix size of the images.

    Returns
    -------
    Tensor of shape (frame, spoke, sample, 2), float32
        The positions (y, x) in cycles per field of view.

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
    """Return noisy k-space along a trajectory; the noise is complex, white and Gaussian.

    Parameters
    ----------
    trajectory : Tensor of shape (frame, spoke, sample, 2)
        The positions (y, x) in cycles per field of view.
    images : Tensor of shape (frame, y, x), complex64
        The noise-free images.
    maps, sigma, *seed : Tensor, float, int
        As in `acquire`.

    Returns
    -------
    Tensor of shape (frame, coil, spoke, sample), complex64
        The k-space.

    Raises
    ------
    UsageError
        If finufft is not installed.
    """
    everywhere = torch.ones((1, trajectory.shape[1], 1), dtype=torch.bool)
    return with_noise(NonCartesianEncoding(maps, trajectory, everywhere)(images), sigma, *seed)
