"""The blocks of the prompted U-Net, named as in the official checkpoints.

References: Xin et al., STACOM 2023, arXiv 2309.13839.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class ChannelAttention(nn.Module):
    """Computes `x * sigmoid(W2 relu(W1 mean(x)))` with the mean over all pixels."""

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
        # On a single pixel, a 1 x 1 convolution is a matrix product, which costs less.
        squeeze, expand = self.conv_du.parameters()
        inner = functional.linear(x.mean((-2, -1)), squeeze.flatten(1)).relu()
        weights = functional.linear(inner, expand.flatten(1)).sigmoid()
        return x * weights.view(*weights.shape, 1, 1)


class ChannelAttentionBlock(nn.Module):
    """Computes `x + attention(conv(prelu(conv(x))))` with a PReLU that blocks may share."""

    def __init__(self, channels: int, prelu: nn.PReLU, attention: bool = True) -> None:
        super().__init__()
        self.CA = ChannelAttention(channels) if attention else nn.Identity()
        first, second = (nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))
        self.body = nn.Sequential(first, prelu, second)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.CA(self.body(x)) + x
        return result


class PromptBlock(nn.Module):
    """Mixes stored images (prompts) with weights from the mean features (batch, dim, h, w)."""

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
    """An encoder level, which returns the features at this and at half the resolution."""

    def __init__(
        self, dim: int, out: int, blocks: int, shared: nn.PReLU, attention: bool, own_prelu: bool
    ) -> None:
        super().__init__()
        # In the official code all blocks except the first ones share one PReLU by mistake.
        prelus = [nn.PReLU() if own_prelu and block == 0 else shared for block in range(blocks)]
        self.encoder = nn.Sequential(
            *(ChannelAttentionBlock(dim, prelu, attention) for prelu in prelus)
        )
        self.down = nn.Conv2d(dim, out, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encoder(x)
        return features, self.down(features)


class SkipBlock(nn.Module):
    """Processes the encoder's features on their way to the decoder."""

    def __init__(self, dim: int, blocks: int, shared: nn.PReLU, attention: bool) -> None:
        super().__init__()
        self.skip_attn = nn.Sequential(
            *(ChannelAttentionBlock(dim, shared, attention) for _ in range(blocks))
        )

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.skip_attn(x)
        return features


class UpBlock(nn.Module):
    """A decoder level, which adds its prompt, doubles the resolution and adds encoder features.

    With a history (PromptMR+) it also sees the features of earlier cascades; see `remember`.
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
        # A 1 x 1 convolution commutes with bilinear upsampling, and costs less before it.
        enlarge, convolve = self.up
        features: Tensor = self.ca(enlarge(convolve(x)) + skip)

        return features, remembered


def remember(x: Tensor, past: Tensor | None, history: int) -> Tensor:
    """Put the features of this cascade in front of the features of the last `history` cascades.

    The result is a new tensor, because activation checkpointing still needs the old one.
    """
    if past is None:
        return x.repeat(1, history, 1, 1)
    return torch.cat([x, past[:, : -x.shape[1]]], 1)
