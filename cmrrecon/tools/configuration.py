"""Check options and configurations against the type hints of dataclasses and functions.

They come from the command line, TOML, JSON and checkpoints, so nothing in them is trusted. The
error for an unknown name suggests the nearest known name. The error for a wrong value says what the
value must be.
"""

import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from numbers import Integral, Real
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from cmrrecon.tools.errors import UsageError, suggestion

# The upper limit of whole numbers, so that a wrong number cannot exhaust the machine.
LARGEST = 2**32 - 1
Made = TypeVar("Made")


@dataclass(frozen=True)
class AtLeast:
    """The lower bound of a number, as in `Annotated[int, AtLeast(1)]`."""

    least: float


def from_mapping(kind: type[Made], values: Mapping[str, Any], owner: str) -> Made:
    """Make a dataclass from a mapping of its fields.

    Parameters
    ----------
    kind : type
        The dataclass.
    values : mapping of str to any
        The fields by name.
    owner : str
        The name of the dataclass in messages.

    Returns
    -------
    kind
        An instance with these values.

    Raises
    ------
    UsageError
        If a field is unknown (`unknown-option`) or has a wrong value (`option-value`).
    """
    made: Made = _checked_nested(owner, values, kind)
    return made


def checked_mapping(
    owner: str, values: Mapping[str, Any], kinds: Mapping[str, Any]
) -> dict[str, Any]:
    """Check values against the type hints declared for their names.

    Parameters
    ----------
    owner : str
        The name of the mapping in messages, such as "The network unet".
    values : mapping of str to any
        The values by name.
    kinds : mapping of str to type hint
        Whole numbers range from 0, or from their `AtLeast`, to `LARGEST`. Other numbers are finite.
        None (automatic) is allowed where the hint includes it. Hints of unknown kinds accept any
        value.

    Returns
    -------
    dict of str to any
        The values, converted where needed (lists to tuples, NumPy's numbers to Python's).

    Raises
    ------
    UsageError
        If a name is unknown (`unknown-option`) or a value is wrong (`option-value`).
    """
    for key in values:
        if key not in kinds:
            raise UsageError(
                "unknown-option",
                f"{owner} has no parameter {key!r}",
                f"Its parameters are: {', '.join(kinds) or 'none'}",
                suggestion(key, kinds, "Leave it out"),
            )

    name = f"{owner[0].lower()}{owner[1:]}"
    return {key: _checked(f"{key} of {name}", value, kinds[key]) for key, value in values.items()}


def _checked(owner: str, value: Any, kind: Any, least: float | None = None) -> Any:
    """Return the value converted to the declared kind, or raise; numbers are at least `least`."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        bounds = [mark.least for mark in arguments[1:] if isinstance(mark, AtLeast)]
        return _checked(owner, value, arguments[0], *bounds)

    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        # In a union, such as a dataclass or a mapping, the first entry decides.
        first = next(part for part in arguments if part is not type(None))
        return _checked(owner, value, first, least)

    if is_dataclass(kind) and isinstance(kind, type):
        return value if isinstance(value, kind) else _checked_nested(owner, value, kind)
    if origin in (tuple, Sequence) or (isinstance(origin, type) and issubclass(origin, Sequence)):
        if not isinstance(value, list | tuple):
            raise _wrong(owner, value, "a list")
        entries = enumerate(value, 1)
        return tuple(_checked(f"entry {n} of {owner}", entry, arguments[0]) for n, entry in entries)

    fits, expected = _compared(value, kind, least)
    if not fits:
        raise _wrong(owner, value, expected)
    return kind(value) if kind in (int, float) else value


def _compared(value: Any, kind: Any, least: float | None) -> tuple[bool, str]:
    """Return whether a single value fits its kind, and a description of that kind."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if number and not isinstance(value, int | float):
        # NumPy's numbers are allowed as well.
        value = int(value) if isinstance(value, Integral) else float(value)

    if get_origin(kind) is Literal:
        return value in get_args(kind), f"one of {', '.join(map(str, get_args(kind)))}"
    if kind is bool:
        return isinstance(value, bool), "true or false"

    if kind is int:
        lowest = least or 0
        fits = number and isinstance(value, int) and lowest <= value <= LARGEST
        return fits, f"a whole number from {lowest} to {LARGEST}"

    if kind is float:
        largest = sys.float_info.max
        lowest = -largest if least is None else least
        bound = "" if least is None else f" of at least {least:g}"
        return number and lowest <= value <= largest, f"a finite number{bound}"

    if kind is str:
        return isinstance(value, str), "text"
    return True, ""


def _checked_nested(owner: str, values: Any, kind: Any) -> Any:
    """Make a dataclass from a mapping; a ValueError of the dataclass becomes a UsageError."""
    if not isinstance(values, Mapping):
        raise _wrong(owner, values, "a mapping")
    hints = get_type_hints(kind, include_extras=True)
    checked = checked_mapping(f"{owner[0].upper()}{owner[1:]}", values, hints)

    required = [
        each.name
        for each in fields(kind)
        if each.default is MISSING and each.default_factory is MISSING
    ]
    missing = [name for name in required if name not in checked]
    if missing:
        raise UsageError(
            "option-missing",
            f"{owner[0].upper()}{owner[1:]} has no {', '.join(missing)}",
            "It has no default",
            "Add it",
        )

    try:
        return kind(**checked)
    except ValueError as error:
        raise _wrong(owner, values, str(error)) from error


def _shown(value: Any) -> str:
    """Return the beginning of a value; Python refuses to print numbers of over 4,300 digits."""
    try:
        return f"{value!r:.80}"
    except (ValueError, RecursionError):
        return "a number with thousands of digits"


def _wrong(owner: str, value: Any, expected: str) -> UsageError:
    found = f"The parameter {owner} was given {_shown(value)}"
    return UsageError(
        "option-value", found, f"It must be {expected}", "Change the value, or leave it out"
    )
