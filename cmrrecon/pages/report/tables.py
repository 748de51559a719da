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


def overview(scans: Sequence[Read], methods: Sequence[str], rule: str) -> Html:
    """Return the tables of mean scores.

    Parameters
    ----------
    scans : sequence of Read
        All scans.
    methods : sequence of str
        Labels of all methods.
    rule : str
        The scoring rule, for the captions.
    """
    records = scored(scans)
    caption = f"protocol {rule}; {INTERVAL}"
    parts = [_by(records, (), f"by method; {caption}")]

    shared = common(scans, methods)
    if 0 < len(shared) < len(scans):
        alike = [record for read in shared for record in read.records.values()]
        what = f"only the {len(shared)} of {len(scans)} scans that every method has; {caption}"
        parts.append(_by(alike, (), what))

    for axis in AXES:
        if any(record[axis] is not None for record in records):
            parts.append(_by(records, (axis,), f"by {TITLES[axis]}; {caption}"))
    return joined(parts)


def rows_of(scans: Sequence[Read], methods: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of the overview as JSON values, by name of the table."""
    records = scored(scans)
    shared = [record for read in common(scans, methods) for record in read.records.values()]
    found = {"method": table(records, ()), "method_of_common_scans": table(shared, ())}
    return found | {axis: table(records, (axis,)) for axis in AXES}


def _by(records: Sequence[Mapping[str, Any]], axes: Sequence[str], caption: str) -> Html:
    """Return the table for one axis; R is shown with the effective R beside it."""
    shown = [dict(record) for record in records]
    for record in shown:
        if record["acceleration"] is not None:
            record["acceleration"] = f"{record['acceleration']:g}"
    found = table(shown, axes)

    rows = [cells(row, axes) for row in found]
    columns = [TITLES[axis] for axis in with_method(axes)]
    if "acceleration" in axes:
        columns.append("effective R")
        for row, values in zip(rows, found, strict=True):
            row.insert(2, _effective(shown, values))
    return html_table(caption, [*columns, "scans", *METRICS], rows, names=len(columns))


def _effective(records: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> str:
    """Return the range of the effective R in a row of the table by R."""
    found = [
        float(record["effective_acceleration"])
        for record in records
        if all(record[key] == row[key] for key in ("method", "acceleration"))
        and record["effective_acceleration"] is not None
    ]
    if not found:
        return "unknown"
    ends = f"{min(found):.2f}", f"{max(found):.2f}"
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
