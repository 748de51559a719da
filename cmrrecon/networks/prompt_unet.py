"""The U-Net with prompts of PromptMR (Xin et al., STACOM 2023, arXiv 2309.13839), on which PromptMR+, HyperCMR and GENRE-CMR build.

    x -> features -> encoder 1 -> encoder 2 -> encoder 3 -> bottleneck
                         |            |            |           |
                       skip 1       skip 2       skip 3    + prompt 3
                         v            v            v           v
    out <- last conv <- decoder 1 <- decoder 2 <- decoder 3 <- +         (decoders 2 and 1 are given prompts too)

Module names are those of the official checkpoints, so that these load unchanged.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmrrecon.networks.layers import ConvolutionalBody, standardise

# Sizes that the three halvings divide.
MULTIPLE = 8
# Of each level: the features of all earlier cascades, newest first; None before the first cascade.
History = tuple[Tensor | None, Tensor | None, Tensor | None]
NO_HISTORY: History = (None, None, None)


@dataclass(frozen=True)
class UnetConfig:
    """Sizes of a `PromptUnet`, of levels 1 to 3 where there are three; the defaults are those of PromptMR's cascades.

    Attributes
    ----------
    features : channels of the full resolution
    dims : channels after each halving
    prompt_dims, prompt_lengths, prompt_sizes : channels of the prompts, how many are mixed, and their side in pixels
    encoder_blocks, decoder_blocks, skip_blocks, bottleneck_blocks : how many attention blocks there are
    attention : whether blocks weigh their channels (the released knee network does not)
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
            raise ValueError("three numbers, one a level, in every list")

    @property
    def all_dims(self) -> tuple[int, ...]:
        """Channels of the full resolution, then after each halving."""
        return (self.features, *self.dims)


# Of PromptMR's cascades and of its sensitivity network.
CASCADE_UNET = UnetConfig()
SENSITIVITY_UNET = UnetConfig(features=24, dims=(36, 48, 60), prompt_dims=(12, 24, 36))


class ChannelAttention(nn.Module):
    """x * sigmoid(W2 relu(W1 mean(x))), the mean over all pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = channels // 4
        self.conv_du = nn.Sequential(
            nn.Conv2d(channels, squeezed, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(squeezed, channels, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        weighed: Tensor = x * self.conv_du(x.mean((-2, -1), keepdim=True))
        return weighed


class ChannelAttentionBlock(nn.Module):
    """x + attention(conv(prelu(conv(x)))) on (batch, channel, h, w). The PReLU may be shared with other blocks."""

    def __init__(self, channels: int, prelu: nn.PReLU, attention: bool = True) -> None:
        super().__init__()
        self.CA = ChannelAttention(channels) if attention else nn.Identity()
        first, second = (nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))
        self.body = nn.Sequential(first, prelu, second)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.CA(self.body(x)) + x
        return result


class PromptBlock(nn.Module):
    """A mixture of stored images, the prompts, weighed by the mean features: (batch, dim, h, w) to (batch, prompt dim, h, w)."""

    def __init__(self, dim: int, prompt_dim: int, length: int, size: int, trainable: bool) -> None:
        super().__init__()
        self.prompt_param = nn.Parameter(
            torch.rand(1, length, prompt_dim, size, size), requires_grad=trainable
        )
        self.linear_layer = nn.Linear(dim, length)
        self.dec_conv3x3 = nn.Conv2d(prompt_dim, prompt_dim, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.linear_layer(x.mean((-2, -1))).softmax(-1)
        mixed = torch.einsum("bl,lpyx->bpyx", weights, self.prompt_param[0])
        resized = functional.interpolate(mixed, x.shape[-2:], mode="bilinear")
        prompt: Tensor = self.dec_conv3x3(resized)
        return prompt


class DownBlock(nn.Module):
    """An encoder level: the features at this resolution, and at half of it."""

    def __init__(
        self, dim: int, out: int, blocks: int, shared: nn.PReLU, attention: bool, own_prelu: bool
    ) -> None:
        super().__init__()
        # In the official code all blocks share one PReLU by an oversight, except the first ones.
        prelus = [nn.PReLU() if own_prelu and block == 0 else shared for block in range(blocks)]
        self.encoder = nn.Sequential(
            *(ChannelAttentionBlock(dim, prelu, attention) for prelu in prelus)
        )
        self.down = nn.Conv2d(dim, out, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encoder(x)
        return features, self.down(features)


class SkipBlock(nn.Module):
    """What the encoder's features go through on their way to the decoder."""

    def __init__(self, dim: int, blocks: int, shared: nn.PReLU, attention: bool) -> None:
        super().__init__()
        self.skip_attn = nn.Sequential(
            *(ChannelAttentionBlock(dim, shared, attention) for _ in range(blocks))
        )

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.skip_attn(x)
        return features


