"""Requests to stop that reach `train`: signals, and the end of the launcher that started it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Set by torchrun in the processes that it starts.
LAUNCHED = "TORCHELASTIC_RUN_ID"
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT)


class StopRequests:
    """Whether the run was asked to stop.

    torchrun passes on only some signals. SIGUSR1 ends it, unless it is set up otherwise, and its
    processes would train on without it, in sessions of their own. They stop when it has ended.
    """

    def __init__(self) -> None:
        self.signals: list[int] = []
        self._launcher = os.getppid() if LAUNCHED in os.environ else None

    def note(self, number: int, frame: Any) -> None:
        """Remember a signal; a second Ctrl-C ends the program at once."""
        if number == signal.SIGINT and self.signals:
            raise KeyboardInterrupt
        self.signals.append(number)

    def __call__(self) -> bool:
        """Return whether a signal was received or the launcher has ended."""
        abandoned = self._launcher is not None and os.getppid() != self._launcher
        return abandoned or bool(self.signals)


@contextmanager
def stop_requests() -> Iterator[StopRequests]:
    """Collect SIGTERM, SIGUSR1, SIGHUP and Ctrl-C instead of ending the program.

    Signals that are ignored, such as SIGHUP below `nohup`, stay so.
    """
    requests = StopRequests()
    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, requests.note) for number in heard}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
