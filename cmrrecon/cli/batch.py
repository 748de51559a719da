"""Many inputs, one failing never stopping the others: finding them, sharding, running, and where outputs go."""

import glob
import itertools
import os
import re
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import typer

from cmrrecon.cli.console import Talk
from cmrrecon.errors import CmrreconError, InputError, MemoryShortage, OutputError, UsageError

INTERRUPTED = 130
STREAM = "-"


@dataclass(frozen=True)
class Job:
    """One input: how the user named it, the file to read, and its folder below the searched one."""

    name: str
    path: Path
    folder: Path

    @property
    def stem(self) -> str:
        """The file name without its suffix, for naming outputs."""
        return "stdin" if str(self.path) == STREAM else self.path.stem


def natural(path: Path) -> list[tuple[int, str]]:
    """Sort key by which P9 stands before P10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def find_jobs(inputs: Sequence[str], wanted: Callable[[Path], bool], shard: str | None = None) -> list[Job]:
    """The inputs as jobs, in natural order and without repetition.

    Folders are searched for files that are `wanted`; named files and globs are taken as they are.
    A job's folder is relative to the searched folder, the glob's fixed part, or what the named files have in common.

    Raises
    ------
    InputError : a file is missing, or a folder or glob holds nothing to work on
    UsageError : the shard makes no sense
    """
    jobs: dict[Path, Job] = {}
    named = [os.path.abspath(text) for text in inputs if os.path.isfile(text)]
    common = Path(os.path.commonpath([os.path.dirname(path) for path in named])) if named else Path()
    for text in inputs:
        path = Path(text)
        if text == STREAM:
            found = [Job("standard input", path, Path())]
        elif path.is_dir():
            files = (f for f in path.rglob("*") if f.is_file() and not f.name.startswith(".") and wanted(f))
            found = [Job(str(f), f, f.parent.relative_to(path)) for f in sorted(files, key=natural)]
        elif path.is_file():
            found = [Job(text, path, path.absolute().parent.relative_to(common))]
        elif path.exists() or not glob.has_magic(text):
            found = [Job(text, path, Path())]
        else:
            root = _glob_root(text)
            files = (Path(f) for f in glob.glob(text, recursive=True))
            found = [Job(str(f), f, f.parent.relative_to(root)) for f in sorted(files, key=natural) if f.is_file()]
        if not found:
            raise InputError(
                f"{text} holds no file to work on", "A file, a folder or a glob with matching files was expected", "Check the path"
            )
        jobs.update({job.path: job for job in found})
    return _part(list(jobs.values()), shard) if shard else list(jobs.values())


def _glob_root(text: str) -> Path:
    """The folder above the first wildcard of a glob."""
    return Path(*itertools.takewhile(lambda part: not glob.has_magic(part), Path(text).parts))


def _part(jobs: list[Job], shard: str) -> list[Job]:
    """Part i of n (1-based), dealt out in turn; `auto` takes both from the Slurm job array."""
    if shard == "auto":
        task, first, count = (os.environ.get(f"SLURM_ARRAY_TASK_{name}", "") for name in ("ID", "MIN", "COUNT"))
        if not (task.isdigit() and count.isdigit()):
            raise UsageError(
                "--shard auto found no Slurm job array",
                "SLURM_ARRAY_TASK_ID and _COUNT must be set",
                "Use sbatch --array, or give --shard i/n",
            )
        index, total = int(task) - int(first or 0) + 1, int(count)
    else:
        match = re.fullmatch(r"(\d+)/(\d+)", shard)
        index, total = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= index <= total:
        raise UsageError(f"The shard is {shard!r}", "It must be i/n with 1 <= i <= n, or auto", "Use for example --shard 1/4")
    return jobs[index - 1 :: total]


def run_jobs(jobs: Sequence[Job], work: Callable[[Job], None], talk: Talk, *, fail_fast: bool = False) -> None:
    """Do `work` on every job, then end with the exit code: the failure's own for one job, 1 for several.

    `work` reports its own results through `talk`.
    """
    failures: list[tuple[str, CmrreconError]] = []
    for job in jobs:
        try:
            with faults_told(talk):
                work(job)
        except CmrreconError as error:
            failures.append((job.name, error))
            talk.error(error)
            talk.result(failure_record(job.name, error), None)
            if fail_fast:
                break
    if len(jobs) > 1 and failures:
        talk.warn(f"{len(failures)} of {len(jobs)} inputs failed: " + ", ".join(name for name, _ in failures))
    if failures:
        raise typer.Exit(failures[0][1].exit_code if len(jobs) == 1 else 1)


def failure_record(name: str, error: CmrreconError) -> dict[str, Any]:
    """What --json prints for an input that failed."""
    reason = {"kind": error.kind, "found": error.found, "expected": error.expected, "remedy": error.remedy}
    return {"status": "failed", "input": name, "error": reason, "exit_code": error.exit_code}


@contextmanager
def faults_told(talk: Talk) -> Iterator[None]:
    """Turn what went wrong into a CmrreconError; a fault of ours keeps its traceback, without local variables."""
    try:
        yield
    except (CmrreconError, KeyboardInterrupt, BrokenPipeError, typer.Exit):
        raise
    except MemoryError as error:
        raise MemoryShortage(
            "The memory of this machine is used up", "More memory is needed", "Use a smaller file or a larger node"
        ) from error
    except Exception as error:
        talk.traceback(traceback.format_exc())
        raise CmrreconError(
            f"A fault of this program: {type(error).__name__}", "This must not happen", "Report it with the lines above"
        ) from error


@contextmanager
def command(talk: Talk) -> Iterator[None]:
    """The frame of every command: errors are told and give their exit code, Ctrl-C and SIGTERM give 130."""
    try:
        with faults_told(talk):
            yield
    except KeyboardInterrupt:
        talk.warn("interrupted")
        raise typer.Exit(INTERRUPTED) from None
    except CmrreconError as error:
        talk.error(error)
        talk.result(failure_record("", error), None)
        raise typer.Exit(error.exit_code) from None


@contextmanager
def local_input(job: Job) -> Iterator[Path]:
    """The file of a job; standard input is first copied to a temporary file, as formats need to seek."""
    if str(job.path) != STREAM:
        yield job.path
        return
    with tempfile.TemporaryDirectory(prefix="cmrrecon-") as folder:
        path = Path(folder) / "stdin"
        with open(path, "wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield path


@contextmanager
def local_output(target: Path) -> Iterator[Path]:
    """A file to write; for standard output a temporary own .h5 file that is copied there at the end."""
    if str(target) != STREAM:
        yield target
        return
    with tempfile.TemporaryDirectory(prefix="cmrrecon-") as folder:
        path = Path(folder) / "stdout.h5"
        yield path
        with open(path, "rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def check_output(output: str | None, out_dir: Path | None, jobs: int, what: Literal["a scan", "images"], *, as_json: bool) -> None:
    """Refuse output options that contradict each other, name no format, or would flood a terminal."""
    if output is not None and out_dir is not None:
        raise UsageError("Both -o and --out-dir were given", "One of them says where the output goes", "Leave one out")
    if output is not None and jobs != 1:
        raise UsageError(f"-o names one file, but there are {jobs} inputs", "Several inputs need a folder", "Use --out-dir")
    if output not in (None, STREAM):
        from cmrrecon import formats

        formats.check_suffix(output, what)
    if output == STREAM and as_json:
        raise UsageError("-o - and --json both want standard output", "One stream carries one thing", "Leave --json out")
    if output == STREAM and sys.stdout.isatty():
        raise UsageError("Standard output is a terminal", "A scan is binary and wants a pipe or a file", "Add | and the next command")


def destination(job: Job, output: str | None, out_dir: Path | None, name: str) -> Path:
    """Where the output of a job goes: -o, else `name` below --out-dir, else `name` beside the input."""
    if output is not None:
        return Path(output)
    if out_dir is not None:
        return out_dir / job.folder / name
    return (Path() if str(job.path) == STREAM else job.path.parent) / name


def already_made(target: Path, recipe: str, *, overwrite: bool) -> bool:
    """Whether `target` was finished earlier by the same recipe and need not be made again.

    Raises
    ------
    OutputError : it exists but was made in another way, and --overwrite was not given
    """
    if overwrite or str(target) == STREAM or not target.exists():
        return False
    from cmrrecon import formats, provenance

    stamp = formats.read_provenance(target)
    if stamp is not None and provenance.recipe_hash(stamp) == recipe:
        return True
    raise OutputError(
        f"{target} exists and was made from another input or with other settings",
        "Outputs are replaced only on request",
        "Add --overwrite, or name another output",
    )


class Stopwatch:
    """Seconds since it was made, rounded for reports."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def seconds(self) -> float:
        """Seconds so far."""
        return round(time.monotonic() - self._start, 2)
