"""Operations and memory of a network, measured without values on PyTorch's meta device."""

import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

# A typical convolution of the U-Nets, to measure the speed of the device.
PROBE_CHANNELS, PROBE_SIZE, PROBE_REPEATS = 48, (200, 200), 3


@dataclass(frozen=True)
class Footprint:
    """The cost of a call.

    Attributes
    ----------
    flops : int
        The floating-point operations of convolutions and matrix products, 2 for each multiply-add.
        Fourier transforms are not counted.
    nbytes : int
        The peak memory of all intermediate tensors, in bytes.
    """

    flops: int
    nbytes: int


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the memory of all tensors that operations create, for as long as they are alive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # A view of a weight needs no memory.
        self.known.update(
            arg.untyped_storage()._cdata for arg in args if isinstance(arg, nn.Parameter)
        )
        result = func(*args, **(kwargs or {}))
        # A view, such as a part of a weight, needs no memory of its own.
        viewed = {part.untyped_storage()._cdata for part in args if isinstance(part, Tensor)}
        for part in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(part, Tensor) and part.untyped_storage()._cdata not in viewed:
                self._enter(part.untyped_storage())
        return result

    def _enter(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self.known:
            self.known.add(key)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._leave, key, storage.nbytes())

    def _leave(self, key: int, nbytes: int) -> None:
        self.known.discard(key)
        self.now -= nbytes


Kind = tuple[tuple[int, ...], torch.dtype]


def footprint(function: Callable[..., Any], *tensors: Kind, **options: Any) -> Footprint:
    """Measure the cost of a network, or of one of its parts or methods, on the meta device.

    Parameters
    ----------
    function : callable
        The network, part or method.
    *tensors : tuple of shape and dtype
        The tensors it is called with.
    **options : any
        Its keyword arguments.

    Returns
    -------
    Footprint
        The cost of this call.
    """
    given, live, counter = (
        [_ghost(tensor) for tensor in tensors],
        _Live(),
        FlopCounterMode(display=False),
    )
    with torch.no_grad(), counter, live:
        function(*given, **options)
    return Footprint(counter.get_total_flops(), live.peak)


def training_bytes(function: Callable[..., tuple[Tensor, ...]], *tensors: Kind) -> int:
    """Measure the peak memory of the forward and backward pass on the meta device, in bytes.

    Parameters
    ----------
    function : callable
        Maps the tensors to a tuple of images.
    *tensors : tuple of shape and dtype
        The tensors it is called with.

    Returns
    -------
    int
        The peak memory of all tensors.
    """
    # Counting operations would keep tensors alive that checkpointing would release.
    given, live = [_ghost(tensor) for tensor in tensors], _Live()
    with live:
        images = function(*given)
        total = torch.stack([image.sum() for image in images]).sum()
        total.backward()  # type: ignore[no-untyped-call]
    return live.peak


def _ghost(tensor: Kind) -> Tensor:
    shape, dtype = tensor
    return torch.empty(shape, dtype=dtype, device="meta")


def speed(device: torch.device, dtype: torch.dtype) -> float:
    """Measure the floating-point operations per second of a typical convolution of the networks."""
    x = torch.ones((1, PROBE_CHANNELS, *PROBE_SIZE), dtype=dtype, device=device)
    layer = nn.Conv2d(
        PROBE_CHANNELS, PROBE_CHANNELS, 3, padding=1, bias=False, dtype=dtype, device=device
    )
    times = []

    with torch.no_grad():
        for _ in range(1 + PROBE_REPEATS):
            start = time.perf_counter()
            layer(x).sum().item()
            times.append(time.perf_counter() - start)

    return 2 * layer.weight.numel() * PROBE_SIZE[0] * PROBE_SIZE[1] / min(times[1:])
