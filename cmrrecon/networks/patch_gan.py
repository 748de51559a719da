"""PatchGAN: a discriminator that judges patches of 70 x 70 pixels.

Its layers are::

    [candidate, zero-filled] -> C64 -> C128 -> C256 (stride 2) -> C512 -> 1 (stride 1)

All convolutions are 4 x 4, with LeakyReLU of slope 0.2. Because batches have one image, instance
norm replaces batch norm; the first layer has none. The discriminator is used for SR-GAN and
GENRE-CMR, whose papers do not describe their own.

References: Isola et al., CVPR 2017, arXiv 1611.07004.
"""

from typing import Any

import torch
from torch import Tensor, nn

from cmrrecon.tools.arrays import divisor

SLOPE = 0.2
STRIDES = (2, 2, 2, 1)


class PatchGAN(nn.Module):
    """Computes a logit for each patch of a candidate, shown together with the zero-filled image.

    Images should have at least 24 pixels along y and x.

    Parameters
    ----------
    channels : int
        The number of channels of the first layer, which doubles with each further layer.
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
        """Compute the logits of patches.

        Both inputs are divided by the maximum of the zero-filled image.

        Parameters
        ----------
        candidate : Tensor of shape (batch, y, x), real
            Magnitudes of any scale, reconstructed or real.
        zero_filled : Tensor of shape (batch, y, x), real
            Magnitudes of the same scale.

        Returns
        -------
        Tensor of shape (batch, 1, h, w)
            The logits.
        """
        size = zero_filled.amax((1, 2), keepdim=True)
        pair = torch.stack([candidate, zero_filled], 1) / divisor(size)[:, None]
        logits: Tensor = self.layers(pair)
        return logits
