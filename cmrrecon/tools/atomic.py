"""Write a file or a folder of files completely or not at all."""

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from cmrrecon.tools.errors import OutputError
from cmrrecon.tools.strays import remove_strays_once, short, temporary_name

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

# Files that must not be replaced even if they appear only now, see `never_replaced`.
_PROTECTED: ContextVar[frozenset[str]] = ContextVar("protected", default=frozenset())


@contextmanager
def atomic(path: str | Path, *, replaces_folder: bool = False) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` when the block ends without an error.

    The temporary file is in the same folder, which is created if it is missing. The data are
    flushed to the disk before the rename, so a crash leaves either the old or the new file. After
    an error the temporary file is deleted. The first call for a folder in a process also deletes
    the temporary files that dead processes left there.

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
        If the file cannot be written (`output-unwritable`), or another process has written it
        meanwhile and it is protected by `never_replaced` (`output-exists`).
    """
    target = Path(path)
    temporary = target.with_name(temporary_name(target.name))

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_strays_once(target.parent.absolute())
        yield temporary
        _synchronise(temporary)
        if replaces_folder and target.is_dir():
            _put_in_place(temporary, target)
        elif os.path.abspath(target) not in _PROTECTED.get():
            os.replace(temporary, target)
        elif not put_first(temporary, target):
            raise _exists(target)
    except OSError as error:
        raise output_error(target, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()

    # Some network file systems cannot synchronise folders. The file itself is safe.
    with suppress(OSError):
        _synchronise(target.parent)


@contextmanager
def never_replaced(paths: Sequence[Path]) -> Iterator[None]:
    """Within a `with` block, let `atomic` refuse to replace these files.

    The check and the rename are one step, so of two processes that write the same new file only the
    first one succeeds.
    """
    token = _PROTECTED.set(frozenset(map(os.path.abspath, paths)))
    try:
        yield
    finally:
        _PROTECTED.reset(token)


def put_first(mine: Path, target: Path) -> bool:
    """Give a file its final name, and return False if another process was faster."""
    try:
        # Unlike a renamed file, a link never replaces what is there.
        os.link(mine, target)
    except FileExistsError:
        return False
    except OSError:
        # Some file systems know no links.
        if os.path.lexists(target):
            return False
        os.replace(mine, target)
    return True


def _exists(target: Path) -> OutputError:
    return OutputError(
        "output-exists",
        f"{target} was written by another process in the meantime",
        "Outputs are replaced only on request",
        "Add --overwrite, or choose another output",
    )


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
        If the folder cannot be written (`output-unwritable`), or another process has written it
        meanwhile and it is protected by `never_replaced` (`output-exists`).
    """
    target = Path(path)
    temporary = target.with_name(temporary_name(target.name))

    try:
        temporary.mkdir(parents=True)
        remove_strays_once(target.parent.absolute())
        yield temporary
        for file in temporary.iterdir():
            _synchronise(file)
        _synchronise(temporary)
        if os.path.abspath(target) in _PROTECTED.get() and os.path.lexists(target):
            raise _exists(target)
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
        # Not a temporary name: until the new folder is in place, this is the only copy.
        older = target.with_name(f".{short(target.name)}.old-{secrets.token_hex(4)}")
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
