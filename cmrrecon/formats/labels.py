"""Labels of scans: findings in a file or slice, and the boxes that contain them.

The format is a CSV table, like the table of boxes in fastMRI+::

    file,slice,label,y0,y1,x0,x1
    P001/cine_sax.mat,2,lesion,96,108,210,224
    P002/cine_sax.mat,,normal,,,,

`file` is the scan's path, its last parts, the file name, or the file name without suffix. `slice`
counts from 0; an empty cell means all slices. A box is half-open, in pixels of the matrix, with y
along the phase encoding and x along the readout (including oversampling). Without a box, the label
applies to the whole image. The labels `normal` and `none` state that there are no findings. Nothing
is known about a slice without a row.
"""

import csv
import fcntl
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cmrrecon.tools.atomic import atomic, output_error
from cmrrecon.tools.errors import InputError
from cmrrecon.tools.files import first_bytes

COLUMNS = ("file", "slice", "label", "y0", "y1", "x0", "x1")
NORMAL = ("normal", "none")
LARGEST = 1 << 26  # bytes; enough for several hundred thousand rows
LARGEST_NUMBER = 1 << 20


@dataclass(frozen=True)
class LabelRow:
    """One row of the table.

    Attributes
    ----------
    file : str
        The scan, as named in the table.
    slice : int or None
        Slice number, counted from 0; None for all slices.
    label : str
        The finding.
    box : tuple of int or None
        (y0, y1, x0, x1), half-open, in pixels; None for a label of the whole image.
    """

    file: str
    slice: int | None
    label: str
    box: tuple[int, int, int, int] | None


def is_normal(label: str) -> bool:
    """Return whether a label states that there are no findings."""
    return label.casefold() in NORMAL


def read_labels(path: Path) -> list[LabelRow]:
    """Read the rows of a table of labels.

    The columns may be in any order; others are ignored.

    Parameters
    ----------
    path : Path
        The table.

    Returns
    -------
    list of LabelRow
        The rows, in the order of the table.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, or has an invalid line (`labels-table`).
    """
    content = first_bytes(path, LARGEST + 1)
    try:
        if len(content) > LARGEST:
            raise ValueError(f"it has more than {LARGEST} bytes")
        table = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        header = [name.strip().casefold() for name in next(table, [])]
        missing = [name for name in COLUMNS if header.count(name) != 1]
        if missing:
            raise ValueError(f"line 1 must name the columns {', '.join(missing)} once each")

        return [
            _row(header, cells, table.line_num)
            for cells in table
            if any(cell.strip() for cell in cells)
        ]
    except (ValueError, csv.Error) as error:
        raise InputError(
            "labels-table",
            f"{path} is not a table of labels: {error}",
            f"It must have the columns {','.join(COLUMNS)}",
            "Correct the table; docs/training.md describes it",
        ) from error


def _row(header: Sequence[str], cells: Sequence[str], line: int) -> LabelRow:
    """Check and return one row of the table."""
    if len(cells) != len(header):
        raise ValueError(f"line {line} has {len(cells)} cells, but line 1 has {len(header)}")
    texts = dict(zip(header, (cell.strip() for cell in cells), strict=True))
    for name in ("file", "label"):
        if not texts[name]:
            raise ValueError(f"line {line} has no {name}")

    index = _number("slice", texts["slice"], line) if texts["slice"] else None
    given = [name for name in COLUMNS[3:] if texts[name]]
    if not given:
        return LabelRow(texts["file"], index, texts["label"], None)
    if len(given) < 4:
        raise ValueError(f"line {line} has only {', '.join(given)} of a box instead of all four")

    y0, y1, x0, x1 = (_number(name, texts[name], line) for name in COLUMNS[3:])
    if y0 >= y1 or x0 >= x1:
        raise ValueError(f"line {line} has an empty box: y0 < y1 and x0 < x1 are needed")
    if is_normal(texts["label"]):
        raise ValueError(f"line {line} has a box, but its label states that there are no findings")
    return LabelRow(texts["file"], index, texts["label"], (y0, y1, x0, x1))


