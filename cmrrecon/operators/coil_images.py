"""Coil images directly from k-space, for every kind of mask."""

import torch
from torch import Tensor

from cmrrecon.data import SamplingMask, SpokeMask
from cmrrecon.operators.coils import rss, rss_images
from cmrrecon.operators.fourier import ifft2c
from cmrrecon.operators.noncartesian import average_images, grid


def average_coil_images(kspace: Tensor, mask: SamplingMask) -> Tensor:
    """Compute coil images (coil, y, x) of all frames together.

    Cartesian positions are averaged over the frames that measured them. Samples along a trajectory
    are density-compensated and gridded as if they belonged to one frame.

    Parameters
    ----------
    kspace : Tensor of shape (frame, coil, y, x), complex
        K-space; (frame, coil, spoke, sample) along a trajectory.
    mask : SamplingMask
        The measured samples.

    Returns
    -------
    Tensor of shape (coil, y, x), complex
        Images on the scale of the k-space.

    Raises
    ------
    UsageError
        If the k-space lies along a trajectory and finufft is not installed (`package-missing`).
    """
    if isinstance(mask, SpokeMask):
        trajectory = mask.trajectory
        return average_images(kspace, trajectory.positions, mask.samples, trajectory.matrix)
    return ifft2c(time_average(kspace, mask.samples))


def magnitudes(kspace: Tensor, mask: SamplingMask) -> Tensor:
    """Compute root-sum-of-squares images (frame, y, x), with unmeasured samples left at zero.

    Parameters and errors are those of `average_coil_images`.
    """
    if isinstance(mask, SpokeMask):
        trajectory = mask.trajectory
        return rss(grid(kspace, trajectory.positions, mask.samples, trajectory.matrix))
    return rss_images(kspace)


def time_average(kspace: Tensor, samples: Tensor) -> Tensor:
    """Average each k-space position over the frames that measured it; zero if none did.

    Parameters
    ----------
    kspace : Tensor of shape (frame, coil, y, x), complex
        K-space.
    samples : Tensor of shape (frame or 1, y, x or 1), bool
        The measured samples.

    Returns
    -------
    Tensor of shape (coil, y, x), complex
        The average.
    """
    total = torch.zeros_like(kspace[0])
    counts = torch.zeros_like(samples[0], dtype=kspace.real.dtype)

    for t, frame in enumerate(kspace):
        measured = samples[t % len(samples)]
        counts += measured
        total += frame * measured
    return total / counts.clamp(min=1)
