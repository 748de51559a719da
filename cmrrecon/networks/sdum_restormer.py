"""The image network of SDUM: a Restormer with a condition.

References: Zamir et al., Restormer, CVPR 2022; Wang et al., arXiv 2512.17137.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from cmrrecon.networks.layers import ConvolutionalBody
from cmrrecon.networks.sdum_blocks import Block, Blocks, added, filtered, pointwise, weight_of

# Added before the channels inside the gated layers are rounded down.
ROUNDING = 1e-6


def padding(length: int, multiple: int) -> tuple[int, int]:
    """Return how many zeros before and after make a length a multiple."""
    missing = -length % multiple
    return missing // 2, missing - missing // 2


def _wide(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)


class Down(nn.Module):
    """Half the resolution, twice the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.ModuleList([_wide(channels, channels // 2)])

    def forward(self, x: Tensor) -> Tensor:
        x = filtered(x, weight_of(self.body[0]))
        batch, y, w, channels = x.shape
        blocks = x.reshape(batch, y // 2, 2, w // 2, 2, channels)
        return blocks.permute(0, 1, 3, 5, 2, 4).reshape(batch, y // 2, w // 2, 4 * channels)


class Up(nn.Module):
    """Twice the resolution, half the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.ModuleList([_wide(channels, 2 * channels)])

    def forward(self, x: Tensor) -> Tensor:
        x = filtered(x, weight_of(self.body[0]))
        batch, y, w, channels = x.shape
        blocks = x.reshape(batch, y, w, channels // 4, 2, 2)
        return blocks.permute(0, 1, 4, 2, 5, 3).reshape(batch, 2 * y, 2 * w, channels // 4)


class Restormer(ConvolutionalBody):
    """Maps real images to real images, with features of an earlier Restormer added.

    Parameters
    ----------
    images : int
        The number of input and output channels.
    channels, blocks, heads : sequence of int
        Sizes of each level, from the finest to the coarsest. Channels double from level to level.
    refinement : int
        The number of blocks after the decoder.
    ratio : float
        Channels inside the gated layers, in multiples of those outside.
    conditioned : bool
        Whether there is a condition.
    drop : float
        See `Block`; for decoders and refinement.

    Raises
    ------
    ValueError
        If the sizes do not fit together.
    """

    def __init__(
        self,
        images: int,
        channels: Sequence[int],
        blocks: Sequence[int],
        heads: Sequence[int],
        refinement: int,
        ratio: float,
        *,
        conditioned: bool,
        drop: float,
    ) -> None:
        super().__init__()
        self.levels, width = len(channels), channels[0]
        if list(channels) != [width * 2**level for level in range(self.levels)]:
            raise ValueError("channels must double from level to level")
        if any(size % count for size, count in zip(channels, heads, strict=True)):
            raise ValueError("channels must be multiples of the heads")

        condition = width if conditioned else None
        coarser = range(1, self.levels)

        def stack(level: int, count: int, drop: float = 0.0) -> Blocks:
            size = channels[level]
            hidden = int(ratio * size + ROUNDING)
            return Blocks(Block(size, heads[level], hidden, condition, drop) for _ in range(count))

        self.embed_conv = _wide(images, width)
        self.encoders = nn.ModuleList(stack(i, blocks[i]) for i in range(self.levels))
        self.downs = nn.ModuleList(Down(channels[i - 1]) for i in coarser)
        self.ups = nn.ModuleList(Up(channels[i]) for i in coarser)
        self.reduces = nn.ModuleList(
            pointwise(2 * channels[i - 1], channels[i - 1]) for i in coarser
        )
        self.decoders = nn.ModuleList(stack(i - 1, blocks[i - 1], drop) for i in coarser)
        self.refinement = stack(0, refinement, drop)
        self.output = _wide(width, images)
        self.time_embed = _embedding(width) if conditioned else None
        self.label_emb = _embedding(width) if conditioned else None

    def forward(
        self, x: Tensor, skips: Sequence[Tensor], time: Tensor | None, label: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Map images (batch, y, x, channel) of any size.

        Parameters
        ----------
        x : Tensor of shape (batch, y, x, channel), real
            The images.
        skips : sequence of Tensor
            What the earlier Restormer returned; empty for the first one.
        time, label : Tensor of shape (batch, width), or None
            The `sinusoids` of step and label; None without a condition.

        Returns
        -------
        images : Tensor of the shape of `x`
            The output.
        skips : tuple of Tensor of shape (batch, y', x', channel)
            Features for the next Restormer, one for each coarser level.
        """
        _, y, w, _ = x.shape
        (top, bottom), (left, right) = (padding(n, 2 ** (self.levels - 1)) for n in (y, w))
        x = functional.pad(x, (0, 0, left, right, top, bottom))
        e = None
        if self.time_embed is not None and self.label_emb is not None:
            e = self.time_embed(time) + self.label_emb(label)

        x = filtered(x, self.embed_conv.weight).contiguous()
        encoded = []
        for level, encoder in enumerate(self.encoders):
            if level:
                x = self.downs[level - 1](x)
                x = x if not skips else x + skips[level - 1]
            x = encoder(x, e)
            encoded.append(x)

        deepest, decoded = encoded.pop(), []
        for level in reversed(range(self.levels - 1)):
            x = self._reduced(self.ups[level](x), encoded.pop(), level)
            x = self.decoders[level](x, e)
            if level:
                decoded.append(x)

        x = self.refinement(x, e)
        x = filtered(x, self.output.weight)
        return x[:, top : top + y, left : left + w], (*reversed(decoded), deepest)

    def _reduced(self, up: Tensor, encoded: Tensor, level: int) -> Tensor:
        """Apply the pointwise convolution to both without joining them."""
        of_up, of_encoded = weight_of(self.reduces[level]).flatten(1).chunk(2, 1)
        return added(functional.linear(up, of_up), encoded, of_encoded.expand(len(up), -1, -1))


def _embedding(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
