"""Image losses: structural similarity, absolute difference and peak signal-to-noise ratio."""

import torch
from torch import Tensor

from cmrrecon.metrics import ssim_map
from cmrrecon.tools.arrays import divisor


def ssim_loss(image: Tensor, target: Tensor, data_range: Tensor | None = None) -> Tensor:
    """Compute 1 - SSIM, averaged over all 7 x 7 windows inside the images.

    The window is uniform and the covariance is the sample covariance, as in PromptMR's training.

    Parameters
    ----------
    image, target : Tensor of shape (batch, y, x), real
        The images to compare.
    data_range : Tensor of shape (batch,) or None
        `L` of the SSIM. None uses the maximum of each target. PromptMR uses the maximum of the
        target's whole volume.

    Returns
    -------
    Tensor of shape ()
        The loss.

    References
    ----------
    Wang et al., IEEE Trans Image Process 2004;13:600.
    """
    limit = largest(target) if data_range is None else data_range
    return 1 - ssim_map(target, image, limit).mean()


def largest(target: Tensor) -> Tensor:
    """Return the maximum of each image (batch, y, x), or one for empty images; shape (batch,)."""
    return divisor(target.amax((1, 2)))


def l1_loss(image: Tensor, target: Tensor) -> Tensor:
    """Compute the mean absolute difference of images (batch, y, x), relative to the target's mean.

    The division makes the loss independent of the scale of a file.
    """
    return (image - target).abs().mean() / divisor(target.abs().mean())


def absolute_loss(image: Tensor, target: Tensor, scale: Tensor) -> Tensor:
    """Compute the mean absolute difference of images (batch, y, x) divided by a scale (batch,)."""
    return ((image - target) / divisor(scale)[:, None, None]).abs().mean()


def psnr_loss(image: Tensor, target: Tensor) -> Tensor:
    """Compute log10 of the NMSE of all images (batch, y, x) together.

    Up to a term that depends only on the target, this is -PSNR / 10. A gain in decibels counts the
    same for easy and hard scans, whereas hard scans would dominate a mean of errors.
    """
    tiny = torch.finfo(target.dtype).tiny
    return (
        ((image - target).square().sum() + tiny) / target.square().sum().clamp(min=tiny)
    ).log10()
