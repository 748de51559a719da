"""The U-Net of vSHARP for single frames without gradients, in memory that is allocated once.

Every level of the U-Net has one feature, in which all its layers write their results::

    features[0] <- conv <- conv <- input         features[0] <- conv <- features[0] + double
        |                                            ^
    features[1] <- conv <- conv <- half   ...    features[1]

A convolution computes a few rows at a time and writes them over its input as soon as the next rows
no longer need it. Large arrays that come and go would leave gaps in the memory of the process,
which then needs twice as much.
"""

import mmap
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmrrecon.networks.vsharp_inplace import activated

if TYPE_CHECKING:
    from cmrrecon.networks.vsharp_unet import PlainUnet

# The number of output values that a convolution computes at once. On a GPU, more of them keep all
# its processors busy.
SLAB, SLAB_OF_GPU = 2**17, 2**22
# A convolution copies its weights, at most this many at once.
WEIGHTS = 2**19


class Features:
    """The features of a U-Net for images of one size.

    Parameters
    ----------
    memory : Tensor
        The memory, see `needed`.
    batch : int
        The number of images.
    shape : sequence of int
        Their h and w.
    widths : sequence of int
        The channels of every level.
    """

    def __init__(
        self, memory: Tensor, batch: int, shape: Sequence[int], widths: Sequence[int]
    ) -> None:
        self.memory = memory
        self.levels: list[Tensor] = []
        self.ends: list[int] = [0]
        for level, width in enumerate(widths):
            size = (batch, width, *(n >> level for n in shape))
            self.levels.append(self._placed(self.ends[-1], size))
            self.ends.append(self.ends[-1] + self.levels[-1].numel())

    def doubled(self, level: int) -> Tensor:
        """Return the place for the doubled feature of the level below.

        The levels below that one are no longer needed, and it lies in their place.
        """
        return self._placed(self.ends[level + 2], self.levels[level].shape)

    def _placed(self, start: int, size: Sequence[int]) -> Tensor:
        batch, width, h, w = size
        part = self.memory[start : start + batch * width * h * w]
        return part.view(batch, h, w, width).permute(0, 3, 1, 2)


def needed(batch: int, shape: Sequence[int], widths: Sequence[int]) -> int:
    """Return the number of values of `Features`."""
    h, w = shape
    sizes = [batch * c * (h >> level) * (w >> level) for level, c in enumerate(widths)]
    ends = list(accumulate(sizes))
    return max(ends[-1], *(end + size for end, size in zip(ends[1:], sizes, strict=False)))


def allocated(size: int, like: Tensor) -> Tensor:
    """Return an array of the type of another one, apart from the other memory of a CPU process."""
    if like.device.type != "cpu" or not size:
        return like.new_empty(size)
    return torch.frombuffer(mmap.mmap(-1, size * like.itemsize), dtype=like.dtype)


def applied(net: "PlainUnet", x: Tensor, memory: Tensor) -> Tensor:
    """Apply the U-Net to images (batch, channel, h, w)."""
    features = Features(memory, len(x), x.shape[2:], net.widths)
    for block, feature in zip((*net.down_sample_layers, net.conv), features.levels, strict=True):
        convolved(x, _weight(block, "layer_1"), feature)
        activated(feature)
        convolved(feature, _weight(block, "layer_2"), feature)
        activated(feature)
        x = functional.avg_pool2d(feature, 2) if block is not net.conv else x

    below = features.levels[-1]
    levels = reversed(range(len(net.up_conv)))
    for level, double, block in zip(levels, net.up_transpose_conv, net.up_conv, strict=True):
        feature, up = features.levels[level], features.doubled(level)
        _double(double.get_submodule("conv"), below, up)

        # A convolution of both is the sum of two.
        of_up, of_skip = _weight(block, "layer_1").chunk(2, 1)
        convolved(feature, of_skip, feature)
        convolved(up, of_up, feature, add=True)
        activated(feature)
        convolved(feature, _weight(block, "layer_2"), feature)
        below = activated(feature)

    return torch.cat([net.conv_out(below[:, :, rows]) for rows in _slabs(below, below.shape[1])], 2)


def _weight(block: nn.Module, layer: str) -> Tensor:
    weight = block.get_submodule(layer).get_submodule("conv").weight
    assert isinstance(weight, Tensor)
    return weight


def convolved(x: Tensor, weight: Tensor, out: Tensor, *, add: bool = False) -> None:
    """Convolve with zero padding of one pixel into `out`, which may be x itself.

    Parameters
    ----------
    x : Tensor of shape (batch, channel, h, w)
        The input.
    weight : Tensor of shape (channel', channel, 3, 3)
        The weights.
    out : Tensor of shape (batch, channel', h, w)
        Where the result is written.
    add : bool
        Add the result to `out` instead.
    """
    length = x.shape[2]
    weights = torch.split(weight, max(1, WEIGHTS // weight[0].numel()))
    pending: tuple[slice, list[Tensor]] | None = None
    for rows in _slabs(x, len(weight)):
        slab = x[:, :, max(0, rows.start - 1) : rows.stop + 1]
        sides = (int(rows.start == 0), int(rows.stop == length))
        if any(sides):
            slab = functional.pad(slab, (0, 0, *sides))
        parts = [functional.conv2d(slab, one, padding=(0, 1)) for one in weights]

        # The last row of the input before these rows was needed until now.
        _write(pending, out, add)
        pending = rows, parts
    _write(pending, out, add)


def _write(computed: tuple[slice, list[Tensor]] | None, out: Tensor, add: bool) -> None:
    """Write rows of some channels each."""
    if computed is None:
        return
    rows, parts = computed
    places = torch.split(out[:, :, rows], [part.shape[1] for part in parts], 1)
    for place, part in zip(places, parts, strict=True):
        if add:
            place.add_(part)
        else:
            place.copy_(part)


def _double(layer: nn.Module, x: Tensor, out: Tensor) -> None:
    """Apply a transposed convolution with norm and LeakyReLU; missing last lines are reflected."""
    h, w = (2 * n for n in x.shape[2:])
    inner = out[:, :, :h, :w]
    for rows in _slabs(x, 4 * out.shape[1]):
        inner[:, :, 2 * rows.start : 2 * rows.stop] = layer(x[:, :, rows])
    activated(inner)

    if out.shape[2] > h:
        out[:, :, h] = out[:, :, h - 2]
    if out.shape[3] > w:
        out[..., w] = out[..., w - 2]


def _slabs(x: Tensor, width: int) -> Iterator[slice]:
    """Yield slices of the rows of x, for which a layer has `width` outputs a pixel."""
    most = SLAB_OF_GPU if x.is_cuda else SLAB
    count = max(1, most // (len(x) * width * x.shape[-1]))
    length = x.shape[2]
    return (slice(first, min(first + count, length)) for first in range(0, length, count))
