"""The blocks of SDUM's Restormer: attention between channels, and a gated layer with a condition.

Attention acts between channels, not between pixels, so the cost grows linearly with the image.
Activations have the axes (batch, y, x, channel). Without gradients, the wide layers are computed a
few channels at a time and added to their input in place, which needs an eighth of the memory.

References: Zamir et al., Restormer, CVPR 2022; Wang et al., arXiv 2512.17137.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

# Channels of the wide layers that are computed at once.
AT_ONCE = 128
# Smallest norm of queries and keys.
TINY = 1e-12


def pointwise(inputs: int, outputs: int) -> nn.Conv2d:
    """Return a 1 x 1 convolution."""
    return nn.Conv2d(inputs, outputs, 1, bias=False)


def depthwise(channels: int) -> nn.Conv2d:
    """Return a 3 x 3 convolution of each channel by itself."""
    return nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)


def weight_of(layer: nn.Module) -> Tensor:
    """Return the weight of a convolution."""
    assert isinstance(layer, nn.Conv2d)
    return layer.weight


def filtered(x: Tensor, weight: Tensor, groups: int = 1) -> Tensor:
    """Apply a 3 x 3 convolution to (batch, y, x, channel)."""
    out = functional.conv2d(x.permute(0, 3, 1, 2), weight, padding=1, groups=groups)
    return out.permute(0, 2, 3, 1)


def _mixed(x: Tensor, first: nn.Conv2d, second: nn.Conv2d, part: slice) -> Tensor:
    """Compute some output channels of a pointwise and then a depthwise convolution."""
    mixed = functional.linear(x, first.weight[part].flatten(1))
    return filtered(mixed, second.weight[part], mixed.shape[-1])


def added(x: Tensor, z: Tensor, weight: Tensor) -> Tensor:
    """Add a product of pixels (batch, y, x, channel) and a matrix (batch, out, channel) to x.

    The sum takes the place of x unless gradients are needed.
    """
    batch, _, _, channels = x.shape
    flat = x.view(batch, -1, channels)
    out = None if torch.is_grad_enabled() else flat
    total = torch.baddbmm(flat, z.reshape(batch, flat.shape[1], -1), weight.mT, out=out)
    return total.view(x.shape)


def _scaled(weight: Tensor, share: Tensor | None) -> Tensor:
    return weight if share is None else weight * share[:, None, None]


def _parts(start: int, stop: int) -> Iterator[slice]:
    """Yield ranges of at most `AT_ONCE` channels."""
    for first in range(start, stop, AT_ONCE):
        yield slice(first, min(first + AT_ONCE, stop))


def _shifted(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)


class Attention(nn.Module):
    """Attention between channels; the heads are contiguous groups of channels.

    Parameters
    ----------
    channels, heads : int
        The numbers of channels and heads.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(1, heads, 1, 1))
        self.qkv = pointwise(channels, 3 * channels)
        self.qkv_conv = depthwise(3 * channels)
        self.project_out = pointwise(channels, channels)

    def forward(self, x: Tensor, y: Tensor, share: Tensor | None) -> Tensor:
        """Return x plus the attention of the normalised y, times a share of each sample.

        Attention and the final projection are both linear in the values, so that they are joined
        to one matrix before the values are computed.
        """
        channels, heads = y.shape[-1], self.temperature.shape[1]
        size = channels // heads
        out = self.project_out.weight.flatten(1)

        for head in range(heads):
            own = slice(head * size, (head + 1) * size)
            parts = list(_parts(own.start, own.stop))
            keys = [self._channels(y, _shifted(part, channels)) for part in parts]
            lengths = torch.cat([_norm(key) for key in keys], 1)

            joined = out.new_zeros(())
            for part in parts:
                queries = self._channels(y, part)
                products = torch.cat([queries.mT @ key for key in keys], -1)
                likeness = products / (_norm(queries)[:, :, None] * lengths[:, None])
                weights = (self.temperature[0, head] * likeness).softmax(-1)
                joined = joined + out[:, part] @ weights

            del keys
            for part in parts:
                values = self._channels(y, _shifted(part, 2 * channels))
                own_part = joined[:, :, _shifted(part, -own.start)]
                x = added(x, values, _scaled(own_part, share))

        return x

    def _channels(self, y: Tensor, part: slice) -> Tensor:
        """Compute some of the queries, keys or values, as (batch, pixel, channel)."""
        return _mixed(y, self.qkv, self.qkv_conv, part).flatten(1, 2)


def _norm(values: Tensor) -> Tensor:
    """Return the norm over the pixels of (batch, pixel, channel)."""
    norm: Tensor = torch.linalg.vector_norm(values, dim=1)
    return norm.clamp(min=TINY)


class FeedForward(nn.Module):
    """Gated layer; the condition adds a bias to every gated channel.

    Parameters
    ----------
    channels, hidden : int
        The numbers of channels outside and inside.
    condition : int or None
        The width of the condition; None for none.
    """

    def __init__(self, channels: int, hidden: int, condition: int | None) -> None:
        super().__init__()
        self.project_in = pointwise(channels, 2 * hidden)
        self.conv = depthwise(2 * hidden)
        self.project_out = pointwise(hidden, channels)
        self.emb_layers = (
            None if condition is None else nn.Sequential(nn.SiLU(), nn.Linear(condition, hidden))
        )

    def forward(self, x: Tensor, y: Tensor, e: Tensor | None, share: Tensor | None) -> Tensor:
        """Return x plus the layer's result for the normalised y, times a share of each sample."""
        hidden = self.project_out.in_channels
        out = self.project_out.weight.flatten(1).expand(len(x), -1, -1)
        bias = None if self.emb_layers is None else self.emb_layers(e)[:, None, None]

        for part in _parts(0, hidden):
            z = functional.gelu(_mixed(y, self.project_in, self.conv, part))
            gate = _mixed(y, self.project_in, self.conv, _shifted(part, hidden))
            z = z * gate if torch.is_grad_enabled() else z.mul_(gate)
            if bias is not None:
                z = z + bias[..., part] if torch.is_grad_enabled() else z.add_(bias[..., part])
            x = added(x, z, _scaled(out[:, :, part], share))

        return x


class Block(nn.Module):
    """Attention and a gated layer, each added to its input.

    Parameters
    ----------
    channels, heads, hidden, condition : int
        See `Attention` and `FeedForward`.
    drop : float
        The probability with which training leaves out a branch for a sample; the others are scaled
        up in turn.
    """

    def __init__(
        self, channels: int, heads: int, hidden: int, condition: int | None, drop: float
    ) -> None:
        super().__init__()
        self.drop = drop
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.attn = Attention(channels, heads)
        self.ffn = FeedForward(channels, hidden, condition)

    def forward(self, x: Tensor, e: Tensor | None) -> Tensor:
        """Change (batch, y, x, channel), in place unless gradients are needed."""
        x = self.attn(x, self.norm1(x), self._share(x))
        changed: Tensor = self.ffn(x, self.norm2(x), e, self._share(x))
        return changed

    def _share(self, x: Tensor) -> Tensor | None:
        """Return the factor (batch,) of a branch; None means one."""
        if not self.training or not self.drop:
            return None
        kept = torch.rand(len(x), device=x.device) >= self.drop
        return kept.to(x.dtype) / (1 - self.drop)


class Blocks(nn.ModuleList):
    """Blocks, one after the other."""

    def forward(self, x: Tensor, e: Tensor | None) -> Tensor:
        for block in self:
            x = block(x, e)
        return x
