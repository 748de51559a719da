"""Small functions that networks are made of."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Module = TypeVar("Module", bound=nn.Module)


class ConvolutionalBody(nn.Module):
    """Marks what of a network is convolutions alone, without Fourier transforms.

    Only these parts may run in lower precision, be compiled, or have their channels last in memory.
    """


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


def channels_last(network: Module) -> Module:
    """The network itself, its convolutions laid out with the channels of a pixel side by side: same result, faster."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def recomputed(again: bool, function: Callable[..., Any], *arguments: Any) -> Any:
    """function(*arguments); computed again in the backward pass, instead of keeping what it needs, if `again`."""
    if again and torch.is_grad_enabled():
        return checkpoint(function, *arguments, use_reentrant=False)
    return function(*arguments)
