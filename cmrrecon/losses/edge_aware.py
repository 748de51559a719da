"""EAR, GENRE-CMR's edge-aware region loss: structural similarity where the target has edges."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from cmrrecon.losses.ssim import largest
from cmrrecon.metrics import ssim_map

# Side of the averaging that widens the edges.
SPREAD = 5
Reduce = Literal["region", "image"]


def edge_strength(target: Tensor) -> Tensor:
    """M_s: the magnitude of the Sobel gradient of (batch, y, x), averaged over 5 x 5 pixels. Beyond the border the edge pixels repeat."""
    images = functional.pad(target[:, None], (1, 1, 1, 1), mode="replicate")
    smooth, slope = target.new_tensor([1.0, 2.0, 1.0]), target.new_tensor([-1.0, 0.0, 1.0])
    kernels = torch.stack([torch.outer(smooth, slope), torch.outer(slope, smooth)])[:, None]
    magnitude = functional.conv2d(images, kernels).square().sum(1, keepdim=True).sqrt()
    padded = functional.pad(magnitude, (SPREAD // 2,) * 4, mode="replicate")
    return functional.avg_pool2d(padded, SPREAD, 1)[:, 0]


def edge_region(target: Tensor, threshold: float = 0.1, inclusive: bool = True) -> Tensor:
    """Where EAR looks: (batch, y, x), bool.

    Parameters
    ----------
    target : Tensor (batch, y, x), real
    threshold : part of the largest edge strength of each image. The paper says zero, but nothing is below that: then the
        region is the whole image
    inclusive : whether strengths equal to the threshold count, as the paper writes
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
    """1 - SSIM of image and target, both zero outside the target's edge region.

    Parameters
    ----------
    image, target : Tensor (batch, y, x), real
    threshold, inclusive : see `edge_region`
    reduce : mean over the windows whose middle lies in the "region" (by default, as windows of zeros are all alike), or over the
        whole "image" (the paper's equation)
    data_range : Tensor (batch,); the maximum of each target by default

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
