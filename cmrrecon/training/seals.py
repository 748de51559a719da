"""Digests in the JSON files of a store, so that a change of any value is noticed."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cmrrecon.tools.errors import InputError
from cmrrecon.tools.files import read_text

DIGEST = "digest"
LONGEST = 16 * 2**20  # bytes; enough for the names of a hundred thousand scans


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content with a digest of its other values."""
    return {**content, DIGEST: _digest(content)}


def unsealed(path: Path) -> dict[str, Any]:
    """Read JSON that was written with `sealed`, without its digest.

    Raises
    ------
    InputError
        If the file cannot be read or was changed (`store-damaged`), or if it has no digest
        (`store-outdated`).
    """
    try:
        content = json.loads(read_text(path, LONGEST))
        if not isinstance(content, dict):
            raise ValueError("not a mapping")
        whole = is_whole(content)
    except (InputError, ValueError, RecursionError) as error:
        raise _damaged(path) from error

    if not whole:
        raise _damaged(path)
    if DIGEST not in content:
        raise InputError(
            "store-outdated",
            f"{path} was written by an older version",
            "Its digest is missing, so damage cannot be noticed",
            "Run the same `cmrrecon preprocess` again, which adds it",
        )
    return {name: value for name, value in content.items() if name != DIGEST}


def is_whole(content: Mapping[str, Any]) -> bool:
    """Return whether the values are those of the digest; content without a digest passes."""
    return content.get(DIGEST) in (None, _digest(content))


def _digest(content: Mapping[str, Any]) -> str:
    values = {name: value for name, value in content.items() if name != DIGEST}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _damaged(path: Path) -> InputError:
    return InputError(
        "store-damaged",
        f"{path} is damaged, or was changed by hand",
        "A store is described by fingerprint.json and a .json file beside each scan",
        "Run `cmrrecon preprocess` with --overwrite again",
    )
