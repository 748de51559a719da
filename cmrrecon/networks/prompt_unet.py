"""The prompted U-Net of PromptMR, also used by PromptMR+, HyperCMR and GENRE-CMR.

Its levels are connected as follows::

    x -> features -> encoder 1 -> encoder 2 -> encoder 3 -> bottleneck
                         |            |            |           |
                       skip 1       skip 2       skip 3    + prompt 3
                         v            v            v           v
    out <- last conv <- decoder 1 <- decoder 2 <- decoder 3 <- +

Decoders 2 and 1 receive prompts as well. The modules have the same names as in the official
checkpoints, so that these load unchanged.

References: Xin et al., STACOM 2023, arXiv 2309.13839.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmrrecon.networks.layers import ConvolutionalBody, standardise
from cmrrecon.networks.prompt_blocks import (
    ChannelAttentionBlock,
    DownBlock,
    PromptBlock,
    SkipBlock,
    UpBlock,
)

# Image sizes must be divisible by this number, because the resolution is halved three times.
MULTIPLE = 8
# For each level: the features of earlier cascades, newest first; None before the first cascade.
History = tuple[Tensor | None, Tensor | None, Tensor | None]
NO_HISTORY: History = (None, None, None)


@dataclass(frozen=True)
class UnetConfig:
    """Sizes of a `PromptUnet`; lists of three are for levels 1 to 3.

    The defaults are the sizes in PromptMR's cascades.

    Attributes
    ----------
    features : int
        The number of channels at full resolution.
    dims : sequence of int
        The numbers of channels after each halving.
    prompt_dims, prompt_lengths, prompt_sizes : sequence of int
        The number of channels of the prompts, how many prompts are mixed, and their side in pixels.
    encoder_blocks, decoder_blocks, skip_blocks : sequence of int
        The numbers of attention blocks at each level.
    bottleneck_blocks : int
        The number of attention blocks in the bottleneck.
    attention : bool
        Whether blocks weight their channels. In the released knee network they do not.
    """

    features: int = 48
    dims: Sequence[int] = (72, 96, 120)
    prompt_dims: Sequence[int] = (24, 48, 72)
    prompt_lengths: Sequence[int] = (5, 5, 5)
    prompt_sizes: Sequence[int] = (64, 32, 16)
    encoder_blocks: Sequence[int] = (2, 3, 3)
    decoder_blocks: Sequence[int] = (2, 2, 3)
    skip_blocks: Sequence[int] = (1, 1, 1)
    bottleneck_blocks: int = 3
    attention: bool = True

    def __post_init__(self) -> None:
        lists = (
            self.dims,
            self.prompt_dims,
            self.prompt_lengths,
            self.prompt_sizes,
            self.encoder_blocks,
            self.decoder_blocks,
            self.skip_blocks,
        )
        if any(len(values) != 3 for values in lists):
            raise ValueError("lists of three numbers, one for each level")

    @property
    def all_dims(self) -> tuple[int, ...]:
        """The numbers of channels at full resolution and after each halving."""
        return (self.features, *self.dims)


# The sizes of PromptMR's cascades and of its sensitivity network.
CASCADE_UNET = UnetConfig()
SENSITIVITY_UNET = UnetConfig(features=24, dims=(36, 48, 60), prompt_dims=(12, 24, 36))


class PromptUnet(ConvolutionalBody):
    """The U-Net on (batch, channel, h, w), with h and w multiples of 8; it has no global skip."""

    enc_level1: DownBlock
    enc_level2: DownBlock
    enc_level3: DownBlock
    skip_attn1: SkipBlock
    skip_attn2: SkipBlock
    skip_attn3: SkipBlock
    prompt_level1: PromptBlock
    prompt_level2: PromptBlock
    prompt_level3: PromptBlock
    dec_level1: UpBlock
    dec_level2: UpBlock
    dec_level3: UpBlock

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        config: UnetConfig,
        shared: nn.PReLU,
        *,
        history: int = 0,
        trainable_prompts: bool = False,
    ) -> None:
        super().__init__()
        dims = config.all_dims
        self.feat_extract = nn.Conv2d(channels_in, dims[0], 3, padding=1, bias=False)
        for level in (1, 2, 3):
            self.add_module(f"enc_level{level}", _encoder(config, level, shared))

        for level in (1, 2, 3):
            self.add_module(f"skip_attn{level}", _skip(config, level, shared))
        self.bottleneck = nn.Sequential(
            *(
                ChannelAttentionBlock(dims[3], shared, config.attention)
                for _ in range(config.bottleneck_blocks)
            )
        )

        for level in (3, 2, 1):
            self.add_module(f"prompt_level{level}", _prompt(config, level, trainable_prompts))
            self.add_module(f"dec_level{level}", _decoder(config, level, shared, history))
        self.conv_last = nn.Conv2d(dims[0], channels_out, 5, padding=2, bias=False)

    def forward(
        self,
        x: Tensor,
        history: History = NO_HISTORY,
        carried: Tensor | None = None,
        used: Sequence[int] | None = None,
    ) -> tuple[Tensor, History, Tensor]:
        """Return the output, the history for the next cascade, and the last features.

        The last features (batch, features, h, w) enter the last convolution. `carried` is added to
        them. With `used`, only these output channels are computed.
        """
        skip1, x = self.enc_level1(self.feat_extract(x))
        skip2, x = self.enc_level2(x)
        skip3, x = self.enc_level3(x)
        x = self.bottleneck(x)

        # Prompts are weighted by the incoming features, before the history is added.
        x, past3 = self.dec_level3(x, self.prompt_level3(x), self.skip_attn3(skip3), history[2])
        x, past2 = self.dec_level2(x, self.prompt_level2(x), self.skip_attn2(skip2), history[1])
        x, past1 = self.dec_level1(x, self.prompt_level1(x), self.skip_attn1(skip1), history[0])
        x = x if carried is None else x + carried

        last = self.conv_last
        out = last(x) if used is None else functional.conv2d(x, last.weight[[*used]], padding=2)
        return out, (past1, past2, past3), x


def crop(padded: Tensor, h: int, w: int) -> Tensor:
    """Crop images that `NormPromptUnet` padded back to (..., h, w)."""
    top, left = (-h % MULTIPLE) // 2, (-w % MULTIPLE) // 2
    return padded[..., top : top + h, left : left + w]


class NormPromptUnet(nn.Module):
    """A `PromptUnet` on complex images (batch, image, h, w) of any size and scale.

    Real and imaginary parts become channels, all real parts first. They are standardised together
    by the mean and standard deviation of a sample, and padded with zeros to multiples of 8. The
    output is scaled back.
    """

    def __init__(
        self,
        images_in: int,
        images_out: int,
        config: UnetConfig,
        shared: nn.PReLU,
        *,
        history: int = 0,
        trainable_prompts: bool = False,
    ) -> None:
        super().__init__()
        self.images_out = images_out
        self.unet = PromptUnet(
            2 * images_in,
            2 * images_out,
            config,
            shared,
            history=history,
            trainable_prompts=trainable_prompts,
        )

    def forward(
        self,
        x: Tensor,
        history: History = NO_HISTORY,
        carried: Tensor | None = None,
        used: Sequence[int] | None = None,
    ) -> tuple[Tensor, History, Tensor]:
        """Apply `PromptUnet` to images (batch, image, h, w); features and history stay padded.

        With `used`, only these images are returned.
        """
        channels = torch.cat([x.real, x.imag], 1)
        standard, mean, std = standardise(channels, (1, 2, 3))
        h, w = x.shape[-2:]
        top, left = (-h % MULTIPLE) // 2, (-w % MULTIPLE) // 2
        padded = functional.pad(standard, (left, -w % MULTIPLE - left, top, -h % MULTIPLE - top))
        channels_used = None if used is None else [*used, *(self.images_out + i for i in used)]
        out, history, features = self.unet(padded, history, carried, channels_used)
        real, imaginary = (crop(out, h, w) * std + mean).chunk(2, 1)
        return torch.complex(real.contiguous(), imaginary.contiguous()), history, features


def _encoder(config: UnetConfig, level: int, shared: nn.PReLU) -> DownBlock:
    dim, out = config.all_dims[level - 1 : level + 1]
    blocks = config.encoder_blocks[level - 1]
    return DownBlock(dim, out, blocks, shared, config.attention, own_prelu=level == 1)


def _skip(config: UnetConfig, level: int, shared: nn.PReLU) -> SkipBlock:
    dim, blocks = config.all_dims[level - 1], config.skip_blocks[level - 1]
    return SkipBlock(dim, blocks, shared, config.attention)


def _prompt(config: UnetConfig, level: int, trainable: bool) -> PromptBlock:
    sizes = (config.prompt_dims, config.prompt_lengths, config.prompt_sizes)
    prompt_dim, length, size = (values[level - 1] for values in sizes)
    return PromptBlock(config.all_dims[level], prompt_dim, length, size, trainable)


def _decoder(config: UnetConfig, level: int, shared: nn.PReLU, history: int) -> UpBlock:
    out, dim = config.all_dims[level - 1 : level + 1]
    prompt_dim, blocks = config.prompt_dims[level - 1], config.decoder_blocks[level - 1]
    return UpBlock(dim, out, prompt_dim, blocks, shared, config.attention, history)
