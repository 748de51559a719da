"""Checkpoints of other programs: the prefixes of their names, and the facts in their parameters."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

from cmrrecon.networks.checkpoints.filling import SHOWN
from cmrrecon.tools.errors import InputError

# The prefixes that Lightning modules, DistributedDataParallel, torch.compile and trainers add.
WRAPPERS = ("promptmr.", "module.", "_orig_mod.", "model.")
# The prefixes of a moving average next to the network in one state dict. It is then used instead.
AVERAGES = ("ema.", "model_ema.", "ema_model.")
# The networks of direct, whose state dicts are apart.
PARTS = ("model.", "sensitivity_model.")
# Tensors that belong to the training, not to the network: the window of a loss, and the counters of
# moving averages.
TRAINING = ("loss.w", "n_averaged", "initted", "step")
# Hyper-parameters that only the PromptMR-plus repository has, and the names of its two
# implementations.
PLUS_PARAMETERS = ("model_version", "n_history", "n_buffer", "use_sens_adj", "adaptive_input")
VERSIONS = {"promptmr_v2": "image", "promptmr": "kspace", "promptmr_v1": "kspace"}
# Wrappers are nested less deeply than this; files may be hostile.
MOST_WRAPPERS = 8
Value = TypeVar("Value")


def entries_of(entries: dict[str, Value]) -> dict[str, Value]:
    """Return only the network's entries of a file, without the prefixes of wrappers.

    The names of direct's sensitivity network keep the prefix `sensitivity_model.`; those of its
    other network have none.

    Raises
    ------
    InputError
        If some entries have a prefix and others do not (`checkpoint-mismatch`).
    """
    return _unwrapped(entries)[0]


def _unwrapped(entries: dict[str, Value]) -> tuple[dict[str, Value], str | None]:
    """Return the network's entries, and the prefix of the moving average they are from."""
    removed, found = "", None
    for _ in range(MOST_WRAPPERS):
        entries = {key: value for key, value in entries.items() if key not in TRAINING}
        average = next((a for a in AVERAGES if any(key.startswith(a) for key in entries)), None)
        if average is not None:
            removed += average
            found = removed
            entries = _with_prefix(entries, average)
            continue

        parts = {part for part in PARTS if any(key.startswith(part) for key in entries)}
        if len(parts) == len(PARTS) and all(key.startswith(PARTS) for key in entries):
            model, maps = (_with_prefix(entries, part) for part in PARTS)
            found = found or average_in(model) or average_in(maps)
            return joined_parts(model, {PARTS[1].rstrip("."): maps}), found

        wrapper = next((w for w in WRAPPERS if any(key.startswith(w) for key in entries)), None)
        if wrapper is None:
            break
        refuse_mixed(entries, wrapper)
        entries = _with_prefix(entries, wrapper)
        removed += wrapper

    return entries, found


def joined_parts(
    model: dict[str, Value], others: Mapping[str, dict[str, Value]]
) -> dict[str, Value]:
    """Return the entries of all networks of direct, without the prefixes of wrappers.

    The entries of all but the first get the name of their network as prefix.
    """
    joined = entries_of(model)
    for name, entries in others.items():
        joined |= {f"{name}.{key}": value for key, value in entries_of(entries).items()}
    return joined


def average_in(entries: Iterable[str]) -> str | None:
    """Return the prefix of the moving average that `entries_of` uses, or None."""
    return _unwrapped(dict.fromkeys(entries))[1]


def _with_prefix(entries: dict[str, Value], prefix: str) -> dict[str, Value]:
    """Return the entries with this prefix, without it."""
    return {
        key.removeprefix(prefix): value for key, value in entries.items() if key.startswith(prefix)
    }


def refuse_mixed(entries: Collection[str], wrapper: str) -> None:
    """Refuse names of which some have a prefix and others do not (`checkpoint-mismatch`)."""
    without = [key for key in entries if not key.startswith(wrapper)]
    if without:
        raise InputError(
            "checkpoint-mismatch",
            f"{len(without)} of {len(entries)} entries of the checkpoint lack the prefix {wrapper} "
            f"of the others, such as {without[0]:.{SHOWN}}",
            "All tensors of a network have the same prefix",
            "Save the state dict of the network alone",
        )


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
