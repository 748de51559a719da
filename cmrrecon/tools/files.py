"""Paths, and the beginning of files, with errors that say why they cannot be read."""

import os
from pathlib import Path
from typing import Any

from cmrrecon.tools.errors import InputError, UsageError


def first_bytes(path: str | Path, most: int) -> bytes:
    """The first `most` bytes of a file, fewer of a shorter one.

    Raises
    ------
    InputError : the file is missing, empty, a folder, or cannot be read
    """
    try:
        with open(path, "rb") as handle:
            found = handle.read(most)
    except OSError as error:
        raise input_error(path, error) from error

    if not found:
        raise InputError(
            "file-empty",
            f"{path} is empty",
            "A complete file is needed",
            "Copy or export the file again",
        )

    return found


def as_path(path: Any, what: str) -> Path:
    """A path from text or a path-like object.

    Parameters
    ----------
    what : for the message, as in "scan"

    Raises
    ------
    UsageError : `path-type`, for anything else and for text that no path can have
    """
    if isinstance(path, str | os.PathLike) and "\0" not in (text := os.fsdecode(path)):
        return Path(text)
    kind = "text with a zero byte" if isinstance(path, str) else f"of type {type(path).__name__}"
    raise UsageError(
        "path-type",
        f"The path of the {what} is {kind}",
        "A path is text",
        "Give the name of a file",
    )


def input_error(path: str | Path, error: OSError) -> InputError:
    """The error for a file that the system does not let us read."""
    if isinstance(error, FileNotFoundError):
        return InputError(
            "file-missing", f"{path} does not exist", "A file is needed", "Check the path"
        )

    if isinstance(error, IsADirectoryError):
        remedy = "Give the files in it, for example with *.mat"
        return InputError("file-is-folder", f"{path} is a folder", "A file is needed", remedy)
    reason = error.strerror or "input error"
    found, expected = f"{path} cannot be read ({reason})", "A readable file is needed"

    return InputError("file-unreadable", found, expected, "Check the permissions and the disk")
