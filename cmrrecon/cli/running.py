"""Run a command so that one failing input does not stop the others, and set the exit code."""

import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import typer

from cmrrecon.cli.console import Console
from cmrrecon.cli.environment import use_allotted_threads
from cmrrecon.cli.inputs import Job
from cmrrecon.cli.progress import Batch
from cmrrecon.tools.errors import CmrreconError, MemoryShortage, is_memory_shortage
from cmrrecon.tools.files import input_error

INTERRUPTED = 130
# The name of an input and its error.
Failure = tuple[str, CmrreconError]


@contextmanager
def command(console: Console) -> Iterator[None]:
    """Run the body of a command: print errors and exit with their exit code.

    Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 exit with 130.
    """
    try:
        with convert_errors(console):
            use_allotted_threads()
            yield
    except KeyboardInterrupt:
        console.warn(
            "interrupted: finished outputs are complete and others unchanged; run the same command "
            "again to go on"
        )
        raise typer.Exit(INTERRUPTED) from None
    except CmrreconError as error:
        console.error(error)
        console.result(failure_record("", error), None)
        raise typer.Exit(error.exit_code) from None


def run_jobs(
    jobs: Sequence[Job],
    work: Callable[[Job], None],
    console: Console,
    *,
    fail_fast: bool = False,
    cost: Callable[[Job], float] = lambda job: 1.0,
    finish: Callable[[], list[Failure]] = list,
) -> None:
    """Work on every job in turn, then exit with the right code.

    A single job that fails sets its own exit code; with several jobs the code is 1 if any of them
    failed. With several jobs every message on stderr shows the number of the job.

    Parameters
    ----------
    jobs : Sequence of Job
        The inputs.
    work : Callable
        Works on a job and reports its own results through `console`.
    console : Console
        Where to report failures and progress.
    fail_fast : bool
        Whether to stop at the first failure.
    cost : Callable
        Predicts the cost of a job in any unit, to estimate the time left.
    finish : Callable
        Ends the work in other processes, also after an interruption. Reports the jobs that they
        finished, and returns their failures.
    """
    failures: list[Failure] = []
    several = len(jobs) > 1
    names = [job.path.name for job in jobs]
    batch = Batch(console, names, [cost(job) for job in jobs]) if several else None

    try:
        with batch or nullcontext():
            for index, job in enumerate(jobs):
                console.number = (index + 1, len(jobs)) if several else None
                failure = _attempt(job, work, console, batch, index)
                if failure is not None:
                    failures.append((job.name, failure))
                if failure is not None and fail_fast:
                    break
    finally:
        failures += finish()
        console.number = None

    if several and failures:
        console.warn(
            f"{len(failures)} of {len(jobs)} inputs failed: "
            + ", ".join(name for name, _ in failures)
        )
    if failures:
        raise typer.Exit(1 if several else failures[0][1].exit_code)


def _attempt(
    job: Job,
    work: Callable[[Job], None],
    console: Console,
    batch: Batch | None,
    index: int,
) -> CmrreconError | None:
    """Work on one job; report and return its failure, if any."""
    counts = console.counts.copy()
    failure: CmrreconError | None = None
    if batch is not None:
        batch.begin(index)

    try:
        with convert_errors(console):
            work(job)
    except CmrreconError as error:
        failure = error
        report_failure(console, job.name, error)

    if batch is not None:
        made = console.counts - counts
        batch.end(index, worked=failure is None and not without_work(made))
    return failure


def report_failure(console: Console, name: str, error: CmrreconError) -> None:
    """Print the error of an input and its record."""
    console.error(error, name)
    console.result(failure_record(name, error), None)


def without_work(results: Iterable[str]) -> bool:
    """Return whether results were skipped, judged by their status or reason."""
    return bool({"skipped", "undersampled"} & set(results))


def failure_record(name: str, error: CmrreconError) -> dict[str, Any]:
    """Return the record that `--json` prints for a failed input."""
    reason = {
        "code": error.code,
        "kind": error.kind,
        "found": error.found,
        "expected": error.expected,
        "remedy": error.remedy,
    }
    return {"status": "failed", "input": name, "error": reason, "exit_code": error.exit_code}


@contextmanager
def convert_errors(console: Console) -> Iterator[None]:
    """Turn every error within a `with` block into a `CmrreconError`.

    For an internal error the traceback is printed first, without local variables.
    """
    try:
        yield
    except (CmrreconError, KeyboardInterrupt, BrokenPipeError, typer.Exit):
        raise
    except Exception as error:
        if is_memory_shortage(error):
            raise MemoryShortage(
                "memory-shortage",
                "The computation ran out of memory",
                "This file needs more memory than is available",
                "Use a machine with more memory, fewer workers, or --device cpu",
            ) from error

        if isinstance(error, OSError) and error.filename is not None:
            # An unusable path is a problem of the input, not an internal error.
            raise input_error(error.filename, error) from error

        console.traceback(traceback.format_exc())
        raise CmrreconError(
            "fault",
            f"An internal error occurred: {type(error).__name__}",
            "This is a bug in cmrrecon",
            "Report it with the lines above",
        ) from error
