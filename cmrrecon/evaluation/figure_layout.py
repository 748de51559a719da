"""Lays out a comparison figure: columns, rows, titles and caption in their printed sizes."""

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Inches. The page of a two-column journal is 7.16 wide, which leaves room for six titles.
WIDTH = 7.16
LEAST_COLUMN = 1.0
LEAST_WIDTH = 3.5
HIGHEST_IMAGE = 2.4
HIGHEST_PROFILE = 1.1
# Inches: row labels on the left, colour bars on the right, gaps between rows, ticks of the profile.
LABELS = 0.3
SCALES = 0.6
GAP = 0.06
TICKS = 0.35
# Points. Journals require at least 7.
TYPE = 7.0
TITLE = 7.5
HEADING = 8.0
# Average width of a letter and height of a line, relative to the type size.
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
        Box (y0, y1, x0, x1) that is shown in all rows except the first.
    aspect : float
        Height of a pixel divided by its width.

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
        """Create an empty figure with heading and caption, and its axes (row, column)."""
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
    """Wrap text to a width in inches at a type size in points."""
    letters = max(8, int(width * POINTS / (points * LETTER)))
    return "\n".join(part for line in text.split("\n") for part in wrap(line, letters))
