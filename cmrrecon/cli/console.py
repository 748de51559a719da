"""Print messages and progress on stderr, and data (paths or JSON Lines) on stdout."""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import Any

from cmrrecon.cli.display import Display
from cmrrecon.cli.progress import Batch, PartProgress, ShownProgress
from cmrrecon.cli.progress import Progress as Progress
from cmrrecon.tools.errors import CmrreconError, OutputError

JSON_SCHEMA = 1


class Console:
    """Prints everything a command reports: results on stdout, everything else on stderr.

    Parameters
    ----------
    quiet : bool
        Print only warnings and errors.
    verbose : bool
        Print details too.
    as_json : bool
        Print results as JSON lines.
    stdout_is_data : bool
        Whether stdout carries a scan, so that results must not be printed there.

    Attributes
    ----------
    number : tuple of int or None
        Number of the current input and number of all inputs, such as (3, 12); every message on
        stderr shows it. None if there is only one input.
    batch : Batch or None
        Progress over all inputs if there are several.
    display : Display or None
        The bar on the screen.
    counts : Counter
        Number of results by status; skipped results with a reason are counted by reason.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        verbose: bool = False,
        as_json: bool = False,
        stdout_is_data: bool = False,
    ) -> None:
        from rich.console import Console as RichConsole

        self.quiet, self.verbose = quiet, verbose
        self.as_json, self.stdout_is_data = as_json, stdout_is_data
        self.number: tuple[int, int] | None = None
        self.batch: Batch | None = None
        self.display: Display | None = None
        self.counts: Counter[str] = Counter()
        self.rich = RichConsole(stderr=True, highlight=False, soft_wrap=True)

    @property
    def is_terminal(self) -> bool:
        """Whether stderr is a terminal."""
        return self.rich.is_terminal

    def say(self, message: str) -> None:
        """Print an informational line."""
        if not self.quiet:
            self._line(message)

    def detail(self, message: str) -> None:
        """Print a line only with `--verbose`."""
        if self.verbose:
            self.say(message)

    def warn(self, message: str) -> None:
        """Print a warning, even when quiet."""
        self._line(message, "warning: ", "yellow")

    def error(self, error: CmrreconError, source: str = "") -> None:
        """Print an error, preceded by its input if its sentences do not name it."""
        prefix = f"{source}: " if source and source not in str(error) else ""
        self._line(f"{prefix}{error}", f"error[{error.code}]: ", "red")

    def traceback(self, text: str) -> None:
        """Print the traceback of an internal error, which never shows local variables."""
        self.rich.print(text, markup=False)

    def result(self, record: Mapping[str, Any], line: str | None) -> None:
        """Print one result on stdout: a JSON line with `--json`, otherwise `line`.

        Parameters
        ----------
        record : Mapping
            Members of the JSON line.
        line : str or None
            What to print without `--json`, usually a path; None prints nothing.
        """
        from cmrrecon.tools.provenance import plain

        self.counts[record.get("reason") or record.get("status", "")] += 1
        text = json.dumps(plain({"schema": JSON_SCHEMA, **record})) if self.as_json else line
        if self.stdout_is_data or text is None:
            return

        # Keep a progress bar on the same screen from breaking the line.
        screen = self.display if sys.stdout.isatty() else None
        try:
            with screen.paused() if screen else nullcontext():
                print(text, flush=True)
        except BrokenPipeError:
            raise
        except OSError as error:
            # Otherwise Python would flush the rest at exit and fail with a traceback.
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115
            raise OutputError(
                "output-unwritable",
                f"Cannot write to standard output ({error.strerror})",
                "Results are printed there",
                "Free some space, or redirect the output elsewhere",
            ) from error

    def table(self, title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
        """Print a table on stderr."""
        if self.quiet:
            return
        from rich.table import Table

        table = Table(title=title, title_justify="left")
        for i, column in enumerate(columns):
            table.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
        for row in rows:
            table.add_row(*row)
        self.rich.print(table)

    def progress(self, label: str, total: int, unit: str, *, counts: bool = True) -> Progress:
        """Return a progress counter, which reports to the batch if there are several inputs.

        Parameters
        ----------
        label, total, unit : str, int, str
            See `Progress`.
        counts : bool
            Whether the steps count towards the progress of the current input.
        """
        batch, number = self.batch, self.number
        if batch is None or number is None:
            return ShownProgress(self, label, total, unit)

        index = number[0] - 1

        def report(fraction: float | None, note: str, free: float) -> None:
            batch.reached(index, fraction, note, free)

        return PartProgress(label, total, unit, report, counts=counts)

    def _line(self, text: str, kind: str = "", style: str | None = None) -> None:
        # The kind comes first, so that scripts can find errors and warnings at the start of a line.
        number = f"{self.number[0]}/{self.number[1]} " if self.number else ""
        self.rich.print(f"{kind}{number}{text}", style=style, markup=False)
