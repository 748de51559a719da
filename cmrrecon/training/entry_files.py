"""Read the files that describe the scans of a store."""

import json
from pathlib import Path
from typing import Any

from cmrrecon.tools.errors import InputError
from cmrrecon.training.seals import is_whole


def entry_in(note: Path, *, lenient: bool = False) -> dict[str, Any]:
    """Return the entry in a file; a damaged one is empty if `lenient`, and refused otherwise."""
    try:
        entry = json.loads(note.read_text())
    except (ValueError, RecursionError):
        entry = None
    if isinstance(entry, dict) and "recipe" in entry and is_whole(entry):
        return entry
    if lenient:
        return {}
    raise InputError(
        "store-damaged",
        f"{note} is not the entry of a stored scan",
        "Each scan in a store has an entry that preprocess wrote",
        "Add --overwrite to make it again, or remove it if it does not belong to the store",
    )