class UpBlock(nn.Module):
    """A decoder level: joined with its prompt, to twice the resolution, joined with the encoder's features.

    With a history of n cascades their features go in as well (PromptMR+): see `remember`.
    """

    def __init__(
        self,
        dim: int,
        out: int,
        prompt_dim: int,
        blocks: int,
        shared: nn.PReLU,
        attention: bool,
        history: int,
    ) -> None:
        super().__init__()
        self.history = history
        if history:
            joined = nn.Conv2d(dim * (history + 1), dim, 1, bias=False)
            self.momentum = nn.Sequential(joined, ChannelAttentionBlock(dim, shared, attention))
        wide = dim + prompt_dim
        self.fuse = nn.Sequential(
            *(ChannelAttentionBlock(wide, shared, attention) for _ in range(blocks))
        )
        self.reduce = nn.Conv2d(wide, dim, 1, bias=False)
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(dim, out, 1, bias=False)
        )
        self.ca = ChannelAttentionBlock(out, shared, attention)

    def forward(
        self, x: Tensor, prompt: Tensor, skip: Tensor, past: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        remembered = remember(x, past, self.history) if self.history else None
        if self.history:
            x = self.momentum(
                torch.cat([x, x.repeat(1, self.history, 1, 1) if past is None else past], 1)
            )

        x = self.reduce(self.fuse(torch.cat([x, prompt], 1)))
        # A 1 x 1 convolution and bilinear upsampling commute; in this order the convolution has a quarter of the pixels.
        enlarge, convolve = self.up
        features: Tensor = self.ca(enlarge(convolve(x)) + skip)

        return features, remembered


def remember(x: Tensor, past: Tensor | None, history: int) -> Tensor:
    """The features of the last `history` cascades with those of this one in front. A new tensor: recomputation in the backward pass
    with activation checkpointing must see the old one."""
    if past is None:
        return x.repeat(1, history, 1, 1)
    return torch.cat([x, past[:, : -x.shape[1]]], 1)


class PromptUnet(ConvolutionalBody):
    """(batch, channels in, h, w), h and w multiples of 8, to (batch, channels out, h, w). No global skip: it gives the update itself."""

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
        self, x: Tensor, history: History = NO_HISTORY, carried: Tensor | None = None
    ) -> tuple[Tensor, History, Tensor]:
        """The output, the history for the next cascade, and the features (batch, features, h, w) that the last convolution sees.

        `carried` is added to these features.
        """
        skip1, x = self.enc_level1(self.feat_extract(x))
        skip2, x = self.enc_level2(x)
        skip3, x = self.enc_level3(x)
        x = self.bottleneck(x)

        # Prompts are weighed by what comes in, before the history joins it.
        x, past3 = self.dec_level3(x, self.prompt_level3(x), self.skip_attn3(skip3), history[2])
        x, past2 = self.dec_level2(x, self.prompt_level2(x), self.skip_attn2(skip2), history[1])
        x, past1 = self.dec_level1(x, self.prompt_level1(x), self.skip_attn1(skip1), history[0])
        x = x if carried is None else x + carried

        return self.conv_last(x), (past1, past2, past3), x


def crop(padded: Tensor, h: int, w: int) -> Tensor:
    """(.., h, w) of what `NormPromptUnet` has padded."""
    top, left = (-h % MULTIPLE) // 2, (-w % MULTIPLE) // 2
    return padded[..., top : top + h, left : left + w]


class NormPromptUnet(nn.Module):
    """A `PromptUnet` on complex images (batch, image, h, w) of any size and scale.

    Real and imaginary parts become channels (all real parts first), are standardised together by the mean and standard deviation of
    a sample, padded with zeros to multiples of 8, and the result is scaled back.
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
        self.unet = PromptUnet(
            2 * images_in,
            2 * images_out,
            config,
            shared,
            history=history,
            trainable_prompts=trainable_prompts,
        )

    def forward(
        self, x: Tensor, history: History = NO_HISTORY, carried: Tensor | None = None
    ) -> tuple[Tensor, History, Tensor]:
        """Images (batch, image, h, w); the rest as of `PromptUnet`, of standardised and padded images."""
        channels = torch.cat([x.real, x.imag], 1)
        standard, mean, std = standardise(channels, (1, 2, 3))
        h, w = x.shape[-2:]
        top, left = (-h % MULTIPLE) // 2, (-w % MULTIPLE) // 2
        padded = functional.pad(standard, (left, -w % MULTIPLE - left, top, -h % MULTIPLE - top))
        out, history, features = self.unet(padded, history, carried)
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
