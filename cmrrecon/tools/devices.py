"""The device and the precision of the computation."""

from collections.abc import Mapping
from typing import Literal

import torch

from cmrrecon.tools.errors import UsageError
from cmrrecon.tools.machine import machine_memory

Precision = Literal["fp32", "bf16"]
DTYPES: Mapping[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


def choose_device(asked: str) -> torch.device:
    """Return the device with this name. Choosing the CPU never initialises CUDA.

    Parameters
    ----------
    asked : str
        `auto` (a GPU if there is one), `cpu`, `cuda` or `cuda:N`.

    Returns
    -------
    torch.device
        The device.

    Raises
    ------
    UsageError
        If the name is unknown (`unknown-device`) or the machine has no such device
        (`device-missing`).
    """
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if asked == "cpu":
        return torch.device("cpu")

    kind, _, number = asked.partition(":")
    if kind != "cuda" or (number and not number.isdigit()):
        raise UsageError(
            "unknown-device",
            f"The device is {asked!r}",
            "Devices are auto, cpu, cuda and cuda:N",
            "Use --device auto",
        )

    count = torch.cuda.device_count()
    if int(number or 0) >= count:
        raise UsageError(
            "device-missing",
            f"The device is {asked!r}, but PyTorch finds {count} CUDA devices",
            "The device must exist",
            "Use --device auto",
        )

    return torch.device(asked)


def fast_precision(device: torch.device) -> torch.dtype:
    """Return the precision in which small convolutions run fastest without loss.

    It is bf16 on CPUs with instructions for it, otherwise fp32.
    """
    known = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    supported = any(getattr(torch.cpu, name, bool)() for name in known)
    return torch.bfloat16 if device.type == "cpu" and supported else torch.float32


def device_memory(device: torch.device) -> int:
    """Return the free bytes of a GPU, including PyTorch's cache, or the memory of the machine."""
    if device.type != "cuda":
        return machine_memory()
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + cached
