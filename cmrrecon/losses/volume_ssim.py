"""Structural similarity over time and space."""

import torch
from torch import Tensor
from torch.nn import functional

# The side of the windows; in time at most the number of frames.
SIDE = 7
K1, K2 = 0.01, 0.03


def volume_ssim_loss(volume: Tensor, target: Tensor) -> Tensor:
    """Compute 1 - SSIM, averaged over all windows inside a volume.

    The windows are uniform, `min(7, frame) x 7 x 7`, and the covariances are sample covariances.
    The data range is the maximum of the target.

    Parameters
    ----------
    volume, target : Tensor of shape (frame, y, x), real
        The images of a series to compare.

    Returns
    -------
    Tensor of shape ()
        The loss.

    References
    ----------
    Yiasemis et al., arXiv 2310.06628, section 2.3.
    """
    window = (min(SIDE, len(target)), SIDE, SIDE)
    count = window[0] * window[1] * window[2]
    sample = count / (count - 1)

    def mean(x: Tensor) -> Tensor:
        return functional.avg_pool3d(x[None, None], window, 1)[0, 0]

    mean_a, mean_b = mean(volume), mean(target)
    variances = sample * (mean(volume**2) - mean_a**2 + mean(target**2) - mean_b**2)
    covariance = sample * (mean(volume * target) - mean_a * mean_b)

    size = target.amax()
    level = torch.where(size > 0, size, 1)
    c1, c2 = (K1 * level) ** 2, (K2 * level) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return 1 - (luminance * (2 * covariance + c2) / (variances + c2)).mean()
