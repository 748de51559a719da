"""Tables as plain text that keep to a given width."""

import os
from collections.abc import Sequence
from itertools import takewhile, zip_longest
from pathlib import PurePath
from textwrap import fill

GAP = "  "
ELLIPSIS = "…"
# Columns of names are never cut shorter than this.
SHORTEST = 12
# Letters that a file name behind its folders keeps.
LEAST_END = 7
# Shares of the room that are kept of the start of a name; the first that keeps names apart is used.
STARTS = (0.5, 0.25, 0.75, 0.0, 1.0)

Rows = Sequence[Sequence[str]]


def text_table(
    title: str, columns: Sequence[str], rows: Rows, width: int, *, names: int = 1
) -> str:
    """A table with one line for each row.

    Where it would be too wide, intervals in brackets go below their means.

    Parameters
    ----------
    title : str
        Line above the table; it is wrapped.
    columns : sequence of str
        Heads of the columns.
    rows : sequence of rows
        One text for each column. A row of empty texts gives a rule across the table.
    width : int
        Letters in a line. Names are shortened to fit; numbers never are, so a table of many numbers
        may be wider.
    names : int
        Number of columns, from the left, that hold names. The rest are numbers.

    Returns
    -------
    str
        The lines, without a newline at the end.
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
    """Names that keep to a width, and stay different where they were.

    Names that fit stay as they are. Otherwise the folders common to all names are dropped first,
    then common folders further inside, then the middle of what is still too long.

    Parameters
    ----------
    names : sequence of str
        Paths, or other names.
    width : int
        Letters that a name may have.
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
    """Shorten the columns of names until the table fits, the widest first, changing `cells`."""
    for _ in range(names):
        excess = _excess(columns, cells, width)
        if excess <= 0:
            return
        widths = _widths(columns, cells)
        widest = max(range(names), key=lambda i: widths[i])
        room = max(SHORTEST, widths[widest] - excess)
        # Below the first rule are sums, whose labels are short.
        own = list(takewhile(any, cells))
        for row, text in zip(own, shortened([row[widest] for row in own], room), strict=True):
            row[widest] = text


def _below_common_folder(names: Sequence[str]) -> list[str]:
    """The names without the folders that all of them begin with."""
    paths = [PurePath(name) for name in names]
    folders = {path.parent for path in paths}
    if any(path.is_absolute() for path in paths) != all(path.is_absolute() for path in paths):
        return list(names)
    common = os.path.commonpath(folders) if all(map(str, folders)) else ""
    return [str(path.relative_to(common)) if common else str(path) for path in paths]


def _without_common_parts(names: Sequence[str]) -> list[str]:
    """The names with an ellipsis for the inner folders that are the same in all."""
    parts = [PurePath(name).parts for name in names]
    if len(set(map(len, parts))) > 1:
        return list(names)
    same = [len(set(column)) == 1 for column in zip(*parts, strict=True)]
    found = []
    for path in parts:
        kept = [ELLIPSIS if alike else part for part, alike in zip(path, same, strict=True)][:-1]
        # Neighbouring ellipses are one.
        kept = [
            part for i, part in enumerate(kept) if part != ELLIPSIS or kept[i - 1 : i] != [part]
        ]
        found.append("/".join([*kept, path[-1]]))
    return found


def _with_short_ends(names: Sequence[str], width: int) -> list[str]:
    """The paths with file names shortened as far as the longest folder requires."""
    folders = [str(PurePath(name).parent) for name in names]
    room = width - max(map(len, folders)) - 1
    if room < LEAST_END:
        return list(names)
    return [
        f"{folder}/{_without_middle(PurePath(name).name, room, 0.5)}"
        for folder, name in zip(folders, names, strict=True)
    ]


def _without_middle(name: str, width: int, start: float) -> str:
    """The name cut in the middle; `start` is the share of the room for its first letters."""
    if len(name) <= width:
        return name
    head = round((width - len(ELLIPSIS)) * start)
    tail = width - len(ELLIPSIS) - head
    return name[:head] + ELLIPSIS + name[len(name) - tail :]


def _widths(columns: Sequence[str], cells: Rows) -> list[int]:
    """Letters in the longest line of each column."""
    return [
        max(len(line) for text in column for line in text.split("\n"))
        for column in zip(columns, *cells, strict=True)
    ]


def _excess(columns: Sequence[str], cells: Rows, width: int) -> int:
    """By how many letters a table is too wide."""
    widths = _widths(columns, cells)
    return sum(widths) + len(GAP) * (len(widths) - 1) - width


def _lines(row: Sequence[str], widths: Sequence[int], names: int) -> list[str]:
    """The lines of a row: names to the left of their columns, numbers to the right."""
    found = []
    for line in zip_longest(*(text.split("\n") for text in row), fillvalue=""):
        texts = [
            text.ljust(width) if i < names else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        found.append(GAP.join(texts).rstrip())
    return found
