"""What a command is to work on: files, folders, globs and standard input, and which part of them is this task's."""

import glob
import itertools
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cmrrecon.tools.errors import CmrreconError, InputError, UsageError

STREAM = "-"


@dataclass(frozen=True)
class Job:
    """One input: how the user named it, the file to read, and its folder below the searched one."""

    name: str
    path: Path
    folder: Path

    @property
    def is_stream(self) -> bool:
        """Whether it comes from standard input."""
        return str(self.path) == STREAM

    @property
    def stem(self) -> str:
        """The file name without its suffix, for naming outputs."""
        return "stdin" if self.is_stream else self.path.stem


def natural(path: Path) -> list[tuple[int, str]]:
    """Sort key by which P9 stands before P10."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part)
        for part in re.split(r"(\d+)", str(path))
    ]


def find_jobs(
    inputs: Sequence[str], wanted: Callable[[Path], bool], shard: str | None = None
) -> list[Job]:
    """The inputs as jobs, in natural order and without repetition.

    Folders are searched for files that are `wanted`; named files and globs are taken as they are.
    A job's folder is relative to the searched folder, the glob's fixed part, or what the named files have in common.

    Raises
    ------
    InputError : a folder or glob holds nothing to work on
    UsageError : the shard makes no sense
    """
    jobs: dict[Path, Job] = {}
    named = [os.path.abspath(text) for text in inputs if os.path.isfile(text)]
    common = (
        Path(os.path.commonpath([os.path.dirname(path) for path in named])) if named else Path()
    )
    for text in inputs:
        path = Path(text)
        if text == STREAM:
            found = [Job("standard input", path, Path())]
        elif path.is_dir():
            files = (
                f
                for f in path.rglob("*")
                if f.is_file() and not f.name.startswith(".") and wanted(f)
            )
            found = [Job(str(f), f, f.parent.relative_to(path)) for f in sorted(files, key=natural)]
        elif path.is_file():
            found = [Job(text, path, Path(os.path.abspath(text)).parent.relative_to(common))]
        elif not glob.has_magic(text):
            found = [Job(text, path, Path())]
        else:
            root = _glob_root(text)
            matches = (Path(f) for f in glob.glob(text, recursive=True))
            found = [
                Job(str(f), f, f.parent.relative_to(root))
                for f in sorted(matches, key=natural)
                if f.is_file()
            ]
        if not found:
            raise InputError(
                "file-missing",
                f"{text} holds no file to work on",
                "A file, a folder or a glob with matching files was expected",
                "Check the path",
            )
        jobs.update({job.path.absolute(): job for job in found})
    return _part(list(jobs.values()), shard) if shard else list(jobs.values())


def _glob_root(text: str) -> Path:
    """The folder above the first wildcard of a glob."""
    return Path(*itertools.takewhile(lambda part: not glob.has_magic(part), Path(text).parts))


def _part(jobs: list[Job], shard: str) -> list[Job]:
    """Part i of n (1-based), dealt out in turn; `auto` takes both from the Slurm job array."""
    if shard == "auto":
        task, first, step, count = (
            os.environ.get(f"SLURM_ARRAY_TASK_{name}", "")
            for name in ("ID", "MIN", "STEP", "COUNT")
        )
        if not (task.isdecimal() and count.isdecimal()):
            raise UsageError(
                "slurm-array-missing",
                "--shard auto found no Slurm job array",
                "SLURM_ARRAY_TASK_ID and _COUNT must be set",
                "Use sbatch --array, or give --shard i/n",
            )
        index, total = (int(task) - int(first or 0)) // int(step or 1) + 1, int(count)
        if index > total:
            raise UsageError(
                "slurm-array-uneven",
                f"--shard auto found task {task} of an array of {total} that starts at {first or 0}",
                "The tasks of the array must be evenly spaced",
                "Use an array such as --array=1-64, or give --shard i/n",
            )
    else:
        match = re.fullmatch(r"(\d+)/(\d+)", shard)
        index, total = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= index <= total:
        raise UsageError(
            "option-value",
            f"The shard is {shard!r}",
            "It must be i/n with 1 <= i <= n, or auto",
            "Use for example --shard 1/4",
        )
    return jobs[index - 1 :: total]


@contextmanager
def local_input(job: Job) -> Iterator[Path]:
    """The file of a job; standard input is first copied to a temporary file, as formats need to seek."""
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
            told = (
                text.replace(str(path), job.name)
                for text in (error.found, error.expected, error.remedy)
            )
            raise type(error)(error.code, *told) from error
