"""Find the inputs of a command: files, folders, globs and standard input, or a shard of them."""

import glob
import itertools
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cmrrecon.cli.arrays import assumption_about_array, parse_shard
from cmrrecon.cli.shards import Part, predicted_cost, share_of
from cmrrecon.tools.atomic import output_error
from cmrrecon.tools.errors import CmrreconError, InputError
from cmrrecon.tools.files import input_error
from cmrrecon.tools.scratch import scratch_folder

if TYPE_CHECKING:
    from cmrrecon.cli.console import Console
    from cmrrecon.data import SamplingMask, Scan

STREAM = "-"


@dataclass(frozen=True)
class Job:
    """One input of a command.

    Attributes
    ----------
    name : str
        Name of the input as the user typed it, or its path if it was found.
    path : Path
        The file to read.
    folder : Path
        Folder of the file, relative to the searched folder.
    found : bool
        Whether the file was found in a folder or by a glob instead of being named.
    part : Part or None
        The slices that belong to this shard; None means all.
    """

    name: str
    path: Path
    folder: Path
    found: bool = False
    part: Part | None = None

    @property
    def is_stream(self) -> bool:
        """Whether the input comes from standard input."""
        return str(self.path) == STREAM

    @property
    def stem(self) -> str:
        """File name without suffix, for naming outputs."""
        return "stdin" if self.is_stream else self.path.stem


def natural(path: Path) -> list[tuple[int, str]]:
    """Return a sort key that puts P9 before P10."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part)
        for part in re.split(r"(\d+)", str(path))
    ]


def find_jobs(
    inputs: Sequence[str],
    wanted: Callable[[Path], bool],
    *,
    accompanies: Callable[[Path], bool] | None = None,
) -> list[Job]:
    """Return the inputs as jobs, in natural order and without duplicates.

    Named files and files that match a glob are accepted without a check. The folder of a job is
    relative to the searched folder, to the fixed part of the glob, or to the common folder of the
    named files.

    Parameters
    ----------
    inputs : Sequence of str
        Files, folders, globs, or - for standard input.
    wanted : Callable
        Returns whether to use a file found in a folder.
    accompanies : Callable or None
        Returns whether a file only accompanies another one. Such files are left out unless there
        is nothing else.

    Raises
    ------
    InputError
        If a folder or glob contains no usable file (`file-missing`).
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
                f"{text} contains no file that this command can use",
                "The input must be a file, or a folder or glob with matching files",
                "Check the path",
            )
        for job in found:
            # A file that is both found and named counts as named.
            first = jobs.setdefault(job.path.absolute(), job)
            if not job.found and first.found:
                jobs[job.path.absolute()] = replace(first, found=False)

    everything = list(jobs.values())
    if accompanies is not None and len(everything) > 1:
        main = [job for job in everything if job.is_stream or not accompanies(job.path)]
        everything = main or everything
    return everything


def cost_of(job: Job) -> int:
    """Return the predicted cost of a job, see `predicted_cost`."""
    return 1 if job.is_stream else predicted_cost(job.path)


def jobs_of_shard(
    jobs: Sequence[Job],
    shard: str | None,
    console: "Console",
    *,
    cost: Callable[[Job], int] = cost_of,
    slices: Callable[[Job], int] | None = None,
) -> list[Job]:
    """Return the jobs of a shard, in order.

    Parameters
    ----------
    jobs : Sequence of Job
        The jobs of all shards.
    shard : str or None
        The shard, see `parse_shard`; None means all jobs.
    console : Console
        Prints a warning if the shard rests on an assumption about the job array.
    cost : Callable
        Predicts the cost of a job, to balance the shards.
    slices : Callable or None
        Returns the number of slices of a job that may be split among shards; None keeps jobs
        whole.

    Raises
    ------
    UsageError
        If the shard is invalid, see `parse_shard`.
    """
    if shard is None:
        return list(jobs)

    note = assumption_about_array(shard, os.environ)
    if note is not None:
        console.warn(note)

    mine = share_of(
        [cost(job) for job in jobs],
        parse_shard(shard, os.environ),
        None if slices is None else lambda item: slices(jobs[item]),
    )
    return [replace(jobs[item], part=part) for item, part in mine.items()]


def notes_of(scan: "Scan", mask: "SamplingMask | None" = None) -> tuple[str, ...]:
    """Return the notes of the reader, without the note on a missing mask if k-space is complete.

    Parameters
    ----------
    scan : Scan
        The scan.
    mask : SamplingMask or None
        Sampling mask if it is known; None reads a slice if necessary.
    """
    from cmrrecon.data import CartesianMask
    from cmrrecon.formats.reading import NO_MASK

    others = tuple(note for note in scan.notes if not note.startswith(NO_MASK))
    if len(others) == len(scan.notes):
        return others
    found = mask or scan.mask or scan.first_series().mask
    return others if isinstance(found, CartesianMask) and found.complete else scan.notes


def _jobs_of(text: str, wanted: Callable[[Path], bool], common: Path) -> list[Job]:
    """Return the jobs for one argument of the command line."""
    path = Path(text)
    if text == STREAM:
        return [Job("standard input", path, Path())]
    if path.is_dir():
        files = (
            file
            for file in _files_below(path)
            if not _is_hidden(file.relative_to(path)) and wanted(file)
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


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and its subfolders; refuse folders that cannot be read."""

    def refuse(error: OSError) -> None:
        raise input_error(error.filename, error) from error

    for place, _, names in os.walk(folder, onerror=refuse):
        yield from (path for name in names if (path := Path(place, name)).is_file())


def _is_hidden(path: Path) -> bool:
    """Return whether a file or a folder above it is hidden, like slices of an unfinished run."""
    return any(part.startswith(".") for part in path.parts)


def _glob_root(text: str) -> Path:
    """Return the folder above the first wildcard of a glob."""
    return Path(*itertools.takewhile(lambda part: not glob.has_magic(part), Path(text).parts))


@contextmanager
def local_input(job: Job) -> Iterator[Path]:
    """Provide the file of a job within a `with` block.

    Standard input is copied to a temporary file first, because readers need to seek.
    """
    if not job.is_stream:
        yield job.path
        return

    with scratch_folder() as folder:
        path = folder / "stdin"
        try:
            with open(path, "wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        except OSError as error:
            raise output_error(path, error) from error
        try:
            yield path
        except CmrreconError as error:
            renamed = (
                text.replace(str(path), job.name)
                for text in (error.found, error.expected, error.remedy)
            )
            raise type(error)(error.code, *renamed) from error
