"""A `Geometry` as JSON: in our own scans a text `geometry`, in images a part of their
provenance."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from cmrrecon.data import Geometry

LARGEST = 4096  # pixels a side, of the scanner's images


def geometry_to_json(geometry: Geometry) -> str:
    """A geometry as one line of JSON."""
    return json.dumps(asdict(geometry), sort_keys=True)


def geometry_from_json(text: str) -> Geometry | None:
    """The geometry that `geometry_to_json` wrote; None if the text is none."""
    try:
        stored = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return geometry_of(stored)


def geometry_of(stored: Any) -> Geometry | None:
    """The geometry in a dictionary from JSON; what is not understood in it is left out.

    None if it is no dictionary, or if nothing is left.
    """
    if not isinstance(stored, Mapping):
        return None
    known = {name: _value(stored.get(name), check) for name, check in CHECKS.items()}
    found = Geometry(**known)
    return None if found == Geometry() else found


def _value(value: Any, check: Callable[[Any], Any]) -> Any:
    try:
        return check(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("no finite number")
    return float(value)


def _vector(value: Any) -> tuple[float, ...]:
    x, y, z = value
    return _number(x), _number(y), _number(z)


def _voxel(value: Any) -> tuple[float, ...]:
    voxel = _vector(value)
    if min(voxel) <= 0:
        raise ValueError("no size")
    return voxel


def _directions(value: Any) -> tuple[tuple[float, ...], ...]:
    y, x, z = value
    return _vector(y), _vector(x), _vector(z)


def _size(value: Any) -> tuple[int, int]:
    y, x = (int(_number(one)) for one in value)
    if not (1 <= y <= LARGEST and 1 <= x <= LARGEST):
        raise ValueError("no matrix")
    return y, x


CHECKS: dict[str, Callable[[Any], Any]] = {
    "voxel_mm": _voxel,
    "positions_mm": lambda value: tuple(map(_vector, value)),
    "directions": lambda value: tuple(map(_directions, value)),
    "frame_times_ms": lambda value: tuple(map(_number, value)),
    "field_of_view": _size,
    "recon_matrix": _size,
}
