"""Building blocks shared by the networks."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cmrrecon.tools.arrays import divisor

Module = TypeVar("Module", bound=nn.Module)


class ConvolutionalBody(nn.Module):
    """Marks the purely convolutional parts of a network, without Fourier transforms.

    Only these parts may run in lower precision, be compiled, or have their channels last in memory.
    """


def safe_root(x: Tensor) -> Tensor:
    """Compute the square root of non-negative numbers, with gradient zero instead of inf at zero.

    An infinite gradient of pixels without signal would spoil the training.
    """
    return torch.where(x == 0, 1, x).sqrt() * (x != 0)


def safe_rss(images: Tensor, dim: int = -3) -> Tensor:
    """Compute the root-sum-of-squares of complex images over the coil axis with `safe_root`."""
    return safe_root((images.real.square() + images.imag.square()).sum(dim))


def standardise(x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Return `(x - mean) / std` over `dims`, the mean and the standard deviation.

    Where the standard deviation is zero, the result is zero.
    """
    mean, std = x.mean(dims, keepdim=True), safe_root(x.var(dims, keepdim=True))
    return (x - mean) / divisor(std), mean, std


def channels_last(network: Module) -> Module:
    """Switch the convolutions of a network to channels-last memory, which is faster; return it."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def recomputed(again: bool, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return `function(*arguments)`, recomputed in the backward pass to save memory if `again`."""
    if again and torch.is_grad_enabled():
        return checkpoint(function, *arguments, use_reentrant=False)
    return function(*arguments)
