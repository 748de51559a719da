"""Print the scores of `cmrrecon evaluate` in the requested format."""

import csv
import io
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cmrrecon.cli.console import Console
from cmrrecon.cli.evaluate_record import FACTS
from cmrrecon.cli.text_table import text_table
from cmrrecon.tools.errors import UsageError

FORMATS = ("table", "csv", "json")
# Columns of the CSV output, named as in the JSON records.
CSV_COLUMNS = (
    "input",
    "method",
    "protocol",
    "order",
    "cropped",
    "psnr",
    "ssim",
    "nmse",
    "heart_psnr",
    "hfen",
    "body_fraction",
    "images",
    "slices",
    *FACTS,
    "weights",
    "run",
    "reference",
    "reference_is",
)


def complete_formats(incomplete: str) -> list[str]:
    """Complete the name of an output format."""
    return [name for name in FORMATS if name.startswith(incomplete)]


class Output:
    """Prints scores in the requested format.

    Parameters
    ----------
    console : Console
        Where to print; its `as_json` is set if the format is JSON.
    requested : str or None
        Value of --format. None means JSON Lines with --json, the table on a terminal, and in a
        pipe the names of the scored files, with the tables on standard error.

    Raises
    ------
    UsageError
        If the format is unknown (`option-value`) or conflicts with --json (`options-conflict`).
    """

    def __init__(self, console: Console, requested: str | None) -> None:
        if requested is not None and requested not in FORMATS:
            raise UsageError(
                "option-value",
                f"--format was given {requested!r}",
                f"The formats are {', '.join(FORMATS)}",
                "Choose one of them",
            )
        if console.as_json and requested not in (None, "json"):
            raise UsageError(
                "options-conflict",
                f"Both --json and --format {requested} were given",
                "Standard output can have only one format",
                "Leave one of them out",
            )

        self.console = console
        self.format = requested
        if requested is None and not console.as_json and sys.stdout.isatty():
            self.format = "table"
        console.as_json = console.as_json or requested == "json"

    @property
    def at_end(self) -> bool:
        """Whether the scores are printed at the end instead of file by file."""
        return self.format in ("table", "csv")

    def file(self, record: Mapping[str, Any], name: str) -> None:
        """Print the JSON line of one file, or its name in a pipe."""
        if not self.at_end:
            self.console.result(record, name)

    def table(
        self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, names: int = 1
    ) -> None:
        """Print a table on standard output if that is the format, on standard error without one."""
        width = shutil.get_terminal_size().columns
        text = text_table(title, columns, list(rows), width, names=names)
        if self.format == "table":
            self.console.result({}, f"{text}\n")
        elif self.format is None:
            self.console.say(f"{text}\n")

    def rows(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Print all scores as CSV if that is the format: a header, then one row per file."""
        if self.format != "csv":
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
        self.console.result({}, text.getvalue().rstrip("\n"))
