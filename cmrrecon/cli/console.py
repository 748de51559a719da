"""What the user sees: messages and progress on stderr, data (paths or JSON Lines) on stdout."""

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
    """Everything that a command prints: results on stdout, all else on stderr.

    Parameters
    ----------
    quiet : bool
        Print only warnings and errors.
    verbose : bool
        Print details too.
    as_json : bool
        Print results as JSON lines.
    stdout_is_data : bool
        Whether a scan is written to stdout, so that results are not.

    Attributes
    ----------
    number : tuple of int or None
        Number and count of the input that is being worked on, such as (3, 12); every message on
        stderr shows it. None: not one of several.
    batch : Batch or None
        Progress over all inputs, where there are several.
    display : Display or None
        The bar on the screen.
    counts : Counter
        How many results had each status, or, where they were left out, each reason.
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
        """Print a line of information."""
        if not self.quiet:
            self._line(message)

    def detail(self, message: str) -> None:
        """Print a line that only `--verbose` asks for."""
        if self.verbose:
            self.say(message)

    def warn(self, message: str) -> None:
        """Print something the user should know, also when quiet."""
        self._line(message, "warning: ", "yellow")

    def error(self, error: CmrreconError, source: str = "") -> None:
        """Print a failure in its three sentences, with its input where they do not name it."""
        prefix = f"{source}: " if source and source not in str(error) else ""
        self._line(f"{prefix}{error}", f"error[{error.code}]: ", "red")

    def traceback(self, text: str) -> None:
        """Print the traceback of a fault of this program; it never shows local variables."""
        self.rich.print(text, markup=False)

    def result(self, record: Mapping[str, Any], line: str | None) -> None:
        """Print one result on stdout: a JSON line with `--json`, else `line`.

        Parameters
        ----------
        record : Mapping
            Members of the JSON line.
        line : str or None
            What to print without `--json`, as a rule a path; None: nothing.
        """
        from cmrrecon.tools.provenance import plain

        self.counts[record.get("reason") or record.get("status", "")] += 1
        text = json.dumps(plain({"schema": JSON_SCHEMA, **record})) if self.as_json else line
        if self.stdout_is_data or text is None:
            return

        # A bar on the same screen must not end up in the middle of the line.
        screen = self.display if sys.stdout.isatty() else None
        try:
            with screen.paused() if screen else nullcontext():
                print(text, flush=True)
        except BrokenPipeError:
            raise
        except OSError as error:
            # Python would try to write the rest once more at its end, and fail with a traceback.
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115
            raise OutputError(
                "output-unwritable",
                f"Standard output cannot be written ({error.strerror})",
                "Results are printed there",
                "Make room, or send it to another place",
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
        """Steps that show how far they are, together with all inputs where there are several.

        Parameters
        ----------
        label, total, unit : str, int, str
            See `Progress`.
        counts : bool
            Whether the steps are a fraction of the work on one input of several.
        """
        batch, number = self.batch, self.number
        if batch is None or number is None:
            return ShownProgress(self, label, total, unit)

        index = number[0] - 1

        def report(fraction: float | None, note: str, free: float) -> None:
            batch.reached(index, fraction, note, free)

        return PartProgress(label, total, unit, report, counts=counts)

    def _line(self, text: str, kind: str = "", style: str | None = None) -> None:
        # The kind comes first, so that scripts find errors and warnings at the start of a line.
        number = f"{self.number[0]}/{self.number[1]} " if self.number else ""
        self.rich.print(f"{kind}{number}{text}", style=style, markup=False)
