"""Structural similarity with Gaussian windows, as in the training of SDUM."""

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from cmrrecon.losses.ssim import largest
from cmrrecon.metrics import similarity
from cmrrecon.operators.fourier import centred
from cmrrecon.tools.arrays import divisor
from cmrrecon.tools.errors import UsageError

# Side of the windows in pixels, and the standard deviation of their weights.
WINDOW, SIGMA = 11, 1.5
# The quantile that counts as the brightness of an image.
BRIGHT = 0.995


def gaussian_ssim_loss(image: Tensor, target: Tensor) -> Tensor:
    """Compute 1 - SSIM, averaged over all 11 x 11 Gaussian windows inside the images.

    The moments are those of the population, weighted by the window, and the data range is the
    maximum of each target. The loss does not depend on a common scale.

    Parameters
    ----------
    image, target : Tensor of shape (batch, y, x), real
        The images to compare.

    Returns
    -------
    Tensor of shape ()
        The loss.

    Raises
    ------
    UsageError
        If an image is smaller than the window (`images-too-small`).

    References
    ----------
    Wang et al., IEEE Trans Image Process 2004;13:600.
    """
    if min(image.shape[-2:]) < WINDOW:
        raise UsageError(
            "images-too-small",
            f"The images have shape {tuple(image.shape)} (..., y, x)",
            f"The SSIM of this loss needs at least {WINDOW} pixels in y and in x",
            "Train with larger images, or with losses.ssim",
        )

    mean_i, mean_t = _smooth(image), _smooth(target)
    variances = _smooth(image**2) - mean_i**2 + _smooth(target**2) - mean_t**2
    covariance = _smooth(image * target) - mean_i * mean_t

    level = largest(target)[:, None, None]
    return 1 - similarity(mean_i, mean_t, variances, covariance, level).mean()


def similarity_loss(
    image: Tensor, target: Tensor, *, absolute: float = 0.0, normalised: bool = False
) -> Tensor:
    """Compute 1 - SSIM (`gaussian_ssim_loss`) plus a multiple of the mean absolute difference.

    Ten times this loss is the one of SDUM: with `absolute` 0.1 and `normalised` for Small, with
    neither for Base and Large.

    Parameters
    ----------
    image, target : Tensor of shape (batch, y, x), real
        The images to compare.
    absolute : float
        The weight of the mean absolute difference, which has the unit of the images.
    normalised : bool
        Whether each image is first made `equally_bright`.
    """
    if normalised:
        image, target = equally_bright(image), equally_bright(target)
    return gaussian_ssim_loss(image, target) + absolute * (image - target).abs().mean()


def equally_bright(images: Tensor) -> Tensor:
    """Divide each image (batch, y, x) by its 99.5 % quantile over half of y and a third of x.

    Images that are zero there do not change.
    """
    y, x = images.shape[-2:]
    middle = images[:, centred(y, y // 2), centred(x, x // 3)].flatten(1)
    bright = torch.quantile(middle, BRIGHT, dim=1)[:, None, None]
    return images / divisor(bright)


def _smooth(images: Tensor) -> Tensor:
    """Average (batch, y, x) over every window, first along y, then along x."""
    position = torch.arange(WINDOW, dtype=images.dtype, device=images.device) - WINDOW // 2
    taps = torch.exp(-(position**2) / (2 * SIGMA**2))
    taps = taps / taps.sum()
    along_y = conv2d(images[:, None], taps.view(1, 1, -1, 1))
    return conv2d(along_y, taps.view(1, 1, 1, -1))[:, 0]
