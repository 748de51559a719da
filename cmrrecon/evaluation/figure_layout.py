"""Sizes of a comparison figure: columns, rows, titles and caption at their printed size."""

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Inches. A page of a journal with two columns is 7.16 wide; six columns still hold their titles.
WIDTH = 7.16
LEAST_COLUMN = 1.0
LEAST_WIDTH = 3.5
HIGHEST_IMAGE = 2.4
HIGHEST_PROFILE = 1.1
# Inches: row labels at the left, colour bars at the right, gaps between rows, the profile's ticks.
LABELS = 0.3
SCALES = 0.6
GAP = 0.06
TICKS = 0.35
# Points. Journals ask for at least 7.
TYPE = 7.0
TITLE = 7.5
HEADING = 8.0
# Width of a letter over its size, on average, and height of a line.
LETTER = 0.56
LINE = 1.3
POINTS = 72


class Layout:
    """The sizes of a figure.

    Parameters
    ----------
    rows : sequence of str
        Names of the rows: `image`, `zoom`, `error`, `edges`, `profile`.
    titles : sequence of str
        Titles of the columns; lines that are too long are wrapped.
    size : tuple of int
        Pixels (y, x) of the images.
    zoom : tuple of int, optional
        Box (y0, y1, x0, x1) that all rows but the first show.
    aspect : float
        Height of a pixel over its width.

    Attributes
    ----------
    titles : list of str
        Wrapped titles.
    type_size : float
        Size of labels in points.
    """

    def __init__(
        self,
        rows: Sequence[str],
        titles: Sequence[str],
        size: tuple[int, ...],
        zoom: tuple[int, int, int, int] | None,
        aspect: float,
    ) -> None:
        self.type_size = TYPE
        whole = aspect * size[0] / size[1]
        inner = whole if zoom is None else aspect * (zoom[1] - zoom[0]) / (zoom[3] - zoom[2])

        widest = max(LEAST_COLUMN, (WIDTH - LABELS - SCALES) / len(titles))
        tallest = max(whole, inner if set(rows) & {"zoom", "error", "edges"} else 0)
        self.column = max(LEAST_COLUMN, min(widest, HIGHEST_IMAGE / tallest))
        self.titles = [_wrapped(title, self.column, TITLE) for title in titles]

        self.heights = []
        for row in rows:
            height = self.column * (whole if row == "image" else inner)
            self.heights.append(min(height, HIGHEST_PROFILE) if row == "profile" else height)
        self.ticks = TICKS if "profile" in rows else 0.0

    def figure(self, heading: str | None, caption: str) -> "tuple[Figure, Any]":
        """An empty figure and its axes (row, column), with a heading above and a caption below."""
        from matplotlib.figure import Figure

        width = max(self.column * len(self.titles) + LABELS + SCALES, LEAST_WIDTH)
        above = "" if heading is None else _wrapped(heading, width, HEADING)
        below = _wrapped(caption, width, TYPE)
        lines = max(title.count("\n") + 1 for title in self.titles)
        texts = [(lines, TITLE), (below.count("\n") + 2, TYPE)]
        texts += [(above.count("\n") + 2, HEADING)] if above else []

        height = sum(self.heights) + GAP * len(self.heights) + self.ticks
        height += sum(LINE * count * points / POINTS for count, points in texts)
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.03, wspace=0.01, hspace=0.01)  # type: ignore[union-attr,call-arg]
        axes = figure.subplots(
            len(self.heights), len(self.titles), squeeze=False, height_ratios=self.heights
        )
        if above:
            figure.suptitle(above, fontsize=HEADING)
        figure.supxlabel(below, fontsize=TYPE, color="0.25", x=0.01, ha="left")
        return figure, axes


def _wrapped(text: str, width: float, points: float) -> str:
    """The text in lines that a width in inches holds at a size in points."""
    letters = max(8, int(width * POINTS / (points * LETTER)))
    return "\n".join(part for line in text.split("\n") for part in wrap(line, letters))
