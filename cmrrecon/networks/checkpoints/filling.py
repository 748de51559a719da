"""A network made of tensors that are not trusted: never larger than what is there, filled only with what fits it exactly."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cmrrecon.networks.catalog import build, name_of
from cmrrecon.tools.errors import CmrreconError, InputError

# Weights become float32: complex numbers in half precision, which the data consistency needs, hardly exist.
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# What a configuration counts that a network has tensors for, at least one each; of what is repeated, more would only take for ever.
COUNTS = ("cascades", "stages", "repeats")
# The official networks have 2000. A layer in memory takes a hundred times as many bytes as its names in a file.
MOST_TENSORS = 2**14
# Calls of torch for each tensor of a network: about 8 are made.
CALLS = 16
# Messages show so much of what a file says.
NAMED_KEYS = 3
SHOWN = 200


def without_memory(
    name: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor], source: str
) -> nn.Module:
    """The network without memory for its parameters, if it can have as many as the file."""
    try:
        for key in COUNTS:
            if not 0 <= config.get(key, 0) <= len(tensors):
                raise InputError(
                    "checkpoint-damaged",
                    f"It has {len(tensors)} tensors for {config[key]} {key}",
                    "Every one has some",
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
            f"{source} describes no network ({found:.{SHOWN}})",
            expected,
            "Fetch or make the file again",
        ) from error


class _Effort(TorchFunctionMode):
    """Where it is entered, and in that thread only, torch may be called no more often than a network of so many tensors needs."""

    def __init__(self, tensors: int) -> None:
        super().__init__()
        self.tensors, self.calls, self.gradients = tensors, 0, torch.is_grad_enabled()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        # An error may have been raised where layers switch gradients off and on.
        torch.set_grad_enabled(self.gradients)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        if self.calls > CALLS * self.tensors:
            raise InputError(
                "checkpoint-damaged",
                f"It has {self.tensors} tensors for a network of many more",
                "Every layer has some",
                "Use another file",
            )
        return func(*args, **(kwargs or {}))


def shared_keys(state: Mapping[str, Tensor]) -> list[list[str]]:
    """The keys of every parameter or buffer; several where modules share it, the first being the one it is stored under."""
    groups: dict[int, list[str]] = {}
    for key, value in state.items():
        groups.setdefault(id(value), []).append(key)
    return list(groups.values())


def fill(network: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Give a network without memory these tensors as float32, if they are all it has, of its shapes, finite, and equal where shared."""
    state = network.state_dict(keep_vars=True)
    _check_layout(state, tensors, name_of(network), source)
    # Of float64 there are numbers that float32 has not.
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
        "has too many": [key for key in tensors if key not in state],
        "has wrong shapes": [
            f"{key} {tuple(tensors[key].shape)}, not {tuple(value.shape)}"
            for key, value in state.items()
            if key in tensors and tensors[key].shape != value.shape
        ],
        "has numbers of wrong types": [
            f"{key} {_plain(value.dtype)}"
            for key, value in tensors.items()
            if value.dtype not in DTYPES
        ],
    }

    if any(faults.values()):
        told = "; ".join(f"{fault}: {_first(keys)}" for fault, keys in faults.items() if keys)
        raise InputError(
            "checkpoint-mismatch",
            f"{source} does not fit its network {name}: it {told}",
            f"Exactly the {len(state)} tensors of that network are needed, of the types {', '.join(map(_plain, DTYPES))}",
            "Use the checkpoint of that network, whole",
        )


def _check_values(tensors: Mapping[str, Tensor], keys: list[str], source: str) -> None:
    """Refuse a parameter that is not finite, or that differs between the keys that share it."""
    first = tensors[keys[0]]
    if not bool(torch.isfinite(first).all()):
        raise InputError(
            "weights-not-finite",
            f"{source} has NaN or infinity in {keys[0]}, as float32",
            "All weights must be finite numbers",
            "Use an earlier checkpoint",
        )

    for key in keys[1:]:
        if not torch.equal(tensors[key], first):
            raise InputError(
                "checkpoint-mismatch",
                f"{source} has different values in {keys[0]} and {key}",
                "They are one parameter, shared by the whole network",
                "Use weights that were trained with the official layout",
            )


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _first(keys: list[str]) -> str:
    return ", ".join(f"{key:.{SHOWN}}" for key in keys[:NAMED_KEYS]) + (
        f" and {len(keys) - NAMED_KEYS} more" if len(keys) > NAMED_KEYS else ""
    )
