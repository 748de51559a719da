"""Write a file or a folder of files completely or not at all."""

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from cmrrecon.tools.errors import OutputError
from cmrrecon.tools.strays import older_name, remove_strays_once, temporary_name

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


# Called with a folder that would be replaced, moved aside; raises if it must stay.
Check = Callable[[Path], None]


@contextmanager
def atomic(path: str | Path, *, may_replace: Check | None = None) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` when the block ends without an error.

    The temporary file is in the same folder, which is created if it is missing. The data are
    flushed to the disk before the rename, so a crash leaves either the old or the new file. After
    an error the temporary file is deleted. The first call for a folder in a process also deletes
    the temporary files that dead processes left there.

    Parameters
    ----------
    path : str or Path
        The file to write.
    may_replace : callable or None
        Checks a folder of that name before it is replaced, see `atomic_folder`. None never replaces
        a folder.

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
    with _beside(Path(path)) as temporary:
        yield temporary
        _synchronise(temporary)
        _put(temporary, Path(path), may_replace)


@contextmanager
def atomic_folder(path: str | Path, may_replace: Check) -> Iterator[Path]:
    """Yield a temporary folder that replaces `path` when the block ends without an error.

    A new folder appears in one step. An older one is moved aside first, because no system replaces
    a folder that has files in it. If the process dies in between, the next write in that place
    moves it back.

    Parameters
    ----------
    path : str or Path
        The folder to write.
    may_replace : callable
        Called with the older file or folder, moved aside; raises an error if it must stay.

    Yields
    ------
    Path
        The folder to write to inside the block.

    Raises
    ------
    OutputError
        As `atomic`, and the errors of `may_replace`.
    """
    with _beside(Path(path)) as temporary:
        temporary.mkdir()
        yield temporary
        for file in temporary.iterdir():
            _synchronise(file)
        _synchronise(temporary)
        _put(temporary, Path(path), may_replace)


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, and delete what is left of it."""
    temporary = target.with_name(temporary_name(target.name))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_strays_once(target.parent.absolute())
        yield temporary
    except OSError as error:
        raise output_error(target, error) from error
    finally:
        with suppress(OSError):
            _delete(temporary)

    # Some network file systems cannot synchronise folders. The output itself is safe.
    with suppress(OSError):
        _synchronise(target.parent)


def _put(mine: Path, target: Path, may_replace: Check | None) -> None:
    """Give a complete file or folder its final name."""
    if os.path.abspath(target) in _PROTECTED.get():
        if not put_first(mine, target):
            raise _exists(target)
    elif may_replace is not None and (mine.is_dir() or target.is_dir()):
        _swap(mine, target, may_replace)
    else:
        os.replace(mine, target)


@contextmanager
def never_replaced(paths: Sequence[Path]) -> Iterator[None]:
    """Within a `with` block, let `atomic` and `atomic_folder` refuse to replace these outputs.

    The check and the rename are one step, so of two processes that write the same new output only
    the first one succeeds.
    """
    token = _PROTECTED.set(frozenset(map(os.path.abspath, paths)))
    try:
        yield
    finally:
        _PROTECTED.reset(token)


def put_first(mine: Path, target: Path) -> bool:
    """Give a file or folder its final name, and return False if another process was faster."""
    try:
        if mine.is_dir():
            # A folder replaces no file, and no folder that has files in it.
            os.rename(mine, target)
        else:
            # Unlike a renamed file, a link never replaces what is there.
            os.link(mine, target)
    except OSError:
        if os.path.lexists(target):
            return False
        if mine.is_dir():
            raise
        # Some file systems know no links.
        os.replace(mine, target)
    return True


def _exists(target: Path) -> OutputError:
    return OutputError(
        "output-exists",
        f"{target} was written by another process in the meantime",
        "Outputs are replaced only on request",
        "Add --overwrite, or choose another output",
    )


def _swap(mine: Path, target: Path, may_replace: Check) -> None:
    """Replace a file or folder; put back what was there if anything goes wrong."""
    while True:
        older = target.with_name(older_name(target.name))
        try:
            with suppress(FileNotFoundError):
                os.rename(target, older)
            if os.path.lexists(older):
                may_replace(older)
            os.rename(mine, target)

        except BaseException as error:
            if os.path.lexists(older) and not os.path.lexists(target):
                os.rename(older, target)
            elif getattr(error, "errno", None) in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                # Another process has put its own output there in the meantime.
                _delete(older)
                continue
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
