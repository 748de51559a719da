"""Jobs side by side in several processes, within the memory there is.

A worker does one job at a time and sends back what it would have printed. The main process prints
it in the order of the inputs, so that stdout is the same with any number of workers.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Self

from cmrrecon.cli.console import Console
from cmrrecon.cli.environment import allotted_memory
from cmrrecon.cli.inputs import Job
from cmrrecon.cli.running import run_jobs, without_work
from cmrrecon.cli.worker import Event, Work, serve
from cmrrecon.tools.errors import CmrreconError, MemoryShortage
from cmrrecon.tools.machine import available_memory

# Memory of a process with the libraries, and that of the work on a series over the series itself.
# `reconstruct` with the default method takes 0.85 GB in all for a series of 70 MB, other classical
# methods less; both numbers are rounded up.
LIBRARIES = 500_000_000
SERIES_HELD = 8
# Seconds that a stopped worker has to keep what is finished.
GRACE = 20.0


def run_side_by_side(
    jobs: Sequence[Job],
    begin: Callable[[], Work],
    workers: int,
    console: Console,
    *,
    fail_fast: bool = False,
    cost: Callable[[Job], float],
    memory: Callable[[Job], int],
) -> None:
    """Run jobs, several at once if asked, and end with the exit code; see `run_jobs`.

    Parameters
    ----------
    jobs : Sequence of Job
        The inputs.
    begin : Callable
        Gives the function that works on a job; called once in every process, so it must pickle.
    workers : int
        Largest number of processes; with one the work is done in this process.
    console : Console
        Where the jobs report.
    fail_fast : bool
        Whether to stop at the first failure.
    cost : Callable
        Predicted cost of a job, for the time left.
    memory : Callable
        Predicted memory of a job in bytes, besides that of the libraries.
    """
    count = min(workers, len(jobs))
    if count <= 1 or any(job.is_stream for job in jobs):
        work = begin()
        run_jobs(jobs, lambda job: work(job, console), console, fail_fast=fail_fast, cost=cost)
        return

    with Crew(jobs, begin, count, console, memory) as crew:
        run_jobs(jobs, crew.collect, console, fail_fast=fail_fast, cost=cost)


def memory_of(job: Job, *, axes: str | None, dataset: str | None) -> int:
    """Rough prediction of the bytes that work on a scan needs, besides the libraries."""
    from cmrrecon import formats
    from cmrrecon.formats.hdf5_access import sniff
    from cmrrecon.formats.kinds import HEAD
    from cmrrecon.tools.files import first_bytes

    try:
        frames, slices, coils, y, x = formats.read(job.path, axes=axes, dataset=dataset).shape
        by_slice = sniff(first_bytes(job.path, HEAD))
    except CmrreconError:
        # The worker reports what is wrong with it.
        return 0
    series = 8 * frames * coils * y * x
    # Other formats than HDF5 are read as a whole.
    return SERIES_HELD * series + (0 if by_slice else slices * series)


@dataclass
class Worker:
    """A process, the pipe to it, and the number of the job it is working on."""

    process: BaseProcess
    pipe: Connection
    job: int | None = None


class Crew:
    """Processes that work on jobs; a context manager that leaves no process behind.

    Parameters
    ----------
    jobs, begin, workers, console, memory : any
        See `run_side_by_side`.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        begin: Callable[[], Work],
        workers: int,
        console: Console,
        memory: Callable[[Job], int],
    ) -> None:
        import torch

        self.jobs, self.begin, self.limit, self.console = jobs, begin, workers, console
        self.memory = memory
        self._threads = max(1, torch.get_num_threads() // workers)
        self._available = min(available_memory(), allotted_memory(os.environ) or sys.maxsize)
        self._needs: dict[int, int] = {}
        self._workers: list[Worker] = []
        self._next = 0
        self._ended: dict[int, tuple[list[Event], CmrreconError | None]] = {}
        self._warned = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        self._stop(hurry=kind is not None)

    def collect(self, job: Job) -> None:
        """Wait for a job, print what it reported, and raise its error if it failed."""
        index = next(i for i, one in enumerate(self.jobs) if one is job)
        while index not in self._ended:
            self._hand_out()
            self._receive()

        events, failure = self._ended.pop(index)
        self._replay(events)
        if failure is not None:
            raise failure

    def _hand_out(self) -> None:
        """Give waiting jobs to idle workers, as far as memory allows."""
        while self._next < len(self.jobs):
            idle = next((worker for worker in self._workers if worker.job is None), None)
            if idle is None and len(self._workers) == self.limit:
                return
            if not self._fits(self._next, new=idle is None):
                return

            if idle is None:
                idle = self._hired()
            idle.job = self._next
            try:
                idle.pipe.send((self._next, self.jobs[self._next]))
            except OSError:
                # It died while idle; the job goes to another one.
                self._dismiss(idle)
                continue
            if self.console.batch is not None:
                self.console.batch.begin(self._next)
            self._next += 1

    def _fits(self, index: int, *, new: bool) -> bool:
        """Whether a job fits into memory beside those under way; a job alone always may run."""
        busy = [worker.job for worker in self._workers if worker.job is not None]
        if not busy:
            return True

        processes = len(self._workers) + new
        needed = sum(self._need(one) for one in (*busy, index))
        if LIBRARIES * processes + needed <= self._available:
            return True
        if not self._warned:
            self._warned = True
            number, self.console.number = self.console.number, None
            self.console.say(
                f"{self.limit} scans at once need more than the "
                f"{self._available / 1e9:.1f} GB of memory there is: fewer run side by side"
            )
            self.console.number = number
        return False

    def _need(self, index: int) -> int:
        if index not in self._needs:
            self._needs[index] = self.memory(self.jobs[index])
        return self._needs[index]

    def _hired(self) -> Worker:
        """A new worker."""
        # A fresh interpreter: threads of PyTorch do not survive a fork.
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=serve, args=(theirs, self.begin, len(self.jobs), self._threads), daemon=True
        )
        process.start()
        theirs.close()
        worker = Worker(process, ours)
        self._workers.append(worker)
        return worker

    def _receive(self) -> None:
        """Wait for the next messages of busy workers."""
        busy = {worker.pipe: worker for worker in self._workers if worker.job is not None}
        for pipe in wait(list(busy)):
            worker = busy[pipe]  # type: ignore[index]
            try:
                self._handle(worker, worker.pipe.recv())
            except (EOFError, OSError):
                self._lost(worker)

    def _handle(self, worker: Worker, message: tuple[str, Any]) -> None:
        """Take in one message of a worker."""
        kind, content = message
        assert worker.job is not None
        batch = self.console.batch

        if kind == "progress":
            if batch is not None:
                batch.reached(worker.job, *content)
            return

        events, failure = content
        self._ended[worker.job] = events, failure
        if batch is not None:
            results = [words[0] for name, words in events if name == "result"]
            idle = without_work(result.get("status", "") for result in results)
            batch.end(worker.job, worked=failure is None and not idle)
        worker.job = None

    def _lost(self, worker: Worker) -> None:
        """Note that a worker died with its job; the others go on."""
        assert worker.job is not None
        worker.process.join(1)
        code = worker.process.exitcode
        failure: CmrreconError
        if code is not None and code > 0:
            failure = CmrreconError(
                "fault",
                f"The process that worked on it ended with code {code}",
                "This must not happen",
                "Report it with the lines above",
            )
        else:
            failure = MemoryShortage(
                "memory-shortage",
                "The process that worked on it was killed",
                "Systems do so when the memory is used up",
                "Use fewer workers, or a larger machine",
            )

        self._ended[worker.job] = [], failure
        self._dismiss(worker)

    def _dismiss(self, worker: Worker) -> None:
        worker.pipe.close()
        self._workers.remove(worker)

    def _replay(self, events: Sequence[Event]) -> None:
        """Print what a job reported."""
        for name, words in events:
            getattr(self.console, name)(*words)

    def _stop(self, *, hurry: bool) -> None:
        """End all workers; busy ones keep what is finished."""
        busy = [worker for worker in self._workers if worker.job is not None]
        for worker in busy:
            worker.process.terminate()

        # What they say while they stop, such as that finished slices are kept.
        ends = time.monotonic() + GRACE
        for worker in busy:
            try:
                while worker.pipe.poll(max(0.0, ends - time.monotonic())):
                    kind, content = worker.pipe.recv()
                    if kind == "ended":
                        self._replay([event for event in content[0] if event[0] == "warn"])
                        break
            except Exception:
                # It ended, or was stopped while it sent a message.
                pass

        for worker in self._workers:
            worker.pipe.close()
        for worker in self._workers:
            worker.process.join(max(0.1, ends - time.monotonic()) if hurry else GRACE)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
