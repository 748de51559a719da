"""Show a changing state: a bar in a terminal, or a line every 30 s in a log file."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cmrrecon.tools.machine import peak_memory_mb

if TYPE_CHECKING:
    from cmrrecon.cli.console import Console

HEARTBEAT_SECONDS = 30.0


@dataclass(frozen=True)
class State:
    """The state that a display shows.

    Attributes
    ----------
    label : str
        Current activity.
    done, total : float
        Amount done and total amount, in any unit.
    count : str
        Text of the progress bar.
    left : float or None
        Remaining time in seconds; None while it is unknown.
    line : str
        Line for a log file.
    scope : str
        Suffix after the remaining time if it refers to more than the label.
    """

    label: str
    done: float
    total: float
    count: str
    left: float | None
    line: str
    scope: str = ""


class Display:
    """Shows a changing state on stderr while it is open.

    Parameters
    ----------
    console : Console
        Where to show the state.
    state : Callable
        Returns the current state.
    heartbeat : float or None
        Seconds between two lines in a log file; None means `HEARTBEAT_SECONDS`.
    """

    def __init__(
        self, console: "Console", state: Callable[[], State], heartbeat: float | None = None
    ) -> None:
        self.console, self.state = console, state
        self._heartbeat = HEARTBEAT_SECONDS if heartbeat is None else heartbeat
        self._bar: Any = None
        self._stop = threading.Event()

    def open(self) -> None:
        """Start showing the state, unless the console is quiet."""
        if self.console.quiet:
            return
        if self.console.is_terminal:
            self._bar = self._create_bar()
            self._bar.start()
            self.console.display = self
        else:
            threading.Thread(target=self._beat, daemon=True).start()

    def close(self) -> None:
        """Remove the bar, or stop printing lines."""
        self._stop.set()
        if self._bar is not None:
            self._bar.stop()
            self.console.display = None

    def update(self) -> None:
        """Update the bar to the current state."""
        if self._bar is not None:
            now = self.state()
            self._bar.update(self._task, description=now.label, completed=now.done, total=now.total)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Remove the bar from the screen within a `with` block."""
        self._bar.stop()
        try:
            yield
        finally:
            self._bar.start()

    def _create_bar(self) -> Any:
        from rich.progress import BarColumn, ProgressColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress
        from rich.text import Text

        state = self.state

        class TimeLeft(ProgressColumn):
            """Shows the count and the remaining time, computed at every refresh."""

            def render(self, task: Any) -> Text:
                now = state()
                text = f"{now.count}, {time_left(now.left, now.scope)}"
                return Text(text.removeprefix(", "))

        # Stdout carries data, which Rich must not redirect to stderr.
        bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            TimeLeft(),
            console=self.console.rich,
            transient=True,
            redirect_stdout=False,
        )
        now = self.state()
        self._task = bar.add_task(now.label, total=now.total, completed=int(now.done))
        return bar

    def _beat(self) -> None:
        while not self._stop.wait(self._heartbeat):
            now = self.state()
            memory = f"peak memory {peak_memory_mb()} MB"
            line = f"{now.line}, {time_left(now.left, now.scope, short=False)}, {memory}"
            self.console.rich.print(line, markup=False)


def time_left(seconds: float | None, scope: str = "", *, short: bool = True) -> str:
    """Format the remaining time: `2:05 left` on a bar, `125 s left` or `50 min left` in a log."""
    if seconds is None:
        return "time left unknown"
    if not short:
        units = (("h", 3600), ("min", 60), ("s", 1))
        unit, length = next(one for one in units if seconds >= 10 * one[1] or one[1] == 1)
        return f"{seconds / length:.0f} {unit} left{scope}"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
    return f"{clock} left{scope}"
