"""Coil images straight from k-space, for every kind of mask."""

import torch
from torch import Tensor

from cmrrecon.data import SamplingMask, SpokeMask
from cmrrecon.operators.coils import rss, rss_images
from cmrrecon.operators.fourier import ifft2c
from cmrrecon.operators.noncartesian import average_images, grid


def average_coil_images(kspace: Tensor, mask: SamplingMask) -> Tensor:
    """Coil images (coil, y, x) of all frames together.

    Cartesian positions are averaged over the frames that measured them; samples along a trajectory
    are density-compensated and gridded, as if they were one frame.

    Parameters
    ----------
    kspace : Tensor (frame, coil, y, x), complex
    mask : SamplingMask

    Raises
    ------
    UsageError : `package-missing`, k-space along a trajectory without finufft
    """
    if isinstance(mask, SpokeMask):
        trajectory = mask.trajectory
        return average_images(kspace, trajectory.positions, mask.samples, trajectory.matrix)
    return ifft2c(time_average(kspace, mask.samples))


def magnitudes(kspace: Tensor, mask: SamplingMask) -> Tensor:
    """Root-sum-of-squares (frame, y, x) of each frame, unmeasured samples being zero.

    Parameters and errors as `average_coil_images`.
    """
    if isinstance(mask, SpokeMask):
        trajectory = mask.trajectory
        return rss(grid(kspace, trajectory.positions, mask.samples, trajectory.matrix))
    return rss_images(kspace)


def time_average(kspace: Tensor, samples: Tensor) -> Tensor:
    """Mean over the measured frames of each position; zero where never measured.

    Parameters
    ----------
    kspace : Tensor (frame, coil, y, x), complex
    samples : Tensor (frame|1, y, x|1) bool

    Returns
    -------
    Tensor (coil, y, x)
    """
    total = torch.zeros_like(kspace[0])
    counts = torch.zeros_like(samples[0], dtype=kspace.real.dtype)

    for t, frame in enumerate(kspace):
        measured = samples[t % len(samples)]
        counts += measured
        total += frame * measured
    return total / counts.clamp(min=1)
