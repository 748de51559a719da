"""A `Geometry` as JSON, stored as the text `geometry` in scans and in the provenance of images."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from cmrrecon.data import Geometry

LARGEST = 4096  # pixels per side of the scanner's images


def geometry_to_json(geometry: Geometry) -> str:
    """Return a geometry as one line of JSON."""
    return json.dumps(asdict(geometry), sort_keys=True)


def geometry_from_json(text: str) -> Geometry | None:
    """Return the geometry written by `geometry_to_json`; None if the text contains none."""
    try:
        stored = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return geometry_of(stored)


def geometry_of(stored: Any) -> Geometry | None:
    """Return the geometry in a dictionary from JSON, ignoring invalid entries.

    The result is None if `stored` is not a dictionary or has no valid entry.
    """
    if not isinstance(stored, Mapping):
        return None
    known = {name: _value(stored.get(name), check) for name, check in CHECKS.items()}
    found = Geometry(**known)
    return None if found == Geometry() else found


def _value(value: Any, check: Callable[[Any], Any]) -> Any:
    """Return the checked value, or None if it is not valid."""
    try:
        return check(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("not a finite number")
    return float(value)


def _vector(value: Any) -> tuple[float, ...]:
    x, y, z = value
    return _number(x), _number(y), _number(z)


def _voxel(value: Any) -> tuple[float, ...]:
    voxel = _vector(value)
    if min(voxel) <= 0:
        raise ValueError("not a positive size")
    return voxel


def _directions(value: Any) -> tuple[tuple[float, ...], ...]:
    y, x, z = value
    return _vector(y), _vector(x), _vector(z)


def _size(value: Any) -> tuple[int, int]:
    y, x = (int(_number(one)) for one in value)
    if not (1 <= y <= LARGEST and 1 <= x <= LARGEST):
        raise ValueError("not the size of a matrix")
    return y, x


CHECKS: dict[str, Callable[[Any], Any]] = {
    "voxel_mm": _voxel,
    "positions_mm": lambda value: tuple(map(_vector, value)),
    "directions": lambda value: tuple(map(_directions, value)),
    "frame_times_ms": lambda value: tuple(map(_number, value)),
    "field_of_view": _size,
    "recon_matrix": _size,
}
