"""Write a file whole or not at all."""

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cmrrecon.tools.errors import OutputError

# errno -> (what was found, what to do next); all else gets the system's own words.
REASONS = {
    errno.ENOSPC: ("the disk is full", "Free some space or choose another folder"),
    errno.EDQUOT: ("the disk quota is used up", "Free some space or choose another folder"),
    errno.EFBIG: (
        "the file is larger than this system allows",
        "Choose another disk, or raise the file size limit",
    ),
    errno.EACCES: ("there is no permission to write there", "Choose a folder you may write to"),
    errno.EPERM: ("there is no permission to write there", "Choose a folder you may write to"),
    errno.EROFS: ("the disk is read-only", "Choose a folder you may write to"),
    errno.EISDIR: ("a folder of this name is in the way", "Choose another file name"),
    errno.ENOTDIR: ("a file stands where a folder is needed", "Choose another folder"),
    errno.EEXIST: ("a file stands where a folder is needed", "Choose another folder"),
    errno.ENAMETOOLONG: ("the name is too long", "Choose a shorter file name"),
}


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path in the same folder that takes the place of `path` when the block ends without an error.

    The folder is made if it is missing. The data are on the disk before the name changes, so that a crash
    leaves the old file or the new one. After an error neither the file nor the temporary file remains.

    Raises
    ------
    OutputError : the file cannot be written
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _synchronise(temporary)
        os.replace(temporary, target)
    except OSError as error:
        raise output_error(target, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()

    with suppress(
        OSError
    ):  # some network file systems cannot synchronise folders; the file itself is safe
        _synchronise(target.parent)


def output_error(path: Path, error: OSError) -> OutputError:
    """The three sentences for a failed write. HDF5 hides the system's error number in its text."""
    hidden = re.search(r"errno = (\d+)", str(error))
    number = error.errno or (int(hidden[1]) if hidden else 0)
    reason, remedy = REASONS.get(
        number,
        (os.strerror(number) if number else "an output error", "Check the disk and try again"),
    )

    return OutputError(
        "output-unwritable",
        f"{path} cannot be written: {reason}",
        "The whole file must reach the disk",
        remedy,
    )


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
