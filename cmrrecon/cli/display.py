"""What a terminal or a log file shows of a changing state: a bar, or a line every 30 s."""

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
    """What a display shows.

    Attributes
    ----------
    label : str
        What is being done.
    done, total : float
        How far it is, in any unit.
    count : str
        How far it is, in words for the bar.
    left : float or None
        Seconds left; None while they are not known.
    line : str
        How far it is, in words for a log file.
    scope : str
        What the time left is of, if not of the label.
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
        Where it is shown.
    state : Callable
        Gives the current state.
    heartbeat : float or None
        Seconds between two lines in a log file; None: `HEARTBEAT_SECONDS`.
    """

    def __init__(
        self, console: "Console", state: Callable[[], State], heartbeat: float | None = None
    ) -> None:
        self.console, self.state = console, state
        self._heartbeat = HEARTBEAT_SECONDS if heartbeat is None else heartbeat
        self._bar: Any = None
        self._stop = threading.Event()

    def open(self) -> None:
        """Start to show the state; a quiet console shows nothing."""
        if self.console.quiet:
            return
        if self.console.is_terminal:
            self._bar = self._made_bar()
            self._bar.start()
            self.console.display = self
        else:
            threading.Thread(target=self._beat, daemon=True).start()

    def close(self) -> None:
        """Remove the bar, or print no more lines."""
        self._stop.set()
        if self._bar is not None:
            self._bar.stop()
            self.console.display = None

    def update(self) -> None:
        """Show the state as it is now."""
        if self._bar is not None:
            now = self.state()
            self._bar.update(self._task, description=now.label, completed=now.done, total=now.total)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A `with` block in which the bar is off the screen."""
        self._bar.stop()
        try:
            yield
        finally:
            self._bar.start()

    def _made_bar(self) -> Any:
        from rich.progress import BarColumn, ProgressColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress
        from rich.text import Text

        state = self.state

        class Rest(ProgressColumn):
            """The count and the time left, as they are at this moment."""

            def render(self, task: Any) -> Text:
                now = state()
                words = f"{now.count}, {time_left(now.left, now.scope)}"
                return Text(words.removeprefix(", "))

        # What a command prints on stdout is data, which Rich must not send to stderr.
        bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            Rest(),
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
    """Seconds left, in words: `2:05 left` on a bar, `125 s left` in a log file."""
    if seconds is None:
        return "time left unknown"
    if not short:
        return f"{seconds:.0f} s left{scope}"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
    return f"{clock} left{scope}"
