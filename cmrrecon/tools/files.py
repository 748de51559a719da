"""Check paths and read the first bytes of files, with errors that say what went wrong."""

import os
import stat
from pathlib import Path
from typing import Any

from cmrrecon.tools.errors import InputError, UsageError


def first_bytes(path: str | Path, most: int) -> bytes:
    """Read the first bytes of a file.

    Parameters
    ----------
    path : str or Path
        The file.
    most : int
        The number of bytes to read; fewer are returned if the file is shorter.

    Returns
    -------
    bytes
        At least one byte.

    Raises
    ------
    InputError
        If the file is missing (`file-missing`), a folder (`file-is-folder`), empty (`file-empty`)
        or unreadable (`file-unreadable`), or no file on a disk (`file-special`).
    """
    check_regular(path)
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


def check_regular(path: str | Path) -> None:
    """Refuse what only looks like a file: reading a named pipe or a device may never end.

    Raises
    ------
    InputError
        If the path is missing (`file-missing`), a folder (`file-is-folder`), unreadable
        (`file-unreadable`), or a named pipe, a device or a socket (`file-special`).
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise input_error(path, error) from error

    if stat.S_ISDIR(mode):
        raise input_error(path, IsADirectoryError())
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        raise InputError(
            "file-special",
            f"{path} is {kinds.get(stat.S_IFMT(mode), 'a device')}",
            "A file on a disk is needed, because readers go back and forth in it",
            "Copy the data into a file, or give - to read standard input",
        )


def read_text(path: str | Path, most: int) -> str:
    """Read a whole file of UTF-8 text.

    Parameters
    ----------
    path : str or Path
        The file.
    most : int
        The largest size in bytes; parsers need up to thirty times the size of a text.

    Raises
    ------
    InputError
        If the file cannot be read, see `first_bytes`, is not UTF-8 (`file-damaged`) or is longer
        than `most` (`file-too-large`).
    """
    content = first_bytes(path, most + 1)
    if len(content) > most:
        raise InputError(
            "file-too-large",
            f"{path} has more than {most / 2**20:g} MiB",
            "A file of this kind is a short text",
            "Check that this is the right file",
        )

    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            "file-damaged",
            f"{path} is not UTF-8",
            "A text file is needed",
            "Copy or save the file again",
        ) from error


def as_path(path: Any, what: str) -> Path:
    """Make a path from text or a path-like object.

    Parameters
    ----------
    path : str or os.PathLike
        The path.
    what : str
        What the path refers to, for the message, such as "scan".

    Returns
    -------
    Path
        The path; the disk is not accessed.

    Raises
    ------
    UsageError
        If the path is neither text nor path-like, or contains a zero byte (`path-type`).
    """
    if isinstance(path, str | os.PathLike) and "\0" not in (text := os.fsdecode(path)):
        return Path(text)
    kind = "text with a zero byte" if isinstance(path, str) else f"of type {type(path).__name__}"
    raise UsageError(
        "path-type",
        f"The path of the {what} is {kind}",
        "A path must be text",
        "Give the name of a file",
    )


def input_error(path: str | Path, error: OSError) -> InputError:
    """Return the error for a file that the system could not read."""
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
