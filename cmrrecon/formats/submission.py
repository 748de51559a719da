"""The package that a CMRxRecon challenge of 2023, 2024 or 2025 expects: names, files and zip.

The rules are those of the validation phase. The folders of the test phase are not published: there,
a container reads `/input` and writes `/output`. Scans of a folder `TestSet` keep this name.

References
----------
CmrxRecon/CMRxRecon, ChallengeDataFormat/SubmissionFormat_Task1.txt (2023);
CmrxRecon/CMRxRecon2024 and CMRxRecon2025, Submission/Readme.md.
"""

import io
import re
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrrecon.data import Acquisition
from cmrrecon.formats.names import is_timeless, kus_name, modality_of
from cmrrecon.formats.stored_facts import is_plain
from cmrrecon.tools.atomic import atomic
from cmrrecon.tools.errors import InputError

VARIABLE = "img4ranking"
TASKS: dict[int, tuple[str, ...]] = {
    2023: (),
    2024: ("Task1", "Task2"),
    2025: ("TaskR1", "TaskR2", "TaskS1", "TaskS2"),
}
ACCELERATIONS_2023 = (4, 8, 10)
# What each year's path is made of; the centre and vendor exist only in 2025.
NEEDED = {
    2023: ("base", "subject", "acceleration"),
    2024: ("base", "subject", "pattern", "acceleration"),
    2025: ("base", "subject", "centre", "vendor", "pattern", "acceleration"),
}

# Fixed bytes in place of the date, so that the same images give the same file.
DESCRIPTION = b"MATLAB 5.0 MAT-file, written by cmrrecon".ljust(116)
EARLIEST = (1980, 1, 1, 0, 0, 0)  # the first date that a zip file can state
PERMISSIONS = 0o100644 << 16


def task_of(path: Path, year: int) -> str | None:
    """Return the task that a path names, such as TaskR1 in `UnderSample_TaskR1`; None without."""
    names = "|".join(TASKS[year])
    if not names:
        return None
    folders = reversed(path.absolute().parts[:-1])
    found = (re.fullmatch(rf"(?:UnderSample_)?({names})", folder) for folder in folders)
    return next((match[1] for match in found if match), None)


def member_name(facts: Acquisition, year: int, task: str | None) -> str:
    """Return the path of a scan's images inside the zip.

    Parameters
    ----------
    facts : Acquisition
        Facts about the scan.
    year : int
        2023, 2024 or 2025.
    task : str or None
        Task of the challenge. None: in 2024 the pattern decides (`Uniform` is Task 1); 2023 has no
        tasks in its paths.

    Returns
    -------
    str
        The path, with `/` between the folders.

    Raises
    ------
    InputError
        If a fact that the path contains is not known or does not exist in that year
        (`submission-place`).
    """
    if task is None and year == 2024 and facts.pattern is not None:
        task = "Task1" if facts.pattern == "uniform" else "Task2"
    _check_facts(facts, year, task)
    modality = modality_of(facts.base)
    assert modality is not None
    assert facts.subject is not None
    assert facts.acceleration is not None

    split = facts.split if facts.split == "TestSet" else "ValidationSet"
    if year == 2023:
        coil = "SingleCoil" if facts.coil == "single" else "MultiCoil"
        factor = f"AccFactor{int(facts.acceleration):02d}"
        folders = ("Submission", coil, modality, split, factor)
        return _path(*folders, facts.subject, f"{facts.base}.mat")

    assert task is not None
    name = kus_name(facts.base, facts.pattern, facts.acceleration)
    if year == 2024:
        return _path(modality, split, task, facts.subject, name)

    assert facts.centre is not None
    assert facts.vendor is not None
    folders = (task, "MultiCoil", modality, split, f"UnderSample_{task}")
    return _path(*folders, facts.centre, facts.vendor, facts.subject, name)


def _path(*parts: str) -> str:
    """Join the names of folders and file; refuse a name that leads elsewhere."""
    if not all(map(is_plain, parts)):
        raise _no_place("A name in it contains a path", "Folders and files have plain names")
    return str(PurePosixPath(*parts))


def _check_facts(facts: Acquisition, year: int, task: str | None) -> None:
    """Refuse a scan whose place in the challenge is not known."""
    if facts.year is not None and facts.year != year:
        raise _no_place(
            f"It belongs to the challenge of {facts.year}", f"All files must be of {year}"
        )

    missing = [name for name in NEEDED[year] if getattr(facts, name) is None]
    if modality_of(facts.base) is None:
        missing.append("modality")
    if TASKS[year] and task is None:
        missing.append("task")
    if missing:
        raise _no_place(
            f"Its {', '.join(missing)} cannot be found",
            f"The path in a package of {year} has {', '.join(NEEDED[year])}, modality"
            + (" and task" if TASKS[year] else ""),
        )

    if year == 2023 and facts.acceleration not in ACCELERATIONS_2023:
        raise _no_place(
            f"Its acceleration is {facts.acceleration:g}",
            f"The accelerations of 2023 are {', '.join(map(str, ACCELERATIONS_2023))}",
        )


def _no_place(found: str, expected: str) -> InputError:
    remedy = "Keep the folders of the challenge, or name the task with --task"
    return InputError("submission-place", found, expected, remedy)


def ranking_array(magnitudes: NDArray[np.float32], base: str) -> NDArray[np.float32]:
    """Put magnitudes (frame, slice, y, x) in MATLAB's order: (x, y, slice, frame).

    Images of blackblood, T1w and T2w have no frame axis.
    """
    array = magnitudes.transpose(3, 2, 1, 0)
    return array[..., 0] if is_timeless(base) and array.shape[3] == 1 else array


def matlab_bytes(array: NDArray[np.float32]) -> bytes:
    """Return a MATLAB 5 file with `img4ranking`; the same array always gives the same bytes."""
    from scipy.io import savemat  # slow to import, and only needed here

    buffer = io.BytesIO()
    savemat(buffer, {VARIABLE: np.asarray(array, np.float32)}, do_compression=True)
    content = buffer.getvalue()
    return DESCRIPTION + content[len(DESCRIPTION) :]


class Package(AbstractContextManager["Package"]):
    """Writes the files of a package into a zip file or a folder.

    The zip file is written completely or not at all; a folder gets one complete file at a time.

    Parameters
    ----------
    target : Path
        The zip file, or a folder if the name does not end in `.zip`.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.stack = ExitStack()
        self.put: Callable[[str, bytes], None] = self._to_folder

    def __enter__(self) -> "Package":
        if is_zip(self.target):
            temporary = self.stack.enter_context(atomic(self.target))
            self.zip = self.stack.enter_context(zipfile.ZipFile(temporary, "w"))
            self.put = self._to_zip
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return self.stack.__exit__(kind, error, trace)

    def _to_zip(self, name: str, content: bytes) -> None:
        # MATLAB files are compressed already.
        entry = zipfile.ZipInfo(name, EARLIEST)
        entry.external_attr = PERMISSIONS
        entry.create_system = 3  # Unix, whatever the system is
        self.zip.writestr(entry, content, zipfile.ZIP_STORED)

    def _to_folder(self, name: str, content: bytes) -> None:
        with atomic(self.target / name) as temporary:
            temporary.write_bytes(content)


def is_zip(target: Path) -> bool:
    """Return whether a package is a zip file; otherwise it is a folder."""
    return target.suffix.lower() == ".zip"


def stored_array(content: bytes) -> NDArray[Any]:
    """Read `img4ranking` the way the challenge's scorer does, to check what was packed."""
    from scipy.io import loadmat

    return np.asarray(loadmat(io.BytesIO(content))[VARIABLE])
