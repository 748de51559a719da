"""Build a network from untrusted tensors.

A network is never larger than the tensors in its file, and is filled only with tensors that fit
exactly.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cmrrecon.networks.catalog import build, name_of
from cmrrecon.tools.errors import CmrreconError, InputError

# Types that are converted to float32. Data consistency needs complex numbers, which are hardly
# supported in half precision.
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# Parameters that count modules, each with at least one tensor. A larger number of repeats would
# only make the network run forever.
COUNTS = ("cascades", "stages", "repeats")
# The largest number of tensors; the official networks have 2000. In memory a layer needs a hundred
# times as many bytes as its names in a file.
MOST_TENSORS = 2**14
# The largest number of torch calls for each tensor of a network; about 8 are needed.
CALLS = 16
# The largest number of keys and of characters from a file that messages show.
NAMED_KEYS = 3
SHOWN = 200


def without_memory(
    name: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor], source: str
) -> nn.Module:
    """Build a network without memory for its parameters, if the file has tensors for all of them.

    Parameters
    ----------
    name : str
        The network in the catalogue.
    config : mapping of str to any
        Its configuration.
    tensors : mapping of str to Tensor
        The tensors of the file.
    source : str
        The name of the file or state dict, for messages.

    Returns
    -------
    nn.Module
        The network on PyTorch's meta device.

    Raises
    ------
    InputError
        If the file does not describe a network, or describes one for which it has too few tensors
        (`checkpoint-damaged`).
    """
    try:
        for key in COUNTS:
            if not 0 <= config.get(key, 0) <= len(tensors):
                raise InputError(
                    "checkpoint-damaged",
                    f"It has {len(tensors)} tensors for {config[key]} {key}",
                    "Each of them has at least one tensor",
                    "Use another file",
                )

        if len(tensors) > MOST_TENSORS:
            raise InputError(
                "checkpoint-damaged",
                f"It has {len(tensors)} tensors",
                f"No network has more than {MOST_TENSORS}",
                "Use another file",
            )

        with torch.device("meta"), _Effort(len(tensors)):
            return build(name, config)

    except (CmrreconError, TypeError, RecursionError) as error:
        found, expected = str(error), "Its parameters must be known"
        if isinstance(error, CmrreconError):
            found, expected = error.found, error.expected
        raise InputError(
            "checkpoint-damaged",
            f"{source} does not describe a network ({found:.{SHOWN}})",
            expected,
            "Download or create the file again",
        ) from error


class _Effort(TorchFunctionMode):
    """Limits how often torch may be called inside the block, in proportion to the tensors.

    The limit applies to the current thread only. `normal_` is skipped.
    """

    def __init__(self, tensors: int) -> None:
        super().__init__()
        self.tensors, self.calls, self.gradients = tensors, 0, torch.is_grad_enabled()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        # An error may have occurred while a layer had gradients switched off.
        torch.set_grad_enabled(self.gradients)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        if self.calls > CALLS * self.tensors:
            raise InputError(
                "checkpoint-damaged",
                f"It has {self.tensors} tensors, but the network needs many more",
                "Every layer has at least one tensor",
                "Use another file",
            )
        given = kwargs or {}
        if func is nn.init.normal_:
            # Without memory there is nothing to fill, but PyTorch would import its compiler for it.
            return given["tensor"]
        return func(*args, **given)


def shared_keys(state: Mapping[str, Tensor]) -> list[list[str]]:
    """Group the keys that share a parameter or buffer; it is stored under the first of them."""
    groups: dict[int, list[str]] = {}
    for key, value in state.items():
        groups.setdefault(id(value), []).append(key)
    return list(groups.values())


def fill(network: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Fill a network without memory with these tensors as float32.

    Parameters
    ----------
    network : nn.Module
        The network on PyTorch's meta device.
    tensors : dict of str to Tensor
        All tensors of the network, with matching shapes.
    source : str
        The name of the file or state dict, for messages.

    Raises
    ------
    InputError
        If the tensors are not exactly those of the network or differ although they are shared
        (`checkpoint-mismatch`), or if they are not finite (`weights-not-finite`).
    """
    state = network.state_dict(keep_vars=True)
    _check_layout(state, tensors, name_of(network), source)

    # Checked after conversion: large float64 numbers are infinite as float32.
    single = {key: value.float() for key, value in tensors.items()}
    for keys in shared_keys(state):
        _check_values(single, keys, source)
    network.load_state_dict(single, assign=True)


def _check_layout(
    state: Mapping[str, Tensor], tensors: Mapping[str, Tensor], name: str, source: str
) -> None:
    """Refuse tensors that are not exactly those of the network, by name, shape and type."""
    faults = {
        "lacks": [key for key in state if key not in tensors],
        "has unknown tensors": [key for key in tensors if key not in state],
        "has wrong shapes": [
            f"{key} {tuple(tensors[key].shape)}, not {tuple(value.shape)}"
            for key, value in state.items()
            if key in tensors and tensors[key].shape != value.shape
        ],
        "has wrong types": [
            f"{key} {_plain(value.dtype)}"
            for key, value in tensors.items()
            if value.dtype not in DTYPES
        ],
    }

    if any(faults.values()):
        listed = "; ".join(f"{fault}: {_first(keys)}" for fault, keys in faults.items() if keys)
        raise InputError(
            "checkpoint-mismatch",
            f"{source} does not fit its network {name}: it {listed}",
            f"Exactly the {len(state)} tensors of that network are needed, "
            f"of the types {', '.join(map(_plain, DTYPES))}",
            "Use a complete checkpoint of that network",
        )


def _check_values(tensors: Mapping[str, Tensor], keys: list[str], source: str) -> None:
    """Refuse a parameter that is not finite, or that differs between the keys that share it."""
    first = tensors[keys[0]]
    if not bool(torch.isfinite(first).all()):
        raise InputError(
            "weights-not-finite",
            f"{source} has NaN or infinity in {keys[0]} after conversion to float32",
            "All weights must be finite numbers",
            "Use an earlier checkpoint",
        )

    for key in keys[1:]:
        if not torch.equal(tensors[key], first):
            raise InputError(
                "checkpoint-mismatch",
                f"{source} has different values in {keys[0]} and {key}",
                "They are one parameter that the whole network shares",
                "Use weights trained with the official layout",
            )


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _first(keys: list[str]) -> str:
    return ", ".join(f"{key:.{SHOWN}}" for key in keys[:NAMED_KEYS]) + (
        f" and {len(keys) - NAMED_KEYS} more" if len(keys) > NAMED_KEYS else ""
    )
