"""Keep the complete state of a training run in one file, which is never left half-written."""

from pathlib import Path
from typing import Any

import torch

from cmrrecon.tools.atomic import atomic
from cmrrecon.tools.errors import InputError


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a state of tensors, numbers, strings and containers."""
    with atomic(path) as temporary:
        torch.save(state, temporary)


def load(path: Path) -> dict[str, Any]:
    """Read what `save` wrote, onto the CPU, without executing anything.

    Raises
    ------
    InputError
        If the file is damaged (`checkpoint-damaged`) or is not a training state
        (`checkpoint-format`).
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            "checkpoint-damaged",
            f"{path} cannot be read as a training state",
            "A run continues from the file last.pt that it wrote itself",
            "Copy epoch.pt over it to continue from the end of the last epoch, or remove it to "
            "start anew",
        ) from error

    if not isinstance(state, dict) or "step" not in state:
        raise InputError(
            "checkpoint-format",
            f"{path} is not a training state",
            "A run continues from its own last.pt",
            "Give another --out-dir",
        )

    return state
