"""PatchGAN: the discriminator that judges patches of 70 x 70 pixels (Isola et al., CVPR 2017, arXiv 1611.07004).

    [candidate, zero-filled] -> C64 -> C128 -> C256 (stride 2) -> C512 -> 1 (stride 1)     4 x 4 convolutions, LeakyReLU 0.2

For SR-GAN and GENRE-CMR, whose papers do not describe theirs. Instance norm instead of batch norm, as batches are of one; none in
the first layer.
"""

from typing import Any

import torch
from torch import Tensor, nn

SLOPE = 0.2
STRIDES = (2, 2, 2, 1)


class PatchGAN(nn.Module):
    """Logits, one a patch, of a candidate beside the zero-filled image that it was made from. It reconstructs none.

    Images should have 24 pixels or more along y and x.

    Parameters
    ----------
    channels : of the first layer; each further one has twice as many
    """

    def __init__(self, *, channels: int = 64) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"channels": channels}
        layers: list[nn.Module] = []
        widths = [2, *(channels * 2**level for level in range(len(STRIDES)))]

        for level, stride in enumerate(STRIDES):
            layers.append(nn.Conv2d(widths[level], widths[level + 1], 4, stride, padding=1))
            if level:
                layers.append(nn.InstanceNorm2d(widths[level + 1]))
            layers.append(nn.LeakyReLU(SLOPE))

        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, padding=1))

    def forward(self, candidate: Tensor, zero_filled: Tensor) -> Tensor:
        """Logits (batch, 1, h, w) of magnitudes (batch, y, x) of any scale: both are divided by the maximum of the zero-filled one."""
        size = zero_filled.amax((1, 2), keepdim=True)
        pair = torch.stack([candidate, zero_filled], 1) / torch.where(size > 0, size, 1)[:, None]
        logits: Tensor = self.layers(pair)
        return logits
