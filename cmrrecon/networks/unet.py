"""U-Net: the common image-to-image baseline.

Its levels are connected as follows::

    magnitude -> block -> halve -> block -> halve -> ... -> block
                   |                 |                        |
    result <- 1 x 1 <- block <- double <- block <- double <- -+

A block has two convolutions with instance norm and LeakyReLU. The number of channels doubles with
every halving of the resolution. Sizes and blocks are the same as in the fastMRI baseline (Zbontar
et al., arXiv 1811.08839). The network starts from a CG-SENSE magnitude instead of a zero-filled
one, to make use of the coils.

References: Ronneberger et al., MICCAI 2015, arXiv 1505.04597.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmrrecon.networks.base import Output
from cmrrecon.networks.combined import MagnitudeNetwork
from cmrrecon.networks.layers import ConvolutionalBody, standardise

SLOPE = 0.2


class UnetBlock(nn.Sequential):
    """Two convolutions with instance norm and LeakyReLU on (batch, channel, h, w)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        # A bias before the norm would have no effect.
        layers = [
            (
                nn.Conv2d(channels, channels_out, 3, padding=1, bias=False),
                nn.InstanceNorm2d(channels_out),
                nn.LeakyReLU(SLOPE),
            )
            for channels in (channels_in, channels_out)
        ]
        super().__init__(*layers[0], *layers[1])


class UnetBody(ConvolutionalBody):
    """The U-Net itself, on standardised images (batch, channel, h, w) of any size.

    Parameters
    ----------
    channels_in, channels_out : int
        The channels of input and output.
    channels : int
        The channels of the first block.
    pools : int
        How often the resolution is halved.
    """

    def __init__(self, channels_in: int, channels_out: int, channels: int, pools: int) -> None:
        super().__init__()
        widths = [channels * 2**level for level in range(pools + 1)]
        *blocks, self.bottleneck = (
            UnetBlock(a, b) for a, b in zip([channels_in, *widths], widths, strict=False)
        )
        self.encoder = nn.ModuleList(blocks)

        self.doublings = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(2 * width, width, 2, stride=2, bias=False),
                nn.InstanceNorm2d(width),
                nn.LeakyReLU(SLOPE),
            )
            for width in widths[-2::-1]
        )
        self.decoder = nn.ModuleList(UnetBlock(2 * width, width) for width in widths[-2::-1])
        self.last = nn.Conv2d(channels, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        x, (rows, columns) = pad(x, 2 ** len(self.encoder))
        skips = []

        for block in self.encoder:
            skips.append(block(x))
            x = functional.avg_pool2d(skips[-1], 2)

        x = self.bottleneck(x)
        for double, block in zip(self.doublings, self.decoder, strict=True):
            x = block(torch.cat([double(x), skips.pop()], 1))

        result: Tensor = self.last(x)[..., rows, columns]
        return result


class UNet(MagnitudeNetwork):
    """The network described in the module; for calling it see `WindowNetwork`.

    Parameters
    ----------
    frames : int
        The number of adjacent frames in a window, odd. All calibrate the coils; only the middle one
        is reconstructed.
    channels : int
        The channels of the first block.
    pools : int
        How often the resolution is halved.
    """

    def __init__(self, *, frames: int = 1, channels: int = 32, pools: int = 4) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"frames": frames, "channels": channels, "pools": pools}
        self.frames = frames
        self.unet = UnetBody(1, 1, channels, pools)

    def forward_image(self, x: Tensor) -> Output:
        standard, mean, std = standardise(x, (1, 2))
        improved: Tensor = self.unet(standard[:, None])[:, 0]
        return Output(improved * std + mean)


def pad(x: Tensor, multiple: int) -> tuple[Tensor, tuple[slice, slice]]:
    """Pad (..., h, w) with zeros to multiples, and return the slices of the original image.

    The result has at least two multiples on each axis, because a norm needs more than one pixel.
    """
    sides, places = [], []
    for length in x.shape[-2:]:
        added = max(-length % multiple, 2 * multiple - length)
        sides.append((added // 2, added - added // 2))
        places.append(slice(added // 2, added // 2 + length))
    return functional.pad(x, (*sides[1], *sides[0])), (places[0], places[1])
