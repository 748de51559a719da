"""The configuration that was published with weights, as a YAML or JSON file.

The file is not trusted. Anchors and aliases are refused, because a short file that nests them
describes a huge one. Tags create no objects.
"""

import importlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from cmrrecon.tools.errors import InputError, UsageError
from cmrrecon.tools.files import check_regular, input_error

JSON = ".json"
# What PyYAML raises besides its own errors, for instance for tags of empty or huge values.
FAULTS = (
    ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError,
)  # fmt: skip
SUFFIXES = (".yaml", ".yml", JSON)
# The published files have a few thousand bytes.
MOST_BYTES = 2**16


class ReleaseFile:
    """The file of a release, which is read once and not before it is needed.

    Parameters
    ----------
    path : Path
        See `read_release`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def content(self) -> Mapping[str, Any]:
        """The content; errors are those of `read_release`."""
        return read_release(self.path)


def release_beside(checkpoint: Path) -> ReleaseFile | None:
    """Return the configuration with the name of the checkpoint, or None."""
    paths = (checkpoint.with_suffix(suffix) for suffix in SUFFIXES)
    found = next((path for path in paths if path != checkpoint and path.is_file()), None)
    return None if found is None else ReleaseFile(found)


def read_release(path: Path) -> Mapping[str, Any]:
    """Read the configuration of a release.

    Parameters
    ----------
    path : Path
        A JSON file (by its suffix), or a YAML file.

    Returns
    -------
    mapping of str to any
        Its content: plain data, otherwise unchecked.

    Raises
    ------
    InputError
        If the file cannot be read, or is not such a configuration (`release-damaged`).
    UsageError
        If it is YAML and PyYAML is not installed (`package-missing`).
    """
    check_regular(path)
    read = _json if path.suffix.lower() == JSON else _yaml
    try:
        with open(path, "rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise input_error(path, error) from error

    if len(data) > MOST_BYTES:
        raise _damaged(path, f"longer than {MOST_BYTES} bytes")
    content = read(path, data)
    if not (isinstance(content, dict) and content):
        raise _damaged(path, "not a mapping, or empty")
    if not all(isinstance(key, str) for key in content):
        raise _damaged(path, "not a mapping of names")
    return content


def _json(path: Path, data: bytes) -> Any:
    """Return the content of a JSON file."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"not valid JSON ({type(error).__name__})") from error


def _yaml(path: Path, data: bytes) -> Any:
    """Return the content of a YAML file."""
    try:
        yaml = importlib.import_module("yaml")
    except ImportError as error:
        raise UsageError(
            "package-missing",
            f"{path} is a YAML file, which needs the package PyYAML",
            "The extra yaml, which contains it, must be installed",
            "Run pip install 'cmrrecon[yaml]', or use a preset",
        ) from error

    try:
        text = data.decode()
        events = yaml.parse(text, yaml.SafeLoader)
        if any(getattr(event, "anchor", None) is not None for event in events):
            raise _damaged(path, "not plain: it has anchors or aliases")
        return yaml.safe_load(text)
    except (yaml.YAMLError, *FAULTS) as error:
        raise _damaged(path, f"not valid YAML ({type(error).__name__})") from error


def _damaged(path: Path, found: str) -> InputError:
    return InputError(
        "release-damaged",
        f"{path} is {found}",
        "The configuration of a release is a short YAML or JSON file with plain settings",
        "Download it again, or use a preset",
    )
