"""Find the state dict of the network in the content of a checkpoint.

Training scripts put it under various keys, often nested, next to the state of the training and to a
moving average of the weights (EMA). Where both exist, the moving average is used: it is the copy
that such scripts evaluate. The two are never mixed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cmrrecon.networks.checkpoints.foreign import MOST_WRAPPERS, average_in, joined_parts
from cmrrecon.networks.checkpoints.pickles import TensorRecord
from cmrrecon.tools.errors import InputError

# The keys of state dicts, including PyTorch Lightning, SDUM, and BasicSR.
STATE_KEYS = ("state_dict", "model_state_dict", "net_state_dict", "model", "params")
# The keys of moving averages, including those of timm, torchvision, and BasicSR.
AVERAGE_KEYS = (
    "ema_state_dict", "state_dict_ema", "model_ema_state_dict", "ema_model_state_dict", "model_ema",
    "ema_model", "ema", "params_ema",
)  # fmt: skip
# The key of the tensors in the moving averages of hand-written classes.
SHADOW = "shadow"
# The key under which Lightning's `WeightAveraging` keeps the plain weights. The moving average is
# then under "state_dict".
PLAIN_KEY = "current_model_state"
# direct keeps the state dicts of its networks apart.
MODEL = "model"
OTHER_MODELS = ("sensitivity_model", "sampling_model")


@dataclass(frozen=True)
class Found:
    """The state dict of the network in a checkpoint.

    Attributes
    ----------
    records : dict of str to TensorRecord
        Its tensors by name.
    beside : mapping of str to any
        The other entries of the outermost mapping.
    copy : str
        Which of several copies of the weights these are; empty if there is only one.
    """

    records: dict[str, TensorRecord]
    beside: Mapping[str, Any]
    copy: str


def find(top: Any) -> Found:
    """Return the state dict in the content of a checkpoint; empty if there is none."""
    level, path = top, list[str]()
    copy = ""
    for _ in range(MOST_WRAPPERS):
        if not isinstance(level, Mapping):
            break

        average = _path_to_average(level)
        if average:
            others = [other for other in STATE_KEYS if _has_tensors(level.get(other))]
            place = ".".join([*path, *average])
            copy = f"the moving average in {place}" + (f", not {others[0]}" if others else "")
            lacking = _parts(level)
            path += average
            for name in average:
                level = level[name]
            _refuse_partial(level, lacking, place)
            continue
        if _parts(level):
            break

        keys = (*STATE_KEYS, SHADOW) if path else STATE_KEYS
        key = next((key for key in keys if _has_tensors(level.get(key))), None)
        if key == "state_dict" and _has_tensors(level.get(PLAIN_KEY)):
            copy = f"the moving average in {key}, not {PLAIN_KEY}"
        if key is None:
            break

        path.append(key)
        level = level[key]

    if not isinstance(top, Mapping):
        return Found({}, {}, "")
    used = set(path[:1]) or ({MODEL, *_parts(level)} if _parts(level) else set(top))
    beside = {key: value for key, value in top.items() if key not in used}
    return Found(_records(level), beside, copy or _average_within(level))


def _path_to_average(level: Mapping[Any, Any]) -> list[str]:
    """Return the keys that lead to the nearest moving average; empty if there is none."""
    queue: list[tuple[Mapping[Any, Any], list[str]]] = [(level, [])]
    # Files may be hostile: a mapping that is shared or contains itself is seen once.
    seen = {id(level)}
    for inner, path in queue:
        key = next((key for key in AVERAGE_KEYS if _has_tensors(inner.get(key))), None)
        if key is not None:
            return [*path, key]

        if len(path) < MOST_WRAPPERS:
            for name, value in inner.items():
                if isinstance(name, str) and isinstance(value, Mapping) and id(value) not in seen:
                    seen.add(id(value))
                    queue.append((value, [*path, name]))
    return []


def _refuse_partial(average: Any, parts: list[str], place: str) -> None:
    """Refuse a moving average without networks that the plain weights have."""
    inner = average
    for _ in range(MOST_WRAPPERS):
        if not isinstance(inner, Mapping) or not parts or _parts(inner):
            break
        inner = next(
            (inner[key] for key in (*STATE_KEYS, SHADOW) if _has_tensors(inner.get(key))), None
        )

    lacking = set(parts) - set(_parts(inner) if isinstance(inner, Mapping) else ())
    names = _records_of(average)
    if any(not any(name.startswith(f"{part}.") for name in names) for part in lacking):
        raise InputError(
            "checkpoint-mismatch",
            f"The moving average in {place} lacks the {' and '.join(sorted(lacking))} of the plain "
            "weights",
            "Averaged and plain weights are never mixed",
            "Save the networks that belong together without the others",
        )


def _average_within(level: Any) -> str:
    """Return which moving average is within the state dicts of direct; empty if there is none."""
    for part in (MODEL, *_parts(level)) if isinstance(level, Mapping) and _parts(level) else ():
        average = average_in(_records_of(level[part]))
        if average is not None:
            return f"the moving average in {part}.{average}*"
    return ""


def _records(level: Mapping[Any, Any]) -> dict[str, TensorRecord]:
    """Return the tensors of a state dict, or of all state dicts of direct."""
    parts = _parts(level)
    if parts:
        others = {part: _records_of(level[part]) for part in parts}
        return joined_parts(_records_of(level[MODEL]), others)
    return _records_of(level)


def _records_of(level: Any) -> dict[str, TensorRecord]:
    """Return the tensors directly in a mapping; none if it is no mapping."""
    return {
        key: value
        for key, value in (level.items() if isinstance(level, Mapping) else ())
        if isinstance(key, str) and isinstance(value, TensorRecord)
    }


def _parts(level: Mapping[Any, Any]) -> list[str]:
    """Return the names of further state dicts of direct beside its `model`; often none."""
    if not _records_of(level.get(MODEL)):
        return []
    return [part for part in OTHER_MODELS if _records_of(level.get(part))]


def _has_tensors(value: Any) -> bool:
    """Return whether this is a state dict, or contains one in at most two further mappings."""
    for _ in range(3):
        if not isinstance(value, Mapping):
            return False
        if _records_of(value) or _parts(value):
            return True
        keys = (*AVERAGE_KEYS, *STATE_KEYS, SHADOW)
        value = next((value[key] for key in keys if isinstance(value.get(key), Mapping)), None)
    return False
