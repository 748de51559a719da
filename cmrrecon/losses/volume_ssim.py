"""Structural similarity over time and space."""

from torch import Tensor
from torch.nn import functional

from cmrrecon.metrics import similarity
from cmrrecon.tools.arrays import divisor

# The side of the windows; in time at most the number of frames.
SIDE = 7


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

    level = divisor(target.amax())
    return 1 - similarity(mean_a, mean_b, variances, covariance, level).mean()
