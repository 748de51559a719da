"""Losses of image similarity: structural similarity, absolute difference and peak signal-to-noise ratio."""

import torch
from torch import Tensor

from cmrrecon.metrics import ssim_map


def ssim_loss(image: Tensor, target: Tensor, data_range: Tensor | None = None) -> Tensor:
    """1 - SSIM, a scalar: mean over all 7 x 7 windows inside the images, uniform window, sample covariance.

    Parameters
    ----------
    image, target : Tensor (batch, y, x), real
    data_range : Tensor (batch,), L of the SSIM; the maximum of each target by default. PromptMR takes that of the target's whole volume

    Wang et al., IEEE Trans Image Process 2004;13:600; as in the training of PromptMR.
    """
    limit = largest(target) if data_range is None else data_range
    return 1 - ssim_map(target, image, limit).mean()


def largest(target: Tensor) -> Tensor:
    """(batch,): the maximum of each image, one for empty images."""
    size = target.amax((1, 2))
    return torch.where(size > 0, size, 1)


def l1_loss(image: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference over the mean of the target, so that no file's scale counts; images (batch, y, x), real."""
    size = target.abs().mean()
    return (image - target).abs().mean() / torch.where(size > 0, size, 1)


def psnr_loss(image: Tensor, target: Tensor) -> Tensor:
    """Minus the PSNR of all images (batch, y, x) together, real, but for what depends on the target alone, over ten: log10 of the NMSE.

    The same gain in decibels counts the same in easy and in hard scans, which in a mean of errors the hard ones drown.
    """
    tiny = torch.finfo(target.dtype).tiny
    return (
        ((image - target).square().sum() + tiny) / target.square().sum().clamp(min=tiny)
    ).log10()
