"""Write a file or a folder of files completely or not at all."""

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cmrrecon.tools.errors import OutputError

# errno -> (what was found, what to do next). Other errors keep the text of the system.
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
    errno.EISDIR: ("a folder of that name already exists", "Choose another file name"),
    errno.ENOTDIR: ("part of the path is a file, not a folder", "Choose another folder"),
    errno.EEXIST: ("part of the path is a file, not a folder", "Choose another folder"),
    errno.ENAMETOOLONG: ("the name is too long", "Choose a shorter file name"),
}


@contextmanager
def atomic(path: str | Path, *, replaces_folder: bool = False) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` when the block ends without an error.

    The temporary file is in the same folder, which is created if it is missing. The data are
    flushed to the disk before the rename, so a crash leaves either the old or the new file. After
    an error the temporary file is deleted.

    Parameters
    ----------
    path : str or Path
        The file to write.
    replaces_folder : bool
        Whether the file may replace a folder, which is deleted with all its files.

    Yields
    ------
    Path
        The path to write to inside the block.

    Raises
    ------
    OutputError
        If the file cannot be written (`output-unwritable`).
    """
    target = Path(path)
    temporary = _beside(target, "tmp")

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _synchronise(temporary)
        if replaces_folder and target.is_dir():
            _put_in_place(temporary, target)
        else:
            os.replace(temporary, target)
    except OSError as error:
        raise output_error(target, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()

    # Some network file systems cannot synchronise folders. The file itself is safe.
    with suppress(OSError):
        _synchronise(target.parent)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces `path` when the block ends without an error.

    A new folder appears in one step. An older folder or file of that name is renamed first and
    deleted afterwards, because no system replaces a folder that has files in it; the caller makes
    sure that it may be deleted.

    Parameters
    ----------
    path : str or Path
        The folder to write.

    Yields
    ------
    Path
        The folder to write to inside the block.

    Raises
    ------
    OutputError
        If the folder cannot be written (`output-unwritable`).
    """
    target = Path(path)
    temporary = _beside(target, "tmp")

    try:
        temporary.mkdir(parents=True)
        yield temporary
        for file in temporary.iterdir():
            _synchronise(file)
        _synchronise(temporary)
        _put_in_place(temporary, target)
    except OSError as error:
        raise output_error(target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)

    with suppress(OSError):
        _synchronise(target.parent)


def _put_in_place(temporary: Path, target: Path) -> None:
    """Rename a file or folder; delete what was there, or put it back if the renaming fails."""
    while True:
        older = _beside(target, "old")
        with suppress(FileNotFoundError):
            os.rename(target, older)

        try:
            os.rename(temporary, target)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                # Another process has put its own folder there in the meantime.
                _delete(older)
                continue
            with suppress(FileNotFoundError):
                os.rename(older, target)
            raise

        _delete(older)
        return


def _delete(path: Path) -> None:
    """Delete a file or a folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _beside(target: Path, purpose: str) -> Path:
    """Return a hidden name in the same folder that no other process uses."""
    return target.with_name(f".{target.name}.{purpose}-{os.getpid()}-{secrets.token_hex(4)}")


def output_error(path: Path, error: OSError) -> OutputError:
    """Return the error for a failed write."""
    # HDF5 hides the system's error number in its text.
    in_text = re.search(r"errno = (\d+)", str(error))
    number = error.errno or (int(in_text[1]) if in_text else 0)
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
