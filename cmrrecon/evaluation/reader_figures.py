"""Figures of a reader study: ratings by method, preferences, and agreement of the readers."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

from cmrrecon.evaluation.reader_ratings import SCALE, SCALE_WORDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.16
TYPE = 8
ROW = 0.32
# From dark red to dark blue; readable in print and with common deficits of colour vision.
COLOURS = ("#b2182b", "#ef8a62", "#dddddd", "#67a9cf", "#2166ac")
LIGHT = ("#ef8a62", "#dddddd", "#67a9cf")
INK = "#1b1f24"
MARK = "#0550ae"


def rating_figure(found: Mapping[str, Any]) -> "Figure":
    """Draw the shares of the ratings by method in one panel for each criterion.

    Parameters
    ----------
    found : mapping
        The result of `reader_analysis.analysis` for ratings.

    Returns
    -------
    matplotlib.figure.Figure
        The figure, 7.16 inches wide. The median and the quartiles stand beside each bar.
    """
    criteria = found["criteria"]
    figure, axes = _panels(len(criteria), len(found["methods"]))
    for axis, criterion in zip(axes, criteria, strict=True):
        rows = [row for row in found["summaries"] if row["criterion"] == criterion]
        for place, row in enumerate(rows):
            _bar(axis, place, row)
        _finish(axis, criterion, [row["method"] for row in rows])
        axis.set_xlim(0, 100)

    axes[-1].set_xlabel("share of ratings (%); at the right: median (quartiles)", fontsize=TYPE)
    bars = axes[0].patches[: len(SCALE)]
    words = [f"{value} {word}" for value, word in zip(SCALE, SCALE_WORDS, strict=True)]
    figure.legend(bars, words, loc="outside upper center", ncols=5, fontsize=TYPE, frameon=False)
    _caption(figure, found)
    return figure


def preference_figure(found: Mapping[str, Any]) -> "Figure":
    """Draw the share of scans that prefer the first method of each pair, with intervals."""
    criteria = found["criteria"]
    pairs = len(found["preferences"]) // len(criteria)
    figure, axes = _panels(len(criteria), pairs)

    for axis, criterion in zip(axes, criteria, strict=True):
        rows = [row for row in found["preferences"] if row["criterion"] == criterion]
        for place, row in enumerate(rows):
            _interval(axis, place, row, "share", 100)
            _beside(axis, place, f"{row['first']} : {row['second']}, ties {row['ties']}")
        axis.axvline(50, color=INK, linewidth=0.8, linestyle=":")
        _finish(axis, criterion, [" over ".join(row["methods"]) for row in rows])
        axis.set_xlim(0, 100)

    axes[-1].set_xlabel("scans that prefer the first method (%)", fontsize=TYPE)
    _caption(figure, found)
    return figure


def agreement_figure(found: Mapping[str, Any]) -> "Figure":
    """Draw the weighted kappa between and within readers, with intervals."""
    criteria = found["criteria"]
    by_criterion = [
        [row for row in found["agreement"] if row["criterion"] == criterion]
        for criterion in criteria
    ]
    figure, axes = _panels(len(criteria), max(map(len, by_criterion)))

    for axis, criterion, rows in zip(axes, criteria, by_criterion, strict=True):
        for place, row in enumerate(rows):
            _interval(axis, place, row, "kappa", 1)
            _beside(axis, place, f"n = {row['n']}")
        axis.axvline(0, color=INK, linewidth=0.8, linestyle=":")
        _finish(axis, criterion, [agreement_label(row) for row in rows])
        axis.set_xlim(-1, 1)

    axes[-1].set_xlabel("weighted kappa", fontsize=TYPE)
    _caption(figure, found)
    return figure


def agreement_label(row: Mapping[str, Any]) -> str:
    """Return the name of a row of the agreement table."""
    readers = row["readers"]
    names = {
        "between": f"readers {' and '.join(map(str, readers))}",
        "within": f"reader {readers[0]}, first and second reading",
        "between-mean": "mean between readers",
        "within-mean": "mean within readers",
    }
    return names[row["kind"]]


def _panels(count: int, rows: int) -> "tuple[Figure, list[Axes]]":
    """Return a figure with one panel below the other."""
    from matplotlib.figure import Figure

    height = count * (rows * ROW + 0.45) + 1.0
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    return figure, list(axes)


def _bar(axis: "Axes", place: int, row: Mapping[str, Any]) -> None:
    """Draw one stacked bar with the counts in it and the median beside it."""
    total, left = max(1, row["n"]), 0.0
    for colour, count in zip(COLOURS, row["counts"], strict=True):
        width = 100 * count / total
        axis.barh(place, width, left=left, color=colour, height=0.75, edgecolor="white")
        if width > 4:
            ink = INK if colour in LIGHT else "white"
            axis.text(
                left + width / 2, place, str(count), ha="center", va="center", color=ink,
                fontsize=TYPE,
            )  # fmt: skip
        left += width
    if row["n"]:
        _beside(axis, place, f"{row['median']:g} ({row['q1']:g}–{row['q3']:g})")


def _interval(axis: "Axes", place: int, row: Mapping[str, Any], name: str, scale: float) -> None:
    """Draw a value with its interval; a value that is not defined is left out."""
    if row[name] is None:
        return
    if row["low"] is not None:
        ends = [scale * row["low"], scale * row["high"]]
        axis.plot(ends, [place, place], color=MARK, linewidth=1.5, solid_capstyle="butt")
    axis.plot([scale * row[name]], [place], "o", color=MARK, markersize=5, clip_on=False)


def _beside(axis: "Axes", place: int, text: str) -> None:
    """Write a text at the right of a row."""
    where = axis.get_yaxis_transform()
    axis.text(1.01, place, text, transform=where, va="center", fontsize=TYPE, color=INK)


def _finish(axis: "Axes", title: str, labels: Sequence[str]) -> None:
    """Set title, labels and limits of a panel, with the first row at the top."""
    axis.set_title(title, fontsize=TYPE + 1, loc="left")
    axis.set_yticks(range(len(labels)), labels, fontsize=TYPE)
    axis.set_ylim(max(1, len(labels)) - 0.5, -0.5)
    axis.tick_params(labelsize=TYPE)
    axis.spines[["top", "right"]].set_visible(False)


def _caption(figure: "Figure", found: Mapping[str, Any]) -> None:
    """Write the protocol below the figure."""
    figure.supxlabel(
        fill(f"{found['protocol']}.", 118), fontsize=TYPE - 1, x=0.01, ha="left", color=INK
    )
