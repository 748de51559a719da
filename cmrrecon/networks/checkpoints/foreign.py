"""Checkpoints of other programs: the prefixes of their names, and the facts in their parameters."""

from collections.abc import Mapping
from typing import Any, TypeVar

from cmrrecon.networks.checkpoints.filling import SHOWN
from cmrrecon.tools.errors import InputError

# The prefixes that Lightning modules, DistributedDataParallel, torch.compile and trainers add.
WRAPPERS = ("promptmr.", "module.", "_orig_mod.", "model.")
# A tensor that belongs to the training, not to the network.
LOSS_WINDOW = "loss.w"
# Hyper-parameters that only the PromptMR-plus repository has, and the names of its two
# implementations.
PLUS_PARAMETERS = ("model_version", "n_history", "n_buffer", "use_sens_adj", "adaptive_input")
VERSIONS = {"promptmr_v2": "image", "promptmr": "kspace", "promptmr_v1": "kspace"}
# Wrappers are nested less deeply than this; files may be hostile.
MOST_WRAPPERS = 8
Value = TypeVar("Value")


def entries_of(entries: dict[str, Value]) -> dict[str, Value]:
    """Return only the network's entries of a file, without the prefixes of wrappers.

    Raises
    ------
    InputError
        If two entries differ only in their prefixes (`checkpoint-mismatch`).
    """
    for _ in range(MOST_WRAPPERS):
        wrapper = next((w for w in WRAPPERS if any(key.startswith(w) for key in entries)), None)
        if wrapper is None:
            break

        kept = {key: value for key, value in entries.items() if key != LOSS_WINDOW}
        entries = {key.removeprefix(wrapper): value for key, value in kept.items()}
        if len(entries) < len(kept):
            raise InputError(
                "checkpoint-mismatch",
                f"Two entries of the checkpoint differ only in the prefix {wrapper}",
                "A state dict contains each tensor once",
                "Save the state dict of the network alone",
            )
    return entries


def variant_of(parameters: Mapping[str, Any]) -> tuple[str | None, str]:
    """Return the variant according to the hyper-parameters of a Lightning file, and the reason."""
    if not any(key in parameters for key in PLUS_PARAMETERS):
        return None, "the official repository"
    version = parameters.get("model_version", "promptmr_v2")
    if not isinstance(version, str) or version not in VERSIONS:
        raise InputError(
            "unknown-variant",
            f"The hyper-parameters state the model version {text_of(version)}",
            f"The known versions are: {', '.join(VERSIONS)}",
            "Choose the variant of the iteration: kspace or image",
        )

    return VERSIONS[version], f"model_version {version}" + (
        "" if "model_version" in parameters else " (the default of PromptMR-plus)"
    )


def text_of(value: Any) -> str:
    """Format a value of a file for messages, safely for huge numbers and nested tuples."""
    if isinstance(value, str):
        return repr(value[:SHOWN])
    return (
        str(value)
        if isinstance(value, int) and value.bit_length() <= 64
        else f"of type {type(value).__name__}"
    )
