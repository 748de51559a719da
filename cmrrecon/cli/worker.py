"""The side of a worker process: it works on jobs, and sends back what they would have printed."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any

from cmrrecon.cli.console import Console
from cmrrecon.cli.inputs import Job
from cmrrecon.cli.progress import PartProgress, Progress
from cmrrecon.cli.running import INTERRUPTED, faults_reported
from cmrrecon.tools.errors import CmrreconError

Work = Callable[[Job, Console], None]
# What a job printed: the method of `Console`, and its arguments.
Event = tuple[str, tuple[Any, ...]]


class Relay(Console):
    """The console of a worker: keeps what a job prints, and sends its progress at once.

    Parameters
    ----------
    pipe : Connection
        The way to the main process.
    number : tuple of int
        Number and count of the job.
    """

    def __init__(self, pipe: Connection, number: tuple[int, int]) -> None:
        super().__init__(verbose=True)
        self.pipe, self.number = pipe, number
        self.events: list[Event] = []

    def say(self, message: str) -> None:
        """Keep a line of information."""
        self.events.append(("say", (message,)))

    def detail(self, message: str) -> None:
        """Keep a detail."""
        self.events.append(("detail", (message,)))

    def warn(self, message: str) -> None:
        """Keep a warning."""
        self.events.append(("warn", (message,)))

    def error(self, error: CmrreconError, source: str = "") -> None:
        """Keep a failure."""
        self.events.append(("error", (error, source)))

    def traceback(self, text: str) -> None:
        """Keep a traceback."""
        self.events.append(("traceback", (text,)))

    def result(self, record: Any, line: str | None) -> None:
        """Keep a result."""
        from cmrrecon.tools.provenance import plain

        self.events.append(("result", (plain(record), line)))

    def table(self, title: str, columns: Any, rows: Any) -> None:
        """Keep a table."""
        self.events.append(("table", (title, list(columns), [list(row) for row in rows])))

    def progress(self, label: str, total: int, unit: str, *, counts: bool = True) -> Progress:
        """Steps that are sent to the main process."""

        def report(fraction: float | None, note: str, free: float) -> None:
            self.pipe.send(("progress", (fraction, note, free)))

        return PartProgress(label, total, unit, report, counts=counts)


def serve(pipe: Connection, begin: Callable[[], Work], count: int, threads: int) -> None:
    """Work on jobs one after the other, until the pipe closes.

    Parameters
    ----------
    pipe : Connection
        The way to the main process.
    begin : Callable
        Gives the function that works on a job.
    count : int
        Number of all jobs.
    threads : int
        Number of threads of this process.
    """
    # The main process stops the workers; Ctrl-C reaches all processes of a terminal.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    # PyTorch and the libraries of NumPy read it when they are loaded.
    os.environ["OMP_NUM_THREADS"] = str(threads)
    console: Relay | None = None
    work: Work | None = None
    try:
        while True:
            index, job = pipe.recv()
            console, failure = Relay(pipe, (index + 1, count)), None
            try:
                with faults_reported(console):
                    work = work or begin()
                    work(job, console)
            except CmrreconError as error:
                failure = error
            pipe.send(("ended", (console.events, failure)))
            console = None
    except (EOFError, OSError):
        return
    except KeyboardInterrupt:
        if console is not None:
            pipe.send(("ended", (console.events, None)))
        sys.exit(INTERRUPTED)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    """End this process in an orderly way when the main process was killed."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
