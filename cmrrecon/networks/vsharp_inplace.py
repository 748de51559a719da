"""The layers of vSHARP's 3-D U-Net without gradients: in place, with little working memory.

A convolution is one 2-D convolution for each frame, which sees the channels of the three nearest
frames side by side. The values are those of the plain layers up to rounding. Features have the
shape (batch, channel, frame, h, w) as in PyTorch, but each frame is contiguous in memory, so its
neighbours need no copy.
"""

import math
from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE, EPSILON = 0.2, 1e-5
# The number of input values that the last convolution reads at once.
SLAB = 2**22
# The lines whose squares are added up at once, so that these fit into the cache.
LINES = 32


def activated(x: Tensor) -> Tensor:
    """Apply instance norm and LeakyReLU in place.

    PyTorch's own statistics take as long as half a convolution on a CPU, because they are computed
    in a single pass.
    """
    axes = tuple(range(2, x.ndim))
    x.sub_(x.mean(axes, keepdim=True))
    variance = _squares(x) / math.prod(x.shape[2:])

    factor = (variance + EPSILON).rsqrt_().to(x.dtype)
    return functional.leaky_relu_(x.mul_(factor.view(*x.shape[:2], *(1 for _ in axes))), SLOPE)


def _squares(x: Tensor) -> Tensor:
    """Return the sums (batch, channel) of squares, in single precision at least."""
    wide = torch.promote_types(x.dtype, torch.float32)
    total = x.new_zeros(x.shape[:2], dtype=wide)
    # Of a series, a frame at a time.
    frames = [x] if x.ndim == 4 else list(x.unbind(2))
    for frame in frames:
        for lines in torch.split(frame, LINES, 2):
            total += lines.to(wide).square().sum((2, 3))
    return total


def convolved(x: Tensor, weight: Tensor, added: Tensor | None = None) -> Tensor:
    """Convolve with zero padding of one pixel, and add the result to `added` if it is given."""
    frames, taps = _frames(x), weight.transpose(1, 2)
    batch, length, _, *sizes = frames.shape
    out = x.new_empty((batch, length, len(weight), *sizes)) if added is None else _frames(added)

    for one, t in product(range(batch), range(length)):
        first, last = max(0, t - 1), min(t + 2, length)
        near = frames[one, first:last].flatten(0, 1)[None]
        used = taps[:, first - t + 1 : last - t + 1].flatten(1, 2)
        part = functional.conv2d(near, used, padding=1)[0]
        if added is None:
            out[one, t] = part
        else:
            out[one, t] += part
    return out.transpose(1, 2)


def dilated(block: nn.Sequential, x: Tensor) -> Tensor:
    """Apply padding, a dilated 3-D convolution and ReLU, the layers of an `Initialiser`."""
    layer = block[1]
    assert isinstance(layer, nn.Conv3d)
    frames, dilation = _frames(x), int(layer.dilation[0])
    batch, length, _, *sizes = frames.shape
    weight = layer.weight.transpose(1, 2).flatten(1, 2)
    out = x.new_empty((batch, length, layer.out_channels, *sizes))

    for one, t in product(range(batch), range(length)):
        around = [min(max(t + step, 0), length - 1) for step in (-dilation, 0, dilation)]
        near = torch.cat([frames[one, s] for s in around])[None]
        near = functional.pad(near, [dilation] * 4, mode="replicate")
        out[one, t] = functional.conv2d(near, weight, layer.bias, dilation=dilation)[0].relu_()
    return out.transpose(1, 2)


def doubled(layer: nn.Module, x: Tensor, shape: Sequence[int]) -> Tensor:
    """Apply a transposed convolution, instance norm and LeakyReLU, and reflect missing lines.

    Parameters
    ----------
    layer : nn.ConvTranspose3d
        The convolution.
    x : Tensor of shape (batch, channel, frame, h, w)
        Its input.
    shape : sequence of int
        The frame, h and w of the result: twice those of x, or one more.

    Returns
    -------
    Tensor of shape (batch, channel', *shape)
        The features.
    """
    assert isinstance(layer, nn.ConvTranspose3d)
    frames, channels = _frames(x), layer.out_channels
    batch, length, _, h, w = frames.shape
    # Both frames that follow from one frame.
    weight = layer.weight.transpose(1, 2).flatten(1, 2)

    out = x.new_empty((batch, shape[0], channels, *shape[1:]))
    inner = out[:, : 2 * length, :, : 2 * h, : 2 * w]
    for one, t in product(range(batch), range(length)):
        pair = functional.conv_transpose2d(frames[one, t][None], weight, stride=2)
        inner[one, 2 * t : 2 * t + 2] = pair.view(2, channels, 2 * h, 2 * w)
    activated(inner.transpose(1, 2))

    for axis, n in zip((1, 3, 4), shape, strict=True):
        if n % 2:
            out.select(axis, n - 1).copy_(out.select(axis, n - 3))
    return out.transpose(1, 2)


def halved(x: Tensor) -> Tensor:
    """Halve frames, h and w by averaging; an odd last line is dropped."""
    frames = _frames(x)
    batch, _, channels, *_ = frames.shape
    t, h, w = (n // 2 for n in x.shape[2:])
    out = x.new_empty((batch, t, channels, h, w))

    for frame in range(t):
        pair = frames[:, 2 * frame] + frames[:, 2 * frame + 1]
        rows = pair[:, :, 0 : 2 * h : 2] + pair[:, :, 1 : 2 * h : 2]
        torch.add(rows[..., 0 : 2 * w : 2], rows[..., 1 : 2 * w : 2], out=out[:, frame])
    return out.mul_(1 / 8).transpose(1, 2)


def in_slabs(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a 1 x 1 x 1 convolution, to a large series in slabs of frames."""
    count = max(1, SLAB // x[:, :, 0].numel())
    return torch.cat([layer(part) for part in torch.split(x, count, 2)], 2)


def _frames(x: Tensor) -> Tensor:
    """Return a series as (batch, frame, channel, h, w) with contiguous frames, or a copy of it."""
    return x.transpose(1, 2).contiguous()
