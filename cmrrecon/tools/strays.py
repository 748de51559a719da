"""Names of temporary files, and removal of those that dead processes left behind."""

import hashlib
import os
import re
import secrets
import shutil
import socket
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

# Temporary files of other computers are removed after this time in seconds.
DAY = 86_400
# Longest part of a name, in bytes, that is kept in hidden names; file systems allow 255.
LONGEST = 180
TEMPORARY = re.compile(r"(?:\..*\.tmp|cmrrecon)-(\d+)-(?:([0-9a-f]{8})-)?\w{8}")
# What a folder is called while another one replaces it.
OLDER = re.compile(r"\.(?P<name>.+)\.old-(\d+)-([0-9a-f]{8})-\w{8}")


def short(name: str) -> str:
    """Return a name that leaves room for the endings of hidden files; short names stay as are."""
    encoded = os.fsencode(name)
    if len(encoded) <= LONGEST:
        return name
    start = encoded[:LONGEST].decode("utf-8", errors="ignore")
    return f"{start}~{hashlib.sha256(encoded).hexdigest()[:8]}"


def temporary_name(name: str) -> str:
    """Return a hidden name that shows which process of which computer owns the file."""
    return f".{short(name)}.tmp-{owner()}-{secrets.token_hex(4)}"


def older_name(name: str) -> str:
    """Return a hidden name for a folder that is being replaced; `remove_strays` restores it."""
    return f".{short(name)}.old-{owner()}-{secrets.token_hex(4)}"


def owner() -> str:
    """Return what names of temporary files say about their process and computer."""
    return f"{os.getpid()}-{_computer()}"


def remove_strays(folder: Path) -> None:
    """Remove temporary files that dead processes left in a folder.

    A file of this computer is removed if its process is dead, another one if it has not changed for
    a day. A folder that a dead process was about to replace gets its name back, unless the new one
    is in place.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = TEMPORARY.fullmatch(entry.name)
            if found and _is_stray(entry, int(found[1]), found[2]):
                _remove(entry)
            older = OLDER.fullmatch(entry.name)
            if older and _is_stray(entry, int(older[2]), older[3]):
                _restore(entry, folder / older["name"])


@cache
def remove_strays_once(folder: Path) -> None:
    """Remove the strays in a folder, at the first call of this process for it."""
    remove_strays(folder)


def _is_stray(entry: os.DirEntry[str], process: int, computer: str | None) -> bool:
    if computer == _computer():
        return not _is_alive(process)
    with suppress(OSError):
        return time.time() - entry.stat(follow_symlinks=False).st_mtime > DAY
    return False


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        # The process belongs to somebody else.
        return True
    return True


def _remove(entry: os.DirEntry[str]) -> None:
    with suppress(OSError):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def _restore(entry: os.DirEntry[str], target: Path) -> None:
    if os.path.lexists(target):
        _remove(entry)
    else:
        with suppress(OSError):
            os.rename(entry.path, target)


@cache
def _computer() -> str:
    """Return a digest of the computer, or container, in which process numbers are unique."""
    space = ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(f"{socket.gethostname()} {space}".encode()).hexdigest()[:8]
