"""Running a command: one failing input never stops the others, and every end has its exit code."""

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from cmrrecon.cli.console import Console
from cmrrecon.cli.environment import use_allotted_threads
from cmrrecon.cli.inputs import Job
from cmrrecon.tools.errors import CmrreconError, MemoryShortage, is_memory_shortage
from cmrrecon.tools.files import input_error

INTERRUPTED = 130


@contextmanager
def command(console: Console) -> Iterator[None]:
    """The frame of every command: errors are told and give their exit code, Ctrl-C and SIGTERM give 130."""
    try:
        with faults_told(console):
            use_allotted_threads()
            yield
    except KeyboardInterrupt:
        console.warn("interrupted")
        raise typer.Exit(INTERRUPTED) from None
    except CmrreconError as error:
        console.error(error)
        console.result(failure_record("", error), None)
        raise typer.Exit(error.exit_code) from None


def run_jobs(
    jobs: Sequence[Job], work: Callable[[Job], None], console: Console, *, fail_fast: bool = False
) -> None:
    """Do `work` on every job, then end with the exit code: the failure's own for one job, 1 for several.

    `work` reports its own results through `console`.
    """
    failures: list[tuple[str, CmrreconError]] = []
    for job in jobs:
        try:
            with faults_told(console):
                work(job)
        except CmrreconError as error:
            failures.append((job.name, error))
            console.error(error, job.name)
            console.result(failure_record(job.name, error), None)
            if fail_fast:
                break
    if len(jobs) > 1 and failures:
        console.warn(
            f"{len(failures)} of {len(jobs)} inputs failed: "
            + ", ".join(name for name, _ in failures)
        )
    if failures:
        raise typer.Exit(failures[0][1].exit_code if len(jobs) == 1 else 1)


def failure_record(name: str, error: CmrreconError) -> dict[str, Any]:
    """What --json prints for an input that failed."""
    reason = {
        "code": error.code,
        "kind": error.kind,
        "found": error.found,
        "expected": error.expected,
        "remedy": error.remedy,
    }
    return {"status": "failed", "input": name, "error": reason, "exit_code": error.exit_code}


@contextmanager
def faults_told(console: Console) -> Iterator[None]:
    """Turn what went wrong into a CmrreconError; a fault of ours keeps its traceback, without local variables."""
    try:
        yield
    except (CmrreconError, KeyboardInterrupt, BrokenPipeError, typer.Exit):
        raise
    except Exception as error:
        if is_memory_shortage(error):
            raise MemoryShortage(
                "memory-shortage",
                "The memory is used up",
                "More memory is needed for this file",
                "Use a larger machine, fewer workers, or --device cpu",
            ) from error
        if isinstance(error, OSError) and error.filename is not None:
            # A path that nothing more specific has refused is no fault of the program.
            raise input_error(error.filename, error) from error
        console.traceback(traceback.format_exc())
        raise CmrreconError(
            "fault",
            f"A fault of this program: {type(error).__name__}",
            "This must not happen",
            "Report it with the lines above",
        ) from error
