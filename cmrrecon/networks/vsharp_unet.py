"""The plain U-Nets of vSHARP, in 2-D and with time as the third axis, and its initialiser.

The levels of a U-Net are connected as follows::

    x -> block -> halve -> block -> halve -> ... -> block
           |                 |                        |
    out <- 1 x 1 <- block <- double <- block <- double <- -+

A block has two convolutions with instance norm and LeakyReLU. In contrast to `unet.UnetBody`, the
input is neither standardised nor padded to a multiple: halving drops an odd last line, and after
doubling the last lines are reflected. In 3-D, axes that are too short are padded with zeros, which
count in the statistics of the norm.

Without gradients, `vsharp_frames` takes the place of the layers in 2-D, and `vsharp_inplace` in
3-D. The result is the same up to rounding, with much less memory.

References: Yiasemis et al., Magn. Reson. Imaging 2025;115:110266.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmrrecon.networks import vsharp_frames as of_frames
from cmrrecon.networks import vsharp_inplace as inplace
from cmrrecon.networks.layers import ConvolutionalBody, standardise
from cmrrecon.tools.errors import UsageError

Activation = Literal["prelu", "relu", "leaky-relu"]
# The initialiser computes this many values of its widest feature at once.
INITIAL_SLAB = 2**19
# NORMUNET standardises its input in groups of three channels, and pads axes to this multiple.
GROUPS, MULTIPLE = 2, 16
CONVOLUTIONS = {2: (nn.Conv2d, nn.ConvTranspose2d), 3: (nn.Conv3d, nn.ConvTranspose3d)}


class NormedConvolution(nn.Module):
    """A convolution with instance norm and LeakyReLU."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            x = functional.instance_norm(self.conv(x), eps=inplace.EPSILON)
            return functional.leaky_relu(x, inplace.SLOPE)
        return inplace.activated(inplace.convolved(x, self._weight()))

    def doubled(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """Apply the layer, a transposed convolution; missing lines up to `shape` are reflected."""
        if torch.is_grad_enabled():
            return reflected(self.forward(x), shape)
        return inplace.doubled(self.conv, x, shape)

    def joined(self, double: "NormedConvolution", x: Tensor, skips: list[Tensor]) -> Tensor:
        """Apply the layer to the doubled x and to the last skip, which is removed."""
        shape = skips[-1].shape[2:]
        if torch.is_grad_enabled():
            return self.forward(torch.cat([double.doubled(x, shape), skips.pop()], 1))

        # A convolution of both is the sum of two, and each input is released after its own.
        of_up, of_skip = self._weight().chunk(2, 1)
        out = inplace.convolved(skips.pop(), of_skip)
        return inplace.activated(inplace.convolved(double.doubled(x, shape), of_up, out))

    def _weight(self) -> Tensor:
        assert isinstance(self.conv, nn.Conv2d | nn.Conv3d)
        return self.conv.weight


class Block(nn.Module):
    """Two 3 x 3 (x 3) convolutions with norms."""

    def __init__(self, dims: int, channels_in: int, channels_out: int) -> None:
        super().__init__()
        layer = CONVOLUTIONS[dims][0]
        self.layer_1, self.layer_2 = (
            NormedConvolution(layer(channels, channels_out, 3, padding=1, bias=False))
            for channels in (channels_in, channels_out)
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layer_2(self.layer_1(x))
        return result


class PlainUnet(ConvolutionalBody):
    """The U-Net described in the module, on real tensors (batch, channel, [t,] h, w).

    Parameters
    ----------
    dims : int
        2, or 3 with time.
    channels_in, channels_out : int
        The channels of input and output.
    filters : int
        The channels of the first block; each halving doubles them.
    pools : int
        How often the resolution is halved.
    bias : bool
        Whether the last convolution has a bias.
    standardised : bool
        Whether the input is standardised in two groups of channels and padded to multiples of 16,
        as in the official NORMUNET.
    """

    def __init__(
        self,
        dims: int,
        channels_in: int,
        channels_out: int,
        filters: int,
        pools: int,
        *,
        bias: bool = True,
        standardised: bool = False,
    ) -> None:
        super().__init__()
        self.dims, self.standardised = dims, standardised
        self.widths = widths = [filters * 2**level for level in range(pools + 1)]
        *down, self.conv = (
            Block(dims, a, b) for a, b in zip([channels_in, *widths], widths, strict=False)
        )
        self.down_sample_layers = nn.ModuleList(down)

        plain, transposed = CONVOLUTIONS[dims]
        self.up_transpose_conv = nn.ModuleList(
            NormedConvolution(transposed(2 * width, width, 2, stride=2, bias=False))
            for width in widths[-2::-1]
        )
        self.up_conv = nn.ModuleList(Block(dims, 2 * width, width) for width in widths[-2::-1])
        self.conv_out = plain(filters, channels_out, 1, bias=bias)

    def memory(self, batch: int, shape: Sequence[int]) -> Tensor:
        """Return memory for calls without gradients on images (h, w); empty in 3-D."""
        if self.standardised:
            shape = [n + -n % MULTIPLE for n in shape]
        size = 0 if self.dims == 3 else of_frames.needed(batch, shape, self.widths)
        return of_frames.allocated(size, self.conv_out.weight)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """Apply the U-Net, which allocates its memory itself if none is given."""
        if not self.standardised:
            return self._whole(x, memory)

        grouped = x.view(len(x), GROUPS, -1, *x.shape[2:])
        axes = tuple(range(2, grouped.ndim))
        standard, mean, std = standardise(grouped, axes)

        padded, places = padded_to(standard.flatten(1, 2), [-n % MULTIPLE for n in x.shape[2:]])
        result = cropped(self._whole(padded, memory), places)
        result = result.view(len(x), GROUPS, -1, *x.shape[2:]) * std + mean
        return result.flatten(1, 2)

    def _whole(self, x: Tensor, memory: Tensor | None) -> Tensor:
        """Apply the U-Net, in 3-D with short axes padded."""
        if self.dims == 2:
            check_size(x.shape[2:], len(self.down_sample_layers))
            if torch.is_grad_enabled():
                return self._unpadded(x)
            memory = self.memory(len(x), x.shape[2:]) if memory is None else memory
            return of_frames.applied(self, x, memory)

        least = 2 ** len(self.down_sample_layers)
        padded, places = padded_to(x, [max(0, least - n) for n in x.shape[2:]])
        check_size(padded.shape[2:], len(self.down_sample_layers))
        return cropped(self._unpadded(padded), places)

    def _unpadded(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []

        for block in self.down_sample_layers:
            skips.append(block(x))
            x = halved(skips[-1])

        x = self.conv(x)
        for double, block in zip(self.up_transpose_conv, self.up_conv, strict=True):
            assert isinstance(block, Block)
            assert isinstance(double, NormedConvolution)
            x = block.layer_2(block.layer_1.joined(double, x, skips))

        result: Tensor = (
            self.conv_out(x) if torch.is_grad_enabled() else inplace.in_slabs(self.conv_out, x)
        )
        return result


class Initialiser(ConvolutionalBody):
    """Computes the first multiplier u from the first image, as channels (batch, 2, [t,] h, w).

    Parameters
    ----------
    dims : int
        2, or 3 with time.
    channels, dilations : sequence of int
        The channels and the dilation of every convolution.
    outputs : int
        The number of last convolutions whose outputs are combined.
    activation : str
        The activation of the result.
    """

    def __init__(
        self,
        dims: int,
        channels: Sequence[int],
        dilations: Sequence[int],
        outputs: int,
        activation: Activation,
    ) -> None:
        super().__init__()
        layer = CONVOLUTIONS[dims][0]
        pad = nn.ReplicationPad2d if dims == 2 else nn.ReplicationPad3d
        self.outputs, self.widest, self.reach = outputs, max(channels), sum(dilations)

        self.conv_blocks = nn.ModuleList(
            nn.Sequential(pad(dilation), layer(a, b, 3, dilation=dilation), nn.ReLU(True))
            for a, b, dilation in zip([2, *channels[:-1]], channels, dilations, strict=True)
        )
        self.out_block = layer(sum(channels[-outputs:]), 2, 1)
        self.activation = {
            "prelu": nn.PReLU,
            "relu": nn.ReLU,
            "leaky-relu": nn.LeakyReLU,
        }[activation]()

    def forward(self, x: Tensor) -> Tensor:
        rows = max(1, INITIAL_SLAB // (x.shape[-1] * self.widest))
        length = x.shape[-2]
        if torch.is_grad_enabled() or rows >= length:
            return self._whole(x)

        # Every layer reaches as far as its dilation, so slabs with a margin give the same result.
        parts = []
        for first in range(0, length, rows):
            start = max(0, first - self.reach)
            part = self._whole(x[..., start : first + rows + self.reach, :])
            parts.append(part[..., first - start : first - start + rows, :])
        return torch.cat(parts, -2)

    def _whole(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        for block in self.conv_blocks:
            assert isinstance(block, nn.Sequential)
            x = (
                inplace.dilated(block, x)
                if x.ndim == 5 and not torch.is_grad_enabled()
                else block(x)
            )
            kept = [*kept, x][-self.outputs :]
        result: Tensor = self.activation(self.out_block(torch.cat(kept, 1)))
        return result


def halved(x: Tensor) -> Tensor:
    """Halve the resolution by averaging; an odd last line is dropped."""
    if x.ndim == 4:
        return functional.avg_pool2d(x, 2)
    if not torch.is_grad_enabled():
        return inplace.halved(x)
    # In 3-D, PyTorch has no average in half precision for CPUs.
    wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
    return functional.avg_pool3d(wide, 2).to(x.dtype)


def cropped(x: Tensor, places: tuple[slice, ...]) -> Tensor:
    """Undo `padded_to`."""
    return x[(slice(None), slice(None), *places)].contiguous()


def padded_to(x: Tensor, more: Sequence[int]) -> tuple[Tensor, tuple[slice, ...]]:
    """Pad the spatial axes with zeros, half of them (floored) before; also return their places."""
    if not any(more):
        return x, tuple(slice(None) for _ in more)
    sides = [(added // 2, added - added // 2) for added in more]
    flat = [side for pair in reversed(sides) for side in pair]
    places = (slice(a, a + n) for (a, _), n in zip(sides, x.shape[2:], strict=True))
    return functional.pad(x, flat), tuple(places)


def reflected(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Reflect the last line of every axis that is shorter than `shape`."""
    more = [n - length for n, length in zip(shape, x.shape[2:], strict=True)]
    if not any(more):
        return x
    return functional.pad(x, [side for n in reversed(more) for side in (0, n)], mode="reflect")


def check_size(shape: Sequence[int], pools: int) -> None:
    """Refuse images of which less than two pixels remain after all halvings.

    Raises
    ------
    UsageError
        If the images are too small (`images-too-small`).
    """
    lowest = [n >> pools for n in shape]
    if min(lowest) < 1 or math.prod(lowest) < 2:
        raise UsageError(
            "images-too-small",
            f"The images have shape {tuple(shape)}",
            f"The network halves them {pools} times, and at least two pixels must remain",
            "Reconstruct larger images, or use another network",
        )
