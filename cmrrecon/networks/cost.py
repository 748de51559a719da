"""What a network costs before it runs: operations and memory, from a run without numbers (on PyTorch's meta device)."""

import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

# A convolution like those of the U-Nets, to see how fast the device is.
PROBE_CHANNELS, PROBE_SIZE, PROBE_REPEATS = 48, (200, 200), 3


@dataclass(frozen=True)
class Footprint:
    """What a call costs.

    Attributes
    ----------
    flops : floating-point operations of convolutions and matrix products, 2 a multiplication with addition; Fourier transforms not counted
    nbytes : the most that all tensors made on the way take at once
    """

    flops: int
    nbytes: int


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the memory of the tensors that operations make, as long as these live."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for part in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(part, Tensor):
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
    """The cost of a network (or one of its parts or methods) on the meta device, called with tensors of these shapes and types."""
    given, live, counter = (
        [_ghost(tensor) for tensor in tensors],
        _Live(),
        FlopCounterMode(display=False),
    )
    with torch.no_grad(), counter, live:
        function(*given, **options)
    return Footprint(counter.get_total_flops(), live.peak)


def training_bytes(function: Callable[..., tuple[Tensor, ...]], *tensors: Kind) -> int:
    """The most that all tensors take at once in the forward and backward pass of a function of images; on the meta device."""
    # Counting operations would keep what checkpointing lets go.
    given, live = [_ghost(tensor) for tensor in tensors], _Live()
    with live:
        images = function(*given)
        torch.stack([image.sum() for image in images]).sum().backward()  # type: ignore[no-untyped-call]
    return live.peak


def _ghost(tensor: Kind) -> Tensor:
    shape, dtype = tensor
    return torch.empty(shape, dtype=dtype, device="meta")


def speed(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a convolution like those of the networks."""
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
