"""What every network takes and what it gives.

A network is called with a window of adjacent frames and reconstructs the one in the middle:

    network(kspace, mask, acs=None) -> Output

kspace : Tensor (batch, frame, coil, y, x), complex64, of any scale: the output scales along. Zero where not measured
mask : Tensor (batch, frame|1, y, x|1), bool. Its shape says what kind it is: (.., y, 1) are whole lines, (.., y, x) single samples
acs : how many central lines calibrate the coil maps, of sample masks the side of the central square; None: see `calibration_mask`

Inside, published networks have the readout first and the phase encoding last, so networks swap y and x on entry and on exit.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cmrrecon.tools.errors import UsageError

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Output:
    """What a network makes of a window; all of its middle frame.

    Attributes
    ----------
    image : Tensor (batch, y, x), real: the magnitude, on the scale of root-sum-of-squares
    kspace : Tensor (batch, coil, y, x), complex, or None from networks that never go back to k-space
    maps : Tensor (batch, coil, y, x), complex: the coil maps, or None
    images : the image after each cascade, the last is `image`; empty from networks whose losses need only the last
        (GENRE-CMR: in training mode, otherwise the last one only)
    kspaces : the k-space after each cascade, likewise
    features : a Tensor (batch, channel, ..) a cascade: what losses compare between domains
    """

    image: Tensor
    kspace: Tensor | None = None
    maps: Tensor | None = None
    images: tuple[Tensor, ...] = ()
    kspaces: tuple[Tensor, ...] = ()
    features: tuple[Tensor, ...] = ()

    @property
    def stages(self) -> tuple[Tensor, ...]:
        """The image after each cascade, or the last alone from networks that give no others."""
        return self.images or (self.image,)


def safe_root(x: Tensor) -> Tensor:
    """The square root of what is not negative, its gradient zero at zero and not infinite: no signal must not spoil training."""
    return torch.where(x == 0, 1, x).sqrt() * (x != 0)


def safe_rss(images: Tensor, dim: int = -3) -> Tensor:
    """Root-sum-of-squares of complex images over the coil axis, by `safe_root`."""
    return safe_root((images.real.square() + images.imag.square()).sum(dim))


def standardise(x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """(x - mean) / std over `dims`, the mean and the standard deviation. What has no spread becomes zero."""
    mean, std = x.mean(dims, keepdim=True), safe_root(x.var(dims, keepdim=True))
    return (x - mean) / torch.where(std > 0, std, 1), mean, std


def check_window(kspace: Tensor, mask: Tensor, frames: int | None = None) -> None:
    """Refuse what no network can take.

    Raises
    ------
    UsageError : shapes that do not belong together, or another number of frames than the network was made for
    """
    fits = kspace.ndim == 5 and mask.ndim == 4 and kspace.is_complex()
    if fits:
        batch, present, _, y, x = kspace.shape
        fits = mask.shape[0] == batch and mask.shape[1] in (1, present) and mask.shape[2] == y and mask.shape[3] in (1, x)
    if not fits:
        raise UsageError(
            "todo",
            f"The k-space has shape {tuple(kspace.shape)} and the mask {tuple(mask.shape)}",
            "Complex k-space (batch, frame, coil, y, x) and a mask (batch, frame or 1, y, x or 1) with the same sizes are needed",
            "Give k-space and mask of the same series",
        )
    if frames is not None and kspace.shape[1] != frames:
        raise UsageError(
            "todo",
            f"The window has {kspace.shape[1]} frames",
            f"This network was made for windows of {frames} adjacent frames",
            "Make windows with `cmrrecon.data.scan.window`",
        )


def channels_last(network: Network) -> Network:
    """The network itself, its convolutions laid out with the channels of a pixel side by side: the same numbers, sooner."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def recomputed(again: bool, function: Callable[..., Any], *arguments: Any) -> Any:
    """function(*arguments); computed again in the backward pass, instead of keeping what it needs, if `again`."""
    if again and torch.is_grad_enabled():
        return checkpoint(function, *arguments, use_reentrant=False)
    return function(*arguments)