def _number(name: str, text: str, line: int) -> int:
    # Columns with empty cells are often exported as floating point, such as 12.0.
    """Parse a whole number from 0 to `LARGEST_NUMBER`."""
    if not re.fullmatch(r"\d{1,9}(\.0*)?", text, re.ASCII) or int(float(text)) > LARGEST_NUMBER:
        raise ValueError(
            f"line {line} has a {name} that is not a whole number from 0 to {LARGEST_NUMBER}"
        )
    return int(float(text))


def rows_for(rows: Iterable[LabelRow], path: Path) -> list[LabelRow]:
    """Return the rows that match one file.

    A row matches if it names the file's path or the last parts of it, with or without the suffix.

    Parameters
    ----------
    rows : iterable of LabelRow
        The table.
    path : Path
        The file.

    Returns
    -------
    list of LabelRow
        The matching rows, in the order of the table.

    Raises
    ------
    InputError
        If the matching rows name the file in different ways, so that some may refer to another file
        (`labels-ambiguous`).
    """
    found = [row for row in rows if _fits(row.file, path.absolute())]
    names = sorted({row.file for row in found})
    if len(names) > 1:
        raise InputError(
            "labels-ambiguous",
            f"The labels of {names[0]} and of {names[1]} both match {path}",
            "All rows of a file must name it the same way",
            "Write the same path in all of these rows",
        )
    return found


def labels_of_files(rows: Sequence[LabelRow], paths: Iterable[Path]) -> dict[Path, list[LabelRow]]:
    """Return the rows that match each file; the list is empty for a file without labels.

    Parameters
    ----------
    rows : sequence of LabelRow
        The table.
    paths : iterable of Path
        The files.

    Returns
    -------
    dict of Path to list of LabelRow
        The rows of each file.

    Raises
    ------
    InputError
        If a row matches several of the files, or under the conditions of `rows_for`
        (`labels-ambiguous`).
    """
    by_name: dict[str, list[LabelRow]] = {}
    for row in rows:
        # For speed, full paths are compared only for rows with the right file name.
        by_name.setdefault(Path(row.file).name, []).append(row)

    shared: dict[Path, list[LabelRow]] = {}
    owners: dict[str, Path] = {}
    for path in paths:
        names = dict.fromkeys((path.name, path.stem))
        shared[path] = rows_for([row for name in names for row in by_name.get(name, ())], path)
        for row in shared[path][:1]:
            first = owners.setdefault(row.file, path)
            if first != path:
                raise InputError(
                    "labels-ambiguous",
                    f"The labels of {row.file} match both {first} and {path}",
                    "Every label must belong to exactly one file",
                    "Write more of the path in the column `file`",
                )
    return shared


def _fits(name: str, path: Path) -> bool:
    parts = Path(name).parts
    return parts in (path.parts[-len(parts) :], path.with_suffix("").parts[-len(parts) :])


def write_labels(path: Path, rows: Iterable[LabelRow]) -> None:
    """Write a table that `read_labels` can read.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    with atomic(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for row in rows:
            box = row.box or ("",) * 4
            table.writerow([row.file, "" if row.slice is None else row.slice, row.label, *box])


def replace_labels(path: Path, file: str, rows: Sequence[LabelRow]) -> None:
    """Replace the rows of one file in a table and keep all others.

    The table is created if necessary. Processes that call this function at the same time wait for
    each other.

    Parameters
    ----------
    path : Path
        The table.
    file : str
        The scan, as named in the table.
    rows : sequence of LabelRow
        Its new rows.

    Raises
    ------
    InputError
        If the existing file is not a table of labels (`labels-table`).
    OutputError
        If the file cannot be written.
    """
    with _locked(path):
        known = read_labels(path) if path.exists() else []
        new = sorted([*(row for row in known if row.file != file), *rows], key=lambda row: row.file)
        if new != known:
            write_labels(path, new)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock for this path.

    The lock is a separate file, because `path` itself is replaced.
    """
    lock = path.with_name(f".{path.name}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        raise output_error(lock, error) from error

    try:
        yield
    finally:
        os.close(descriptor)
