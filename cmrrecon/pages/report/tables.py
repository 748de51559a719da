"""The overview: mean scores with bootstrap intervals, by method, modality, pattern and R."""

from collections.abc import Mapping, Sequence
from typing import Any

from cmrrecon.evaluation.generalisation import cells, table, with_method
from cmrrecon.pages.page import Html, element, joined
from cmrrecon.pages.report.summary import Read, common, scored

AXES = ("modality", "pattern", "acceleration")
TITLES = {"method": "method", "modality": "modality", "pattern": "pattern", "acceleration": "R"}
METRICS = ("PSNR dB", "SSIM", "NMSE")
INTERVAL = "mean [95 % bootstrap interval over scans]"


def html_table(
    caption: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, names: int = 1
) -> Html:
    """Return a table whose first `names` columns are texts and the others numbers."""
    classes = [None if i < names else "number" for i in range(len(columns))]
    head = element(
        "tr",
        *(element("th", c, scope="col", class_=k) for c, k in zip(columns, classes, strict=True)),
    )
    body = [
        element("tr", *(element("td", c, class_=k) for c, k in zip(row, classes, strict=True)))
        for row in rows
    ]
    content = (element("caption", caption), element("thead", head), element("tbody", *body))
    return element("div", element("table", *content), class_="scroll")


def rows_of(scans: Sequence[Read], methods: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of the overview, as JSON values.

    Parameters
    ----------
    scans : sequence of Read
        All scans.
    methods : sequence of str
        Labels of all methods.

    Returns
    -------
    dict
        The rows of `generalisation.table` for each table: `method`; `common`, over the scans that
        every method has, if that is not all; and one for each axis with a known value. Those by R
        have the `effective_acceleration`, from lowest to highest.
    """
    records = scored(scans)
    found = {"method": table(records, ())}

    shared = common(scans, methods)
    if 0 < len(shared) < len(scans):
        found["common"] = table([r for read in shared for r in read.records.values()], ())
    for axis in AXES:
        if any(record[axis] is not None for record in records):
            found[axis] = table(records, (axis,))

    for row in found.get("acceleration", ()):
        row["effective_acceleration"] = _effective(records, row)
    return found


def overview(rows: Mapping[str, list[dict[str, Any]]], rule: str) -> Html:
    """Return the tables of mean scores.

    Parameters
    ----------
    rows : mapping of str to list of dict
        The result of `rows_of`.
    rule : str
        The scoring rule, for the captions.
    """
    rest = f"; protocol {rule}; {INTERVAL}"
    parts = []
    for name, found in rows.items():
        caption = f"By {TITLES.get(name)}{rest}"
        if name == "common":
            caption = f"Only the {found[0]['n']} scans that every method has{rest}"
        parts.append(_table(found, (name,) if name in AXES else (), caption))
    return joined(parts)


def _table(found: Sequence[Mapping[str, Any]], axes: Sequence[str], caption: str) -> Html:
    """Return the table for one axis; R is shown with the effective R beside it."""
    columns = [TITLES[axis] for axis in with_method(axes)]
    lines = []
    for row in found:
        value = row.get("acceleration")
        lines.append(cells({**row, "acceleration": None if value is None else f"{value:g}"}, axes))

    if "acceleration" in axes:
        columns.append("effective R")
        for line, row in zip(lines, found, strict=True):
            ends = [f"{value:.2f}" for value in row["effective_acceleration"] or ()]
            line.insert(2, " to ".join(dict.fromkeys(ends)) or "unknown")
    return html_table(caption, [*columns, "scans", *METRICS], lines, names=len(columns))


def _effective(
    records: Sequence[Mapping[str, Any]], row: Mapping[str, Any]
) -> tuple[float, float] | None:
    """Return the lowest and highest effective R in a row of the table by R; None if unknown."""
    found = [
        float(record["effective_acceleration"])
        for record in records
        if all(record[key] == row[key] for key in ("method", "acceleration"))
        and isinstance(record["effective_acceleration"], int | float)
    ]
    return (min(found), max(found)) if found else None
