"""What the user sees: messages and progress on stderr, data (paths or JSON Lines) on stdout."""

import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any, Self

from cmrrecon.tools.errors import CmrreconError, OutputError
from cmrrecon.tools.machine import peak_memory_mb

HEARTBEAT_SECONDS = 30.0
JSON_SCHEMA = 1


class Console:
    """Everything a command says. Results go to stdout, all else to stderr; `quiet` keeps only warnings and errors."""

    def __init__(
        self, *, quiet: bool = False, as_json: bool = False, stdout_is_data: bool = False
    ) -> None:
        from rich.console import Console as RichConsole

        self.quiet = quiet
        self.as_json = as_json
        self.stdout_is_data = stdout_is_data
        self._console = RichConsole(stderr=True, highlight=False, soft_wrap=True)

    def say(self, message: str) -> None:
        """A line of information."""
        if not self.quiet:
            self._console.print(message, markup=False)

    def warn(self, message: str) -> None:
        """Something the user should know; also shown when quiet."""
        self._console.print(f"warning: {message}", style="yellow", markup=False)

    def error(self, error: CmrreconError, source: str = "") -> None:
        """A failure in its three sentences, after the input it belongs to where they do not name it."""
        prefix = f"{source}: " if source and source not in str(error) else ""
        self._console.print(f"error[{error.code}]: {prefix}{error}", style="red", markup=False)

    def traceback(self, text: str) -> None:
        """The traceback of a fault of ours; it never holds local variables."""
        self._console.print(text, markup=False)

    def result(self, record: Mapping[str, Any], line: str | None) -> None:
        """One result on stdout: a JSON line with --json, else `line` (a path, as a rule). Silent while stdout carries a scan."""
        from cmrrecon.tools.provenance import plain

        text = json.dumps(plain({"schema": JSON_SCHEMA, **record})) if self.as_json else line
        if self.stdout_is_data or text is None:
            return
        try:
            print(text, flush=True)
        except BrokenPipeError:
            raise
        except OSError as error:
            # Python would try to write the rest once more at its end, and fail with a traceback.
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115
            raise OutputError(
                "output-unwritable",
                f"Standard output cannot be written ({error.strerror})",
                "Results are told there",
                "Make room, or send it to another place",
            ) from error

    def table(self, title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
        """A table on stderr."""
        if self.quiet:
            return
        from rich.table import Table

        table = Table(title=title, title_justify="left")
        for i, column in enumerate(columns):
            table.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
        for row in rows:
            table.add_row(*row)
        self._console.print(table)

    def progress(self, label: str, total: int, unit: str) -> "Progress":
        """A bar with the time left on a terminal, a line every 30 s in a log file."""
        return Progress(self, label, total, unit)


class Progress:
    """Counts `total` steps of work, as a context manager; call `advance` after each."""

    def __init__(
        self, console: Console, label: str, total: int, unit: str, heartbeat: float | None = None
    ) -> None:
        self.console, self.label, self.total, self.unit = console, label, total, unit
        self.done = self._before = 0
        self._note = ""
        self._heartbeat = HEARTBEAT_SECONDS if heartbeat is None else heartbeat
        self._bar: Any = None
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        self._start = time.monotonic()
        if self.console.quiet:
            return self
        if self.console._console.is_terminal:
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Bar(*columns, console=self.console._console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self.label, total=self.total)
        else:
            threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        if self._bar is not None:
            self._bar.stop()

    def expect(self, total: int, done: int) -> None:
        """How many steps there are, and how many were done earlier."""
        self.total, self.done, self._before = total, done, done
        if self._bar is not None:
            self._bar.reset(self._task, total=total, completed=done)

    def advance(self, note: str = "") -> None:
        """One step is done, of which a note may say how it went."""
        self.done += 1
        self._note = note
        if self._bar is not None:
            self._bar.update(self._task, advance=1, description=f"{self.label} {note}")

    def _beat(self) -> None:
        while not self._stop.wait(self._heartbeat):
            elapsed = time.monotonic() - self._start
            made = self.done - self._before
            pace = f"{elapsed / made:.1f} s/{self.unit}" if made else f"{elapsed:.0f} s so far"
            left = (
                f"{elapsed / made * (self.total - self.done):.0f} s left"
                if made
                else "time left unknown"
            )
            told = [
                f"{self.label}: {self.done}/{self.total} {self.unit}s",
                self._note,
                pace,
                left,
                f"peak memory {peak_memory_mb()} MB",
            ]
            self.console.say(", ".join(filter(None, told)))
