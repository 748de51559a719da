"""Radial acquisition: spokes through the centre of k-space at the golden angle, and what coils measure along them."""

import math

import torch
from torch import Tensor

from cmrrecon.operators.noncartesian import NonCartesianEncoding
from cmrrecon.simulation.acquisition import with_noise

GOLDEN_ANGLE = (
    math.pi * (math.sqrt(5) - 1) / 2
)  # 111.246 degrees: any number of successive spokes covers the circle evenly


def golden_angle(frames: int, spokes: int, samples: int, n: int) -> Tensor:
    """Positions on spokes that go on turning from frame to frame (Winkelmann et al., IEEE Trans Med Imaging 2007;26:68).

    Parameters
    ----------
    frames, spokes : number of frames, and of spokes in each
    samples : number of samples a spoke, from one end of k-space to the other; sample `samples` // 2 is at its centre
    n : matrix of the images

    Returns
    -------
    Tensor (frame, spoke, sample, 2) float32, cycles per field of view, last axis (y, x)
    """
    angle = (
        torch.arange(frames * spokes, dtype=torch.float64).reshape(frames, spokes, 1) * GOLDEN_ANGLE
    )
    radius = (torch.arange(samples, dtype=torch.float64) - samples // 2) * (n / samples)
    return torch.stack([angle.sin() * radius, angle.cos() * radius], -1).float()


def acquire_along(
    trajectory: Tensor, images: Tensor, maps: Tensor, sigma: float, *seed: int
) -> Tensor:
    """K-space of images seen through coils at the positions of a trajectory, with complex white Gaussian noise.

    Parameters
    ----------
    trajectory : Tensor (frame, spoke, sample, 2), cycles per field of view
    images : Tensor (frame, y, x) complex64
    maps, sigma, seed : see `acquire`

    Returns
    -------
    Tensor (frame, coil, spoke, sample) complex64

    Raises
    ------
    UsageError : finufft is not installed
    """
    everywhere = torch.ones((1, trajectory.shape[1], 1), dtype=torch.bool)
    return with_noise(NonCartesianEncoding(maps, trajectory, everywhere)(images), sigma, *seed)
