"""Configurations from files: nested mappings checked against the type hints of dataclasses and functions.

They come from TOML, JSON and checkpoints, so nothing in them is trusted: unknown names are told with the nearest known one, values of
the wrong kind with what was wanted.
"""

import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from cmrrecon.tools.errors import UsageError, perhaps

# The largest whole number: a wrong one must not use up the machine.
LARGEST = 2**32 - 1
Made = TypeVar("Made")


def from_mapping(kind: type[Made], values: Mapping[str, Any], owner: str) -> Made:
    """A dataclass from a mapping of its fields; `owner` is what messages call it.

    Raises
    ------
    UsageError : an unknown field, or a value of the wrong kind
    """
    made: Made = _checked_nested(owner, values, kind)
    return made


def checked_mapping(owner: str, values: Mapping[str, Any], kinds: Mapping[str, Any]) -> dict[str, Any]:
    """The values as the kinds declared for their names; errors as `from_mapping`."""
    for key in values:
        if key not in kinds:
            raise UsageError(
                "unknown-option",
                f"{owner} has no parameter {key!r}",
                f"Its parameters are: {', '.join(kinds) or 'none'}",
                perhaps(key, kinds, "Leave it out"),
            )
    return {key: _checked(f"{key} of {owner[0].lower()}{owner[1:]}", value, kinds[key]) for key, value in values.items()}


def _checked(owner: str, value: Any, kind: Any) -> Any:
    """The value as the declared kind. Kinds that are not known here are their owner's own business."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        # Of a choice such as a dataclass or a mapping, the first says what it is.
        return _checked(owner, value, next(part for part in arguments if part is not type(None)))
    if is_dataclass(kind) and isinstance(kind, type):
        return value if isinstance(value, kind) else _checked_nested(owner, value, kind)
    if origin in (tuple, Sequence) or (isinstance(origin, type) and issubclass(origin, Sequence)):
        if not isinstance(value, list | tuple):
            raise _wrong(owner, value, "a list")
        return tuple(_checked(f"entry {place} of {owner}", entry, arguments[0]) for place, entry in enumerate(value, 1))
    if origin is Literal:
        fits, wanted = value in arguments, f"one of {', '.join(map(str, arguments))}"
    elif kind is bool:
        fits, wanted = isinstance(value, bool), "true or false"
    elif kind is int:
        fits, wanted = (
            isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST,
            f"a whole number from 0 to {LARGEST}",
        )
    elif kind is float:
        fits, wanted = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value), "a finite number"
        value = float(value) if fits else value
    elif kind is str:
        fits, wanted = isinstance(value, str), "a text"
    else:
        return value
    if not fits:
        raise _wrong(owner, value, wanted)
    return value


def _checked_nested(owner: str, values: Any, kind: Any) -> Any:
    """A dataclass from a mapping. What the dataclass itself refuses by a ValueError is told likewise."""
    if not isinstance(values, Mapping):
        raise _wrong(owner, values, "a mapping")
    checked = checked_mapping(f"{owner[0].upper()}{owner[1:]}", values, get_type_hints(kind))
    try:
        return kind(**checked)
    except ValueError as error:
        raise _wrong(owner, values, str(error)) from error


def _wrong(owner: str, value: Any, wanted: str) -> UsageError:
    return UsageError(
        "option-value", f"The parameter {owner} was given {value!r:.80}", f"It must be {wanted}", "Change the value, or leave it out"
    )
