"""Everything a training run needs to go on, in one file that is old or new, never half."""

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
    """What `save` wrote, on the CPU. Executes nothing.

    Raises
    ------
    InputError : it is no such file
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            "checkpoint-damaged",
            f"{path} cannot be read as a state of training",
            "A run goes on from the file last.pt that it wrote itself",
            "Copy epoch.pt over it to go on from the last epoch's end, or remove it to begin anew",
        ) from error
    if not isinstance(state, dict) or "step" not in state:
        raise InputError(
            "checkpoint-format",
            f"{path} is no state of training",
            "A run goes on from its own last.pt",
            "Give another --out-dir",
        )
    return state
