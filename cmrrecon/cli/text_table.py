"""Format plain-text tables that fit a given width."""

import os
from collections.abc import Sequence
from itertools import takewhile, zip_longest
from pathlib import PurePath
from textwrap import fill

GAP = "  "
ELLIPSIS = "…"
# Name columns are never narrower than this.
SHORTEST = 12
# Minimum number of characters kept of a file name after its folders.
MIN_FILE_NAME = 7
# Fractions of the width kept for the start of a name. The first that keeps names distinct is used.
STARTS = (0.5, 0.25, 0.75, 0.0, 1.0)

Rows = Sequence[Sequence[str]]


def text_table(
    title: str, columns: Sequence[str], rows: Rows, width: int, *, names: int = 1
) -> str:
    """Return a table with one line per row.

    If the table would be too wide, intervals in brackets are moved below their means.

    Parameters
    ----------
    title : str
        Line above the table, wrapped to the width.
    columns : sequence of str
        Headers of the columns.
    rows : sequence of rows
        One text per column. A row of empty texts draws a rule across the table.
    width : int
        Characters per line. Names are shortened to fit. Numbers never are, so a table with many
        numbers may be wider.
    names : int
        Number of columns with names, counted from the left. The rest are numbers.

    Returns
    -------
    str
        The lines, without a trailing newline.
    """
    cells = [list(row) for row in rows]
    if _excess(columns, cells, width) > 0:
        cells = [[text.replace(" [", "\n[") for text in row] for row in cells]
    _shorten_names(cells, columns, width, names)
    widths = _widths(columns, cells)
    rule = "─" * (sum(widths) + len(GAP) * (len(widths) - 1))

    lines = [fill(title, width), *_lines(columns, widths, names), rule]
    for row in cells:
        lines += _lines(row, widths, names) if any(row) else [rule]
    return "\n".join(lines)


def shortened(names: Sequence[str], width: int) -> list[str]:
    """Shorten names to a width so that different names stay different.

    Names that fit are not changed. Otherwise leading folders common to all names are removed
    first, then common inner folders, then the middle of names that are still too long.

    Parameters
    ----------
    names : sequence of str
        Paths, or other names.
    width : int
        Maximum number of characters in a name.
    """
    if max(map(len, names), default=0) <= width:
        return list(names)
    inner = _below_common_folder(names)
    bare = _without_common_parts(inner)
    different = len(set(names))

    candidates = [inner, bare, _with_short_ends(bare, width)]
    candidates += [[_without_middle(name, width, start) for name in bare] for start in STARTS]
    for short in candidates:
        if len(set(short)) == different and max(map(len, short)) <= width:
            return short

    numbers = {name: str(i) for i, name in enumerate(dict.fromkeys(names), 1)}
    room = width - len(str(different)) - 1
    return [
        f"{numbers[name]} {_without_middle(short, room, 0.5)}"
        for name, short in zip(names, bare, strict=True)
    ]


def _shorten_names(cells: list[list[str]], columns: Sequence[str], width: int, names: int) -> None:
    """Shorten the name columns in `cells`, the widest first, until the table fits."""
    for _ in range(names):
        excess = _excess(columns, cells, width)
        if excess <= 0:
            return
        widths = _widths(columns, cells)
        widest = max(range(names), key=lambda i: widths[i])
        room = max(SHORTEST, widths[widest] - excess)
        # Rows below the first rule are means with short labels.
        file_rows = list(takewhile(any, cells))
        short = shortened([row[widest] for row in file_rows], room)
        for row, text in zip(file_rows, short, strict=True):
            row[widest] = text


def _below_common_folder(names: Sequence[str]) -> list[str]:
    """Remove the leading folders that all names share."""
    paths = [PurePath(name) for name in names]
    folders = {path.parent for path in paths}
    if any(path.is_absolute() for path in paths) != all(path.is_absolute() for path in paths):
        return list(names)
    common = os.path.commonpath(folders) if all(map(str, folders)) else ""
    return [str(path.relative_to(common)) if common else str(path) for path in paths]


def _without_common_parts(names: Sequence[str]) -> list[str]:
    """Replace the inner folders that all names share with an ellipsis."""
    parts = [PurePath(name).parts for name in names]
    if len(set(map(len, parts))) > 1:
        return list(names)
    same = [len(set(column)) == 1 for column in zip(*parts, strict=True)]
    found = []
    for path in parts:
        kept = [ELLIPSIS if alike else part for part, alike in zip(path, same, strict=True)][:-1]
        # Merge neighbouring ellipses.
        kept = [
            part for i, part in enumerate(kept) if part != ELLIPSIS or kept[i - 1 : i] != [part]
        ]
        found.append("/".join([*kept, path[-1]]))
    return found


def _with_short_ends(names: Sequence[str], width: int) -> list[str]:
    """Shorten the file names so that the longest folder fits."""
    folders = [str(PurePath(name).parent) for name in names]
    room = width - max(map(len, folders)) - 1
    if room < MIN_FILE_NAME:
        return list(names)
    return [
        str(PurePath(folder, _without_middle(PurePath(name).name, room, 0.5)))
        for folder, name in zip(folders, names, strict=True)
    ]


def _without_middle(name: str, width: int, start: float) -> str:
    """Cut out the middle of a name; `start` is the fraction of the width kept for its start."""
    if len(name) <= width:
        return name
    head = round((width - len(ELLIPSIS)) * start)
    tail = width - len(ELLIPSIS) - head
    return name[:head] + ELLIPSIS + name[len(name) - tail :]


def _widths(columns: Sequence[str], cells: Rows) -> list[int]:
    """Return the length of the longest line in each column."""
    return [
        max(len(line) for text in column for line in text.split("\n"))
        for column in zip(columns, *cells, strict=True)
    ]


def _excess(columns: Sequence[str], cells: Rows, width: int) -> int:
    """Return the number of characters by which a table is too wide."""
    widths = _widths(columns, cells)
    return sum(widths) + len(GAP) * (len(widths) - 1) - width


def _lines(row: Sequence[str], widths: Sequence[int], names: int) -> list[str]:
    """Return the lines of a row: names aligned left, numbers aligned right."""
    found = []
    for line in zip_longest(*(text.split("\n") for text in row), fillvalue=""):
        texts = [
            text.ljust(width) if i < names else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        found.append(GAP.join(texts).rstrip())
    return found
