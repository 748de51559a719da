"""Run the jobs of one worker process, and send their messages and results back."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any

from cmrrecon.cli.console import Console
from cmrrecon.cli.inputs import Job
from cmrrecon.cli.progress import PartProgress, Progress
from cmrrecon.cli.running import INTERRUPTED, convert_errors
from cmrrecon.tools.errors import CmrreconError

Work = Callable[[Job, Console], None]
# One call of a job to its console: the name of the method and its arguments.
Event = tuple[str, tuple[Any, ...]]

# Seconds that a worker has for keeping finished slices before it is killed.
GRACE = 20.0


class Relay(Console):
    """The console of a worker, which stores messages and sends progress immediately.

    Parameters
    ----------
    pipe : Connection
        Connection to the main process.
    number : tuple of int
        Number of the job and number of all jobs.
    """

    def __init__(self, pipe: Connection, number: tuple[int, int]) -> None:
        super().__init__(verbose=True)
        self.pipe, self.number = pipe, number
        self.events: list[Event] = []

    def say(self, message: str) -> None:
        """Store an informational line."""
        self.events.append(("say", (message,)))

    def detail(self, message: str) -> None:
        """Store a detail."""
        self.events.append(("detail", (message,)))

    def warn(self, message: str) -> None:
        """Store a warning."""
        self.events.append(("warn", (message,)))

    def error(self, error: CmrreconError, source: str = "") -> None:
        """Store an error."""
        self.events.append(("error", (error, source)))

    def traceback(self, text: str) -> None:
        """Store a traceback."""
        self.events.append(("traceback", (text,)))

    def result(self, record: Any, line: str | None) -> None:
        """Store a result."""
        from cmrrecon.tools.provenance import plain

        self.events.append(("result", (plain(record), line)))

    def table(self, title: str, columns: Any, rows: Any) -> None:
        """Store a table."""
        self.events.append(("table", (title, list(columns), [list(row) for row in rows])))

    def progress(self, label: str, total: int, unit: str, *, counts: bool = True) -> Progress:
        """Return a progress counter that reports to the main process."""

        def report(fraction: float | None, note: str, free: float) -> None:
            self.pipe.send(("progress", (fraction, note, free)))

        return PartProgress(label, total, unit, report, counts=counts)


def serve(pipe: Connection, begin: Callable[[], Work], count: int, threads: int) -> None:
    """Work on one job after another until the pipe closes.

    Parameters
    ----------
    pipe : Connection
        Connection to the main process.
    begin : Callable
        Returns the function that works on a job.
    count : int
        Number of all jobs.
    threads : int
        Number of threads for this process.
    """
    # These signals often reach all processes of a terminal or job, but the main process stops the
    # workers.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    # PyTorch and the libraries behind NumPy read this variable when they are loaded.
    os.environ["OMP_NUM_THREADS"] = str(threads)
    console: Relay | None = None
    work: Work | None = None
    try:
        while True:
            index, job = pipe.recv()
            console, failure = Relay(pipe, (index + 1, count)), None
            try:
                with convert_errors(console):
                    work = work or begin()
                    work(job, console)
            except CmrreconError as error:
                failure = error
            events, console = console.events, None
            pipe.send(("ended", (events, failure)))
    except (EOFError, OSError):
        return
    except KeyboardInterrupt:
        if console is not None:
            # The main process may no longer exist.
            with suppress(OSError):
                pipe.send(("interrupted", console.events))
        sys.exit(INTERRUPTED)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    # A second signal must not disturb the end.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    """End this process if the main process is killed: cleanly, or after a while in any case."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
        # A long call of a library delays the signal.
        time.sleep(GRACE)
        os._exit(INTERRUPTED)
