"""Keep the complete state of a training run in one file, which is never left half-written."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cmrrecon.tools.atomic import atomic, output_error
from cmrrecon.tools.errors import InputError

DIGEST = "digest"


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a state of tensors, numbers, strings and containers, with its digest.

    Raises
    ------
    OutputError
        If the file cannot be written (`output-unwritable`).
    """
    with atomic(path) as temporary:
        try:
            torch.save({**state, DIGEST: digest(state)}, temporary)
        except RuntimeError as error:
            # PyTorch hides the error of the system, which is mostly a full disk.
            raise output_error(path, OSError(str(error))) from error


def load(path: Path) -> dict[str, Any]:
    """Read what `save` wrote, onto the CPU, without executing anything.

    Raises
    ------
    InputError
        If the file is damaged or changed (`checkpoint-damaged`) or is not a training state
        (`checkpoint-format`).
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise _damaged(path, "cannot be read as a training state") from error

    if not isinstance(state, dict) or "step" not in state:
        raise InputError(
            "checkpoint-format",
            f"{path} is not a training state",
            "A run continues from its own last.pt",
            "Give another --out-dir",
        )

    # States of earlier versions have no digest.
    known = state.pop(DIGEST, None)
    if known is not None and known != digest(state):
        raise _damaged(path, "was changed after it was written")
    return state


def digest(state: Any) -> str:
    """Return the SHA-256 digest of a state, in hexadecimal."""
    found = hashlib.sha256()
    _add(state, found.update)
    return found.hexdigest()


def _add(value: Any, update: Callable[[bytes], None]) -> None:
    """Add a value to a digest, with types and lengths."""
    if isinstance(value, Tensor):
        flat = value.detach().cpu().contiguous().reshape(-1)
        update(f"{value.dtype}{tuple(value.shape)}".encode())
        update(flat.view(torch.uint8).numpy().tobytes())
    elif isinstance(value, Mapping):
        update(f"mapping {len(value)}".encode())
        for key, item in value.items():
            update(repr(key).encode())
            _add(item, update)
    elif isinstance(value, list | tuple):
        update(f"{type(value).__name__} {len(value)}".encode())
        for item in value:
            _add(item, update)
    else:
        update(repr(value).encode())


def _damaged(path: Path, what: str) -> InputError:
    return InputError(
        "checkpoint-damaged",
        f"{path} {what}",
        "A run continues from the file last.pt that it wrote itself",
        "Copy epoch.pt over it to continue from the end of the last epoch, or remove it to "
        "start anew",
    )
