"""Run jobs in parallel in several processes, within the available memory.

A worker does one job at a time and sends its messages and results to the main process, which
prints them in the order of the inputs. Stdout is therefore the same with any number of workers.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from cmrrecon.cli.console import Console
from cmrrecon.cli.environment import allotted_memory
from cmrrecon.cli.inputs import Job
from cmrrecon.cli.running import INTERRUPTED, Failure, report_failure, run_jobs, without_work
from cmrrecon.cli.worker import GRACE, Event, Work, serve
from cmrrecon.tools.errors import CmrreconError, MemoryShortage
from cmrrecon.tools.machine import available_memory

# Memory of a process with its libraries, and memory for one series as a multiple of its size.
# `reconstruct` with the default method uses 0.85 GB in total for a series of 70 MB, other
# classical methods use less; both numbers are rounded up.
LIBRARIES = 500_000_000
SERIES_FACTOR = 8


def run_in_parallel(
    jobs: Sequence[Job],
    begin: Callable[[], Work],
    workers: int,
    console: Console,
    *,
    fail_fast: bool = False,
    cost: Callable[[Job], float],
    memory: Callable[[Job], int],
) -> None:
    """Run jobs, in parallel if `workers` allows it, and exit like `run_jobs`.

    Parameters
    ----------
    jobs : Sequence of Job
        The inputs.
    begin : Callable
        Returns the function that works on a job; called once in every process, so it must be
        picklable.
    workers : int
        Maximum number of processes; with one, the jobs run in this process.
    console : Console
        Where to report.
    fail_fast : bool
        Whether to stop at the first failure.
    cost : Callable
        Predicts the cost of a job, to estimate the time left.
    memory : Callable
        Predicts the memory of a job in bytes, without the libraries.
    """
    count = min(workers, len(jobs))
    if count <= 1 or any(job.is_stream for job in jobs):
        work = begin()
        run_jobs(jobs, lambda job: work(job, console), console, fail_fast=fail_fast, cost=cost)
        return

    pool = WorkerPool(jobs, begin, count, console, memory)
    run_jobs(jobs, pool.collect, console, fail_fast=fail_fast, cost=cost, finish=pool.stop)


def memory_of(job: Job, *, axes: str | None, dataset: str | None) -> int:
    """Return a rough prediction of the memory in bytes for a scan, without the libraries."""
    from cmrrecon import formats
    from cmrrecon.formats.hdf5_access import sniff
    from cmrrecon.formats.kinds import HEAD
    from cmrrecon.tools.files import first_bytes

    frames, slices, coils, y, x = formats.read(job.path, axes=axes, dataset=dataset).shape
    by_slice = sniff(first_bytes(job.path, HEAD))
    series = 8 * frames * coils * y * x
    # Formats other than HDF5 are read as a whole.
    return SERIES_FACTOR * series + (0 if by_slice else slices * series)


@dataclass
class Worker:
    """A process, its pipe, and the number of its current job."""

    process: BaseProcess
    pipe: Connection
    job: int | None = None


class WorkerPool:
    """Processes that work on jobs, until `stop` ends them.

    Parameters
    ----------
    jobs, begin, workers, console, memory : any
        See `run_in_parallel`.
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

    def collect(self, job: Job) -> None:
        """Wait for a job, print its messages, and raise its error if it failed."""
        index = next(i for i, one in enumerate(self.jobs) if one is job)
        while index not in self._ended:
            self._assign_jobs()
            self._receive()

        events, failure = self._ended.pop(index)
        self._replay(events)
        if failure is not None:
            raise failure

    def stop(self) -> list[Failure]:
        """End all workers, report the finished jobs, and return the failures among them.

        Busy workers keep their finished slices.
        """
        busy = [worker for worker in self._workers if worker.job is not None]
        busy.sort(key=lambda worker: worker.job or 0)
        for worker in busy:
            worker.process.terminate()

        ends = time.monotonic() + GRACE
        try:
            failures = self._report_ended()
            for worker in busy:
                self._await_end(worker, ends)
                failures += self._report_ended()
        finally:
            for worker in self._workers:
                worker.pipe.close()
            for worker in self._workers:
                worker.process.join(max(0.1, ends - time.monotonic()))
                if worker.process.is_alive():
                    worker.process.kill()
                    worker.process.join()
        return failures

    def _assign_jobs(self) -> None:
        """Assign waiting jobs to idle workers as far as memory allows."""
        while self._next < len(self.jobs):
            idle = next((worker for worker in self._workers if worker.job is None), None)
            if idle is None and len(self._workers) == self.limit:
                return
            if not self._fits(self._next, new=idle is None):
                return

            if idle is None:
                idle = self._start_worker()
            idle.job = self._next
            try:
                idle.pipe.send((self._next, self.jobs[self._next]))
            except OSError:
                # The worker died while idle, so another one gets the job.
                self._dismiss(idle)
                continue
            if self.console.batch is not None:
                self.console.batch.begin(self._next)
            self._next += 1

    def _fits(self, index: int, *, new: bool) -> bool:
        """Return whether a job fits into memory with the running ones; a single one always does."""
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
                f"{self.limit} scans in parallel need more than the available "
                f"{self._available / 1e9:.1f} GB of memory, so fewer run at a time"
            )
            self.console.number = number
        return False

    def _need(self, index: int) -> int:
        if index not in self._needs:
            try:
                self._needs[index] = self.memory(self.jobs[index])
            except Exception:
                # The worker reports the problem.
                self._needs[index] = 0
        return self._needs[index]

    def _start_worker(self) -> Worker:
        """Start a new worker."""
        # Start a fresh interpreter, because PyTorch threads do not survive a fork.
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
        """Wait for messages from busy workers and handle them."""
        busy = {worker.pipe: worker for worker in self._workers if worker.job is not None}
        for pipe in wait(list(busy)):
            worker = busy[pipe]  # type: ignore[index]
            try:
                self._handle(worker, worker.pipe.recv())
            except (EOFError, OSError):
                self._handle_death(worker)

    def _handle(self, worker: Worker, message: tuple[str, Any]) -> None:
        """Handle one message from a worker."""
        kind, content = message
        assert worker.job is not None
        batch = self.console.batch

        if kind == "progress":
            if batch is not None:
                batch.reached(worker.job, *content)
            return

        if kind == "interrupted":
            # Another program ended the worker, because `stop` receives its own messages.
            self._ended[worker.job] = _warnings(content), _terminated()
            self._dismiss(worker)
            return

        events, failure = content
        self._ended[worker.job] = events, failure
        if batch is not None:
            results = [words[0] for name, words in events if name == "result"]
            idle = without_work(result.get("status", "") for result in results)
            batch.end(worker.job, worked=failure is None and not idle)
        worker.job = None

    def _handle_death(self, worker: Worker) -> None:
        """Record that a worker died during its job; the other workers continue."""
        assert worker.job is not None
        worker.process.join(1)
        code = worker.process.exitcode
        failure: CmrreconError
        if code in (INTERRUPTED, -signal.SIGTERM):
            failure = _terminated()
        elif code is not None and code > 0:
            failure = CmrreconError(
                "fault",
                f"The worker process exited with code {code}",
                "This is a bug in cmrrecon",
                "Report it with the lines above",
            )
        else:
            failure = MemoryShortage(
                "memory-shortage",
                "The worker process was killed",
                "The system does this when it runs out of memory",
                "Use fewer workers, or a machine with more memory",
            )

        self._ended[worker.job] = [], failure
        self._dismiss(worker)

    def _dismiss(self, worker: Worker) -> None:
        worker.pipe.close()
        self._workers.remove(worker)

    def _replay(self, events: Sequence[Event]) -> None:
        """Print the messages and results of a job."""
        for name, words in events:
            getattr(self.console, name)(*words)

    def _report_ended(self) -> list[Failure]:
        """Report the ended jobs in the order of the inputs, and return the failures."""
        failures = []
        for index in sorted(self._ended):
            self.console.number = (index + 1, len(self.jobs))
            events, failure = self._ended.pop(index)
            self._replay(events)

            if failure is not None:
                name = self.jobs[index].name
                report_failure(self.console, name, failure)
                failures.append((name, failure))
        return failures

    def _await_end(self, worker: Worker, ends: float) -> None:
        """Wait for the last message of a stopped worker; one that was interrupted may warn."""
        assert worker.job is not None
        try:
            while worker.pipe.poll(max(0.0, ends - time.monotonic())):
                kind, content = worker.pipe.recv()
                if kind != "progress":
                    ended = kind == "ended"
                    self._ended[worker.job] = content if ended else (_warnings(content), None)
                    return
        except Exception:
            # The worker ended, or was stopped while sending a message.
            pass


def _warnings(events: Sequence[Event]) -> list[Event]:
    """Return the warnings of an unfinished job, such as that finished slices are kept."""
    return [event for event in events if event[0] == "warn"]


def _terminated() -> CmrreconError:
    return CmrreconError(
        "worker-terminated",
        "Another program terminated the worker process",
        "This happens when someone runs `kill`, or when a monitor protects the system's memory",
        "Run the command again, with fewer workers if memory was short",
    )
