"""EAR, GENRE-CMR's edge-aware region loss: structural similarity where the target has edges."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from cmrrecon.losses.ssim import largest
from cmrrecon.metrics import ssim_map

# Side in pixels of the averaging window that widens the edges.
WIDENING = 5
Reduce = Literal["region", "image"]


def edge_strength(target: Tensor) -> Tensor:
    """Compute `M_s`, the magnitude of the Sobel gradient averaged over 5 x 5 pixels.

    Edge pixels are repeated beyond the border.

    Parameters
    ----------
    target : Tensor of shape (batch, y, x), real
        The reference images.

    Returns
    -------
    Tensor of shape (batch, y, x)
        The edge strength.
    """
    images = functional.pad(target[:, None], (1, 1, 1, 1), mode="replicate")
    smooth, slope = target.new_tensor([1.0, 2.0, 1.0]), target.new_tensor([-1.0, 0.0, 1.0])
    kernels = torch.stack([torch.outer(smooth, slope), torch.outer(slope, smooth)])[:, None]
    magnitude = functional.conv2d(images, kernels).square().sum(1, keepdim=True).sqrt()

    padded = functional.pad(magnitude, (WIDENING // 2,) * 4, mode="replicate")
    return functional.avg_pool2d(padded, WIDENING, 1)[:, 0]


def edge_region(target: Tensor, threshold: float = 0.1, inclusive: bool = True) -> Tensor:
    """Return the region where the loss is evaluated.

    Parameters
    ----------
    target : Tensor of shape (batch, y, x), real
        The reference images.
    threshold : float
        The threshold as a fraction of the largest edge strength of each image. The paper uses zero,
        which makes the region the whole image because no strength is below zero.
    inclusive : bool
        Whether strengths equal to the threshold are included, as in the paper.

    Returns
    -------
    Tensor of shape (batch, y, x), bool
        True inside the region.
    """
    strength = edge_strength(target)
    limit = threshold * strength.amax((1, 2), keepdim=True)
    return strength >= limit if inclusive else strength > limit


def edge_aware_loss(
    image: Tensor,
    target: Tensor,
    *,
    threshold: float = 0.1,
    inclusive: bool = True,
    reduce: Reduce = "region",
    data_range: Tensor | None = None,
) -> Tensor:
    """Compute 1 - SSIM of image and target, both set to zero outside the target's edge region.

    Parameters
    ----------
    image, target : Tensor of shape (batch, y, x), real
        The images to compare.
    threshold : float
        See `edge_region`.
    inclusive : bool
        See `edge_region`.
    reduce : str
        "region" averages over the windows whose middle is in the region, because windows of zeros
        always agree. "image" averages over all windows, as in the paper's equation.
    data_range : Tensor of shape (batch,) or None
        The data range of the SSIM. None uses the maximum of each target.

    Returns
    -------
    Tensor of shape ()
        The loss.

    References
    ----------
    Anvari Hamedani et al., GENRE-CMR, 2025, EAR loss.
    """
    region = edge_region(target.detach(), threshold, inclusive)
    limit = largest(target) if data_range is None else data_range
    similarity = ssim_map(target * region, image * region, limit)
    if reduce == "image":
        return 1 - similarity.mean()

    margin = (region.shape[-1] - similarity.shape[-1]) // 2
    middles = region[:, margin : region.shape[1] - margin, margin : region.shape[2] - margin].to(
        similarity.dtype
    )
    return 1 - (similarity * middles).sum() / middles.sum().clamp(min=1)
