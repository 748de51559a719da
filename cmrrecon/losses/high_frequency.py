"""High-frequency error norm: the error of images after a Laplacian of Gaussian."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from cmrrecon.tools.arrays import divisor

Norm = Literal["l1", "l2"]
# Half the side of the kernel and its standard deviation, in pixels.
HALF, SIGMA = 7, 2.5


def high_frequency_loss(image: Tensor, target: Tensor, norm: Norm = "l1") -> Tensor:
    """Compute the filtered error relative to the target itself, as in vSHARP's training.

    It is `mean |K * (image - target)| / mean |target|` with zeros beyond the border, or with
    squares instead of magnitudes. The kernel K sums to -1 and amplifies edges about twentyfold, and
    the target is not filtered, so values above 10 are normal.

    Parameters
    ----------
    image, target : Tensor of shape (batch, y, x), real
        The images to compare.
    norm : str
        "l1" for magnitudes, "l2" for squares.

    Returns
    -------
    Tensor of shape ()
        The loss.

    References
    ----------
    Ravishankar and Bresler, IEEE Trans Med Imaging 2011;30:1028 (the HFEN).
    """
    kernel = laplacian_of_gaussian().to(image)[None, None]
    error = functional.conv2d((image - target)[:, None], kernel, padding=HALF)
    if norm == "l1":
        return error.abs().mean() / divisor(target.abs().mean())
    return error.square().mean() / divisor(target.square().mean())


def laplacian_of_gaussian() -> Tensor:
    """Return the kernel, (15, 15) float64."""
    place = torch.arange(-HALF, HALF + 1, dtype=torch.float64)
    squared = place.square()[:, None] + place.square()
    kernel = torch.exp(-squared / (2 * SIGMA**2)) * (squared - 2 * SIGMA**2)
    return -kernel / kernel.sum()
