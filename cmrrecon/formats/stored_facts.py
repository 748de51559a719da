"""Facts about a scan as JSON, the way our own files store them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from cmrrecon.data import Acquisition
from cmrrecon.tools.errors import InputError

# Facts of which names of files and folders are made.
IN_PATHS = ("base", "modality", "centre", "vendor", "subject", "coil", "split", "pattern")


def acquisition_to_json(acquisition: Acquisition) -> str:
    """Return an acquisition as one line of JSON."""
    return json.dumps(asdict(acquisition), sort_keys=True)


def acquisition_from_json(text: str) -> Acquisition:
    """Return the acquisition in such a JSON text, without unknown or invalid entries.

    Raises
    ------
    InputError
        If a fact of which paths are made is not a plain name (`name-unsafe`).
    """
    try:
        stored = json.loads(text)
    except (ValueError, RecursionError):
        stored = None
    if not isinstance(stored, dict):
        return Acquisition()

    kinds: dict[str, Any] = {
        **dict.fromkeys(("year", "acs", "seed"), int),
        **dict.fromkeys(("acceleration", "field_strength"), int | float),
    }

    venc = stored.pop("venc", None)
    if isinstance(venc, list) and all(type(value) in (int, float) for value in venc):
        stored["venc"] = tuple(float(value) for value in venc)
        kinds["venc"] = tuple

    _refuse_paths(stored)

    known = [f.name for f in fields(Acquisition)]
    return Acquisition(
        **{
            k: v
            for k, v in stored.items()
            if k in known and isinstance(v, kinds.get(k, str)) and not isinstance(v, bool)
        }
    )


def is_plain(name: str) -> bool:
    """Return whether a text can name a file without leading to another folder."""
    return name.isprintable() and name not in ("", ".", "..") and not set(name) & set("/\\")


def _refuse_paths(stored: Mapping[str, Any]) -> None:
    """Refuse stored facts that lead to another folder."""
    unsafe = [
        name
        for name in IN_PATHS
        if isinstance(stored.get(name), str) and not is_plain(stored[name])
    ]
    if unsafe:
        raise InputError(
            "name-unsafe",
            f"The file states a path as the {' and the '.join(unsafe)} of its scan",
            "Outputs are named after it, so it must be a plain name",
            "Use a file from a source that you trust",
        )
