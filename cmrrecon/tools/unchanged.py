"""Notice that a file was replaced or overwritten while it is in use."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cmrrecon.tools.errors import InputError
from cmrrecon.tools.files import input_error


@dataclass(frozen=True)
class Unchanged:
    """Some files as they were at one moment.

    Attributes
    ----------
    states : tuple of (Path, tuple of int)
        The files, each with its identity, size in bytes and time of change in ns.
    """

    states: tuple[tuple[Path, tuple[int, ...]], ...]

    @classmethod
    def of(cls, paths: Sequence[str | Path]) -> Self:
        """Note the present state of files.

        Raises
        ------
        InputError
            If a file is missing (`file-missing`) or unreadable (`file-unreadable`).
        """
        return cls(tuple((Path(path), _state(Path(path))) for path in paths))

    def check(self) -> None:
        """Refuse a file that is no longer the same.

        Raises
        ------
        InputError
            If a file was changed or replaced (`input-changed`), or vanished (`file-missing`).
        """
        for path, state in self.states:
            if _state(path) != state:
                raise InputError(
                    "input-changed",
                    f"{path} was changed or replaced while it was read",
                    "All slices of a result must come from the same file",
                    "Wait until the file is complete, and run the same command again",
                )


def _state(path: Path) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError as error:
        raise input_error(path, error) from error
    return found.st_ino, found.st_size, found.st_mtime_ns
