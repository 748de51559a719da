"""Provenance: the small dictionary stored in every file that cmrrecon writes."""

import hashlib
import json
import math
import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from cmrrecon import __version__
from cmrrecon.tools.errors import InputError
from cmrrecon.tools.files import check_regular, input_error

NOTICE = "research use only, not for diagnosis"


def make(
    command: Sequence[str],
    *,
    config: Mapping[str, Any],
    inputs: Sequence[str | Path],
    device: str | None = None,
    seed: int | None = None,
    **extra: Any,
) -> dict[str, Any]:
    """Describe the origin of one result, without naming the machine, its users or folders.

    Parameters
    ----------
    command : sequence of str
        The words of the command line. Only the last part of each path is kept.
    config : mapping of str to any
        Everything besides the inputs that determines the result (options, digest of the weights).
        Only the last part of absolute paths is kept.
    inputs : sequence of str or Path
        The files that the result was computed from. Their names and SHA-256 digests are kept.
    device : str or None
        The device used.
    seed : int or None
        The seed used.
    **extra : any
        Further JSON values, for information only; they do not enter the recipe.

    Returns
    -------
    dict of str to any
        The description, in plain JSON values.

    Raises
    ------
    InputError
        If an input cannot be read.
    """
    settings = _without_folders(plain(config))
    return {
        "cmrrecon": __version__,
        "command": shlex.join(_last_part(word) for word in command),
        "config": settings,
        "config_hash": _digest(settings),
        "inputs": [{"name": Path(path).name, "sha256": file_digest(path)} for path in inputs],
        "seed": seed,
        "device": device,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "torch": version("torch"),
        "notice": NOTICE,
        **_without_folders(plain(extra)),
    }


def file_digest(path: str | Path) -> str:
    """Return the SHA-256 digest of a whole file, in hexadecimal.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    check_regular(path)
    try:
        with open(path, "rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise input_error(path, error) from error


def recipe_hash(provenance: Mapping[str, Any]) -> str:
    """Return the digest of the recipe: version, config, digests of the inputs in order, seed.

    Options of NIfTI and DICOM files belong to the recipe too, if there are any.
    """
    inputs = [entry.get("sha256") for entry in provenance.get("inputs", [])]
    recipe = [
        provenance.get("cmrrecon"),
        provenance.get("config_hash"),
        inputs,
        provenance.get("seed"),
    ]
    export = provenance.get("export")
    return _digest([*recipe, export] if export else recipe)


def to_json(provenance: Mapping[str, Any]) -> str:
    """Return one line of ASCII JSON with sorted keys; equal dictionaries have equal text."""
    return json.dumps(provenance, sort_keys=True, ensure_ascii=True)


def from_json(text: str) -> dict[str, Any]:
    """Read the dictionary that `to_json` wrote.

    Raises
    ------
    InputError
        If the text is not a JSON object with the entries of `make` (`provenance-damaged`).
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        value = error

    if not (isinstance(value, dict) and isinstance(value.get("config"), dict)):
        raise InputError(
            "provenance-damaged",
            "The provenance stored in the file does not come from cmrrecon",
            "Every file that cmrrecon writes has its own provenance",
            "Create the file again",
        )

    return value


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def plain(value: Any) -> Any:
    """Convert a value to plain JSON values; infinity becomes "inf", which float() reads back."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _without_folders(value: Any) -> Any:
    """Strip the folders of absolute paths, which often name a user or a patient."""
    if isinstance(value, dict):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    absolute = isinstance(value, str) and (
        value.startswith(("/", "~")) or PureWindowsPath(value).is_absolute()
    )
    return _last_part(value) if absolute else value


def _last_part(word: str) -> str:
    """Strip the folders from a path on the command line, also in --option=path but not in 1/4."""
    option, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    if re.fullmatch(r"(\d+|auto)/\d+|-?", value):
        return word
    return option + equals + PurePosixPath(value.replace("\\", "/")).name
