"""The inputs of a command: files, folders, globs and standard input, and the share of this task."""

import glob
import itertools
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cmrrecon.cli.arrays import parse_shard
from cmrrecon.cli.shards import Part, predicted_cost, shared
from cmrrecon.tools.errors import CmrreconError, InputError

if TYPE_CHECKING:
    from cmrrecon.data import SamplingMask, Scan

STREAM = "-"


@dataclass(frozen=True)
class Job:
    """One input.

    Attributes
    ----------
    name : str
        The input as the user named it.
    path : Path
        The file to read.
    folder : Path
        The folder of the file below the searched folder.
    found : bool
        Whether the file was found in a folder or by a glob, not named itself.
    part : Part or None
        Which slices belong to this shard; None: all.
    """

    name: str
    path: Path
    folder: Path
    found: bool = False
    part: Part | None = None

    @property
    def is_stream(self) -> bool:
        """Whether it comes from standard input."""
        return str(self.path) == STREAM

    @property
    def stem(self) -> str:
        """The file name without its suffix, for naming outputs."""
        return "stdin" if self.is_stream else self.path.stem


def natural(path: Path) -> list[tuple[int, str]]:
    """Sort key that puts P9 before P10."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part)
        for part in re.split(r"(\d+)", str(path))
    ]


def find_jobs(
    inputs: Sequence[str],
    wanted: Callable[[Path], bool],
    shard: str | None = None,
    *,
    cost: Callable[[Job], int] | None = None,
    slices: Callable[[Job], int] | None = None,
) -> list[Job]:
    """The inputs as jobs, in natural order and without repetition.

    Named files and globs are accepted as they are. A job's folder is relative to the searched
    folder, to the fixed part of the glob, or to the common folder of the named files.

    Parameters
    ----------
    inputs : Sequence of str
        Files, folders, globs, or - for standard input.
    wanted : Callable
        Which files of a folder count.
    shard : str or None
        Which part of the inputs, see `parse_shard`; None: all.
    cost : Callable or None
        Predicted cost of a job, by which shards are balanced; None: `cost_of`.
    slices : Callable or None
        Number of slices of a job that may be split among shards; None: jobs stay whole.

    Raises
    ------
    InputError
        If a folder or glob has no file to work on (`file-missing`).
    UsageError
        If the shard makes no sense, see `parse_shard`.
    """
    jobs: dict[Path, Job] = {}
    named = [os.path.abspath(text) for text in inputs if os.path.isfile(text)]
    common = (
        Path(os.path.commonpath([os.path.dirname(path) for path in named])) if named else Path()
    )

    for text in inputs:
        found = _jobs_of(text, wanted, common)
        if not found:
            raise InputError(
                "file-missing",
                f"{text} has no file to work on",
                "A file, a folder or a glob with matching files was expected",
                "Check the path",
            )
        for job in found:
            # A file that is named as well counts as named.
            first = jobs.setdefault(job.path.absolute(), job)
            if not job.found and first.found:
                jobs[job.path.absolute()] = replace(first, found=False)

    everything = list(jobs.values())
    if shard is None:
        return everything
    part = parse_shard(shard, os.environ)
    counts = slices
    mine = shared(
        [(cost or cost_of)(job) for job in everything],
        part,
        None if counts is None else lambda item: counts(everything[item]),
    )
    return [replace(everything[item], part=slot) for item, slot in mine.items()]


def cost_of(job: Job) -> int:
    """The predicted cost of a job, see `predicted_cost`."""
    return 1 if job.is_stream else predicted_cost(job.path)


def notes_of(scan: "Scan", mask: "SamplingMask | None" = None) -> tuple[str, ...]:
    """The notes of the reader, without that of a missing mask where everything was measured.

    Parameters
    ----------
    scan : Scan
        The scan.
    mask : SamplingMask or None
        What was measured, if it is known; None: a slice is read if need be.
    """
    from cmrrecon.data import CartesianMask
    from cmrrecon.formats.reading import NO_MASK

    others = tuple(note for note in scan.notes if not note.startswith(NO_MASK))
    if len(others) == len(scan.notes):
        return others
    found = mask or scan.mask or scan.first_series().mask
    return others if isinstance(found, CartesianMask) and found.complete else scan.notes


def _jobs_of(text: str, wanted: Callable[[Path], bool], common: Path) -> list[Job]:
    """The jobs that one word of the command line stands for."""
    path = Path(text)
    if text == STREAM:
        return [Job("standard input", path, Path())]
    if path.is_dir():
        files = (
            file
            for file in path.rglob("*")
            if file.is_file() and not _is_hidden(file.relative_to(path)) and wanted(file)
        )
        return [
            Job(str(file), file, file.parent.relative_to(path), found=True)
            for file in sorted(files, key=natural)
        ]

    if path.is_file():
        return [Job(text, path, Path(os.path.abspath(text)).parent.relative_to(common))]
    if not glob.has_magic(text):
        return [Job(text, path, Path())]

    root = _glob_root(text)
    matches = (Path(file) for file in glob.glob(text, recursive=True))
    return [
        Job(str(file), file, file.parent.relative_to(root), found=True)
        for file in sorted(matches, key=natural)
        if file.is_file()
    ]


def _is_hidden(path: Path) -> bool:
    """Whether a file or a folder above it is hidden, such as the slices of unfinished outputs."""
    return any(part.startswith(".") for part in path.parts)


def _glob_root(text: str) -> Path:
    """The folder above the first wildcard of a glob."""
    return Path(*itertools.takewhile(lambda part: not glob.has_magic(part), Path(text).parts))


@contextmanager
def local_input(job: Job) -> Iterator[Path]:
    """A `with` block with the file of a job.

    Standard input is first copied to a temporary file, because readers need to seek.
    """
    if not job.is_stream:
        yield job.path
        return

    with tempfile.TemporaryDirectory(prefix="cmrrecon-") as folder:
        path = Path(folder) / "stdin"
        with open(path, "wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        try:
            yield path
        except CmrreconError as error:
            renamed = (
                text.replace(str(path), job.name)
                for text in (error.found, error.expected, error.remedy)
            )
            raise type(error)(error.code, *renamed) from error
