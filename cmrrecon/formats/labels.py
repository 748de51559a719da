"""Labels of scans: what is seen in a file or a slice, and in which boxes. A CSV table, as fastMRI+ has one of its boxes.

    file,slice,label,y0,y1,x0,x1
    P001/cine_sax.mat,2,lesion,96,108,210,224
    P002/cine_sax.mat,,normal,,,,

`file` is the scan's path, file name or stem, or the end of its path; `slice` counts from 0, and empty means all slices. A box is half-open
and counts pixels of the matrix, y along the phase encoding and x along the readout (oversampling included); empty means that the label is
of the image as a whole. The labels `normal` and `none` say that nothing is to be seen; a slice without a row says nothing at all.
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
LARGEST = 1 << 26  # bytes; some hundred thousand rows
LARGEST_NUMBER = 1 << 20


@dataclass(frozen=True)
class LabelRow:
    """One row of the table.

    Attributes
    ----------
    file : as the table names it
    slice : counted from 0; None for all slices
    label : what is seen
    box : (y0, y1, x0, x1), half-open, in pixels; None for a label of the whole image
    """

    file: str
    slice: int | None
    label: str
    box: tuple[int, int, int, int] | None


def is_normal(label: str) -> bool:
    """Whether a label says that there is nothing to be seen."""
    return label.casefold() in NORMAL


def read_labels(path: Path) -> list[LabelRow]:
    """The rows of a table of labels, in its order. The columns may stand in any order, others are passed over.

    Raises
    ------
    InputError : the file cannot be read, has not these columns, or a line of it makes no sense
    """
    content = first_bytes(path, LARGEST + 1)
    try:
        if len(content) > LARGEST:
            raise ValueError(f"it is longer than {LARGEST} bytes")
        table = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        header = [name.strip().casefold() for name in next(table, [])]
        missing = [name for name in COLUMNS if header.count(name) != 1]
        if missing:
            raise ValueError(f"line 1 does not name each of the columns {', '.join(missing)} once")

        return [
            _row(header, cells, table.line_num)
            for cells in table
            if any(cell.strip() for cell in cells)
        ]
    except (ValueError, csv.Error) as error:
        raise InputError(
            "labels-table",
            f"{path} is no table of labels: {error}",
            f"It needs the columns {','.join(COLUMNS)}",
            "Mend what is named, see docs/training.md",
        ) from error


def _row(header: Sequence[str], cells: Sequence[str], line: int) -> LabelRow:
    if len(cells) != len(header):
        raise ValueError(f"line {line} has {len(cells)} cells, the first line {len(header)}")
    texts = dict(zip(header, (cell.strip() for cell in cells), strict=True))
    for name in ("file", "label"):
        if not texts[name]:
            raise ValueError(f"line {line} has no {name}")

    index = _number("slice", texts["slice"], line) if texts["slice"] else None
    given = [name for name in COLUMNS[3:] if texts[name]]
    if not given:
        return LabelRow(texts["file"], index, texts["label"], None)
    if len(given) < 4:
        raise ValueError(
            f"line {line} has only {', '.join(given)} of a box: all four are needed, or none"
        )

    y0, y1, x0, x1 = (_number(name, texts[name], line) for name in COLUMNS[3:])
    if y0 >= y1 or x0 >= x1:
        raise ValueError(f"line {line} has an empty box: y0 < y1 and x0 < x1 are needed")
    if is_normal(texts["label"]):
        raise ValueError(
            f"line {line} has a box, but its label says that there is nothing to be seen"
        )
    return LabelRow(texts["file"], index, texts["label"], (y0, y1, x0, x1))


def _number(name: str, text: str, line: int) -> int:
    # Tables of columns with gaps often come with whole numbers written as 12.0.
    if not re.fullmatch(r"\d{1,9}(\.0*)?", text, re.ASCII) or int(float(text)) > LARGEST_NUMBER:
        raise ValueError(
            f"line {line} has a {name} that is no whole number from 0 to {LARGEST_NUMBER}"
        )
    return int(float(text))


def rows_for(rows: Iterable[LabelRow], path: Path) -> list[LabelRow]:
    """The rows of one file, told by its path or the end of it, with or without the file's suffix.

    Raises
    ------
    InputError : rows that name files differently fit it, so that some may mean another file
    """
    found = [row for row in rows if _fits(row.file, path.absolute())]
    names = sorted({row.file for row in found})
    if len(names) > 1:
        raise InputError(
            "labels-ambiguous",
            f"Labels of {names[0]} and of {names[1]} both fit {path}",
            "All rows of a file must name it alike",
            "Write the same path in all of them",
        )
    return found


def labels_of_files(rows: Sequence[LabelRow], paths: Iterable[Path]) -> dict[Path, list[LabelRow]]:
    """The rows of each of several files; a file without labels gets an empty list.

    Raises
    ------
    InputError : a row fits several of the files, or see `rows_for`
    """
    by_name: dict[str, list[LabelRow]] = {}
    for row in rows:
        # Only rows whose last part fits are compared in full: tables and data sets are long.
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
                    f"Labels of {row.file} fit {first} and {path}",
                    "Every label belongs to one file",
                    "Write more of the path in the column file",
                )
    return shared


def _fits(name: str, path: Path) -> bool:
    parts = Path(name).parts
    return parts in (path.parts[-len(parts) :], path.with_suffix("").parts[-len(parts) :])


def write_labels(path: Path, rows: Iterable[LabelRow]) -> None:
    """Write a table that `read_labels` reads.

    Raises
    ------
    OutputError : the file cannot be written
    """
    with atomic(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for row in rows:
            box = row.box or ("",) * 4
            table.writerow([row.file, "" if row.slice is None else row.slice, row.label, *box])


def replace_labels(path: Path, file: str, rows: Sequence[LabelRow]) -> None:
    """Put the rows of one file into a table in the place of those it had, and keep all others; the table is made if need be.

    Processes that do so at the same time wait for each other.

    Raises
    ------
    InputError : what is there is no table of labels
    OutputError : the file cannot be written
    """
    with _alone(path):
        known = read_labels(path) if path.exists() else []
        new = sorted([*(row for row in known if row.file != file), *rows], key=lambda row: row.file)
        if new != known:
            write_labels(path, new)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """No other process is in such a block for the same path. The lock stands in a file of its own, since `path` is replaced."""
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
