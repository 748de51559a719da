"""Errors that a user can cause, each with its exit code.

Every message has three short sentences: what was found, what was expected, what to do next. The
sentences may name files, shapes and axes, but never quote the content of a file.
"""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that the user may have meant, or "" if none is similar.

    A name that starts with `name` takes precedence over names that are merely similar.
    """
    names = list(known)
    completions = [other for other in names if name and other.startswith(name)]
    similar = completions or difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    return similar[0] if similar else ""


def suggestion(name: str, known: Iterable[str], otherwise: str) -> str:
    """Return the remedy for an unknown name: the nearest known name, else `otherwise`."""
    near = nearest(name, known)
    return f"You may have meant {near}" if near else otherwise


def is_memory_shortage(error: BaseException) -> bool:
    """Return whether an error means that memory ran out.

    This covers Python, PyTorch on a GPU or the CPU, and a worker process that was killed. Errors
    are recognised by name, so that no library has to be loaded.
    """
    names = ("OutOfMemoryError", "BrokenProcessPool")
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ in names
        or "DefaultCPUAllocator" in str(error)
    )


class CmrreconError(Exception):
    """Base class of all errors that are shown to the user without a traceback.

    Parameters
    ----------
    code : str
        Stable identifier in kebab-case, such as `mask-shape`. Programs and tests rely on it; the
        sentences may improve.
    found, expected, remedy : str
        One short sentence each, without the final full stop.
    """

    exit_code = 1
    kind = "error"

    def __init__(self, code: str, found: str, expected: str, remedy: str) -> None:
        self.code, self.found, self.expected, self.remedy = code, found, expected, remedy
        super().__init__(" ".join(f"{s.rstrip('.')}." for s in (found, expected, remedy)))

    def __reduce__(self) -> tuple[type, tuple[str, str, str, str]]:
        return type(self), (self.code, self.found, self.expected, self.remedy)


class OutputError(CmrreconError):
    """A result cannot be written, for example because the disk is full."""

    exit_code = 1
    kind = "output"


class UsageError(CmrreconError):
    """The command line, an option or a configuration is wrong."""

    exit_code = 2
    kind = "usage"


class InputError(CmrreconError):
    """A file cannot be read, or its content cannot be used."""

    exit_code = 3
    kind = "input"


class MemoryShortage(CmrreconError):
    """The machine or the device has too little memory."""

    exit_code = 4
    kind = "memory"


class NumericalError(CmrreconError):
    """A computation produced NaN or infinity."""

    exit_code = 5
    kind = "numerical"
