"""The signal where no coil sees anything: neither empty nor full of streaks.

ESPIRiT maps are zero in air, so images that fit them are zero there too. Measured images are not:
magnitudes of noise, and faint signal, leave a haze. If maps were not cropped, regularised images
would contain it, but also the aliasing of the body. The haze hardly changes over time and space.
What the calibration lines contain beyond the images therefore shows it, without aliasing.
"""

import torch
from torch import Tensor

from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.data import CartesianMask
from cmrrecon.operators.coil_images import time_average
from cmrrecon.operators.coils import rss
from cmrrecon.operators.espirit import leading_coil
from cmrrecon.operators.fourier import fft2c, ifft2c
from cmrrecon.operators.sensitivity import Calibration

# Fewer calibration lines have too little resolution to separate air from the body.
FEWEST_LINES = 8


def with_air(prepared: PreparedSeries, seen: Tensor, outside: Tensor, images: Tensor) -> Tensor:
    """Fill the pixels outside the maps from what the calibration lines contain beyond the images.

    The residual of the calibration lines, averaged over time, is transformed with a Hann window, so
    that it is smooth. Coils are combined by root-sum-of-squares, with the phase of ESPIRiT maps.

    Parameters
    ----------
    prepared : PreparedSeries
        The series, with the measured coils.
    seen : Tensor of shape (coil, y, x), complex64
        What these coils see of the time average of the images.
    outside : Tensor of shape (y, x), bool
        The pixels where all maps are zero.
    images : Tensor of shape (frame, y, x), complex64
        Images on the scale of the k-space.

    Returns
    -------
    Tensor of shape (frame, y, x), complex64
        The images with the haze. They are returned unchanged for samples along a trajectory, for a
        complete series, or if there are fewer than `FEWEST_LINES` calibration lines.
    """
    mask = prepared.mask
    if not isinstance(mask, CartesianMask) or mask.complete or not bool(outside.any()):
        return images

    block = Calibration.of(mask, most=len(outside))
    if block.lines < FEWEST_LINES:
        return images

    average = time_average(prepared.kspace, mask.samples)
    window = torch.zeros_like(outside, dtype=images.real.dtype)
    part = window[block.y, block.x]
    part += _hann(part.shape[0], part)[:, None] * _hann(part.shape[1], part)

    haze = ifft2c((average - fft2c(seen)) * window)
    reference = (leading_coil(average[:, block.y, block.x]).conj()[:, None, None] * haze).sum(0)
    # A frame without signal stays empty.
    filled = (images != 0).any(-1, keepdim=True).any(-2, keepdim=True)
    return torch.where(outside & filled, rss(haze) * torch.sgn(reference), images)


def _hann(n: int, like: Tensor) -> Tensor:
    """Return a Hann window of n positive values."""
    return torch.hann_window(n + 2, periodic=False, dtype=like.dtype, device=like.device)[1:-1]
