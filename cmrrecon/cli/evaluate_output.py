"""Where the scores of `cmrrecon evaluate` go, and in which format."""

import csv
import io
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cmrrecon.cli.console import Console
from cmrrecon.cli.text_table import text_table
from cmrrecon.tools.errors import UsageError

FORMATS = ("table", "csv", "json")
# One row of CSV. The names are those of the JSON records.
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
    "modality",
    "base",
    "subject",
    "centre",
    "vendor",
    "coil",
    "pattern",
    "acceleration",
    "acs",
    "seed",
    "weights",
    "run",
    "reference",
    "reference_is",
)


def complete_formats(incomplete: str) -> list[str]:
    """Formats, for completion in the shell."""
    return [name for name in FORMATS if name.startswith(incomplete)]


class Output:
    """Prints scores in the format that was asked for.

    Parameters
    ----------
    console : Console
        Its `as_json` is set if the format is JSON.
    asked : str or None
        Value of --format. None: JSON Lines with --json; else the table on a terminal; else, in a
        pipe, the names of the scored files, with the tables on standard error.

    Raises
    ------
    UsageError
        If there is no such format (`option-value`), or --json contradicts it (`options-conflict`).
    """

    def __init__(self, console: Console, asked: str | None) -> None:
        if asked is not None and asked not in FORMATS:
            raise UsageError(
                "option-value",
                f"--format was given {asked!r}",
                f"The formats are {', '.join(FORMATS)}",
                "Name one of them",
            )
        if console.as_json and asked not in (None, "json"):
            raise UsageError(
                "options-conflict",
                f"Both --json and --format {asked} were given",
                "Standard output has one format",
                "Leave one of them out",
            )

        self.console = console
        self.format = asked
        if asked is None and not console.as_json and sys.stdout.isatty():
            self.format = "table"
        console.as_json = console.as_json or asked == "json"

    @property
    def at_end(self) -> bool:
        """Whether the scores are printed together at the end, not file by file."""
        return self.format in ("table", "csv")

    def file(self, record: Mapping[str, Any], name: str) -> None:
        """The scores of one file: its JSON line, or its name in a pipe."""
        if not self.at_end:
            self.console.result(record, name)

    def table(
        self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, names: int = 1
    ) -> None:
        """A table of results: on standard output if that is the format, else on standard error."""
        width = shutil.get_terminal_size().columns
        text = text_table(title, columns, list(rows), width, names=names)
        if self.format == "table":
            self.console.result({}, f"{text}\n")
        else:
            self.console.say(f"{text}\n")

    def rows(self, records: Sequence[Mapping[str, Any]]) -> None:
        """All scores as CSV, if that is the format: a header, then one row for each file."""
        if self.format != "csv":
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
        self.console.result({}, text.getvalue().rstrip("\n"))
