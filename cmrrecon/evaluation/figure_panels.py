"""Draws the panels of a comparison figure: image, zoom, error, edge region, profile over time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from cmrrecon.evaluation.figure_layout import TITLE, TYPE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARK = "#ffb000"
# Not a grey, so that the outside of the edge region differs from dark tissue inside it.
OUTSIDE = "#203a60"
DASHES = (0, (4, 3))
# A profile has at most this many ticks along time.
TIME_TICKS = 3


@dataclass(frozen=True)
class Column:
    """One column of a figure.

    Attributes
    ----------
    title : str
        Title, wrapped into lines.
    image : Tensor of shape (frame, y, x)
        Magnitudes relative to the maximum of the reference.
    error : Tensor of shape (y, x), or None
        Magnitude of the error; None for the first column.
    """

    title: str
    image: Tensor
    error: Tensor | None


@dataclass(frozen=True)
class Picture:
    """Settings that all columns share.

    Attributes
    ----------
    frame : int
        Index of the pictured frame.
    window : tuple of float
        Values that are shown black and white.
    error_top : float
        Error that is shown white.
    region : Tensor of shape (y, x), bool, or None
        Edge region of the reference.
    zoom : tuple of int or None
        Box (y0, y1, x0, x1) that is shown in all rows except the first.
    aspect : float
        Height of a pixel divided by its width.
    times : tuple of float or None
        Time of each frame in ms.
    """

    frame: int
    window: tuple[float, float]
    error_top: float
    region: Tensor | None
    zoom: tuple[int, int, int, int] | None
    aspect: float
    times: tuple[float, ...] | None

    def box(self, image: Tensor) -> tuple[slice, slice]:
        """Return the part (y, x) of an image that is shown in all rows except the first."""
        if self.zoom is None:
            return slice(0, image.shape[-2]), slice(0, image.shape[-1])
        y0, y1, x0, x1 = self.zoom
        return slice(y0, y1), slice(x0, x1)

    def line(self, image: Tensor) -> int:
        """Return the column x of the profile: the middle of the image or of the zoom box."""
        x0, x1 = (0, image.shape[-1]) if self.zoom is None else self.zoom[2:]
        return (x0 + x1) // 2


def draw_column(axes: "Mapping[str, Axes]", column: Column, picture: Picture) -> None:
    """Draw one column into its panels, which are named by row."""
    frame = column.image[picture.frame]
    box = picture.box(frame)
    axes["image"].set_title(column.title, fontsize=TITLE, parse_math=False)
    _show(axes["image"], frame, picture)
    if picture.zoom is not None:
        _outline(axes["image"], picture.zoom)
        _show(axes["zoom"], frame[box], picture)

    if "error" in axes:
        _bare(axes["error"])
        if column.error is not None:
            window = (0.0, picture.error_top)
            _imshow(axes["error"], column.error[box].numpy(), window, picture.aspect)
    if picture.region is not None:
        _show(axes["edges"], frame[box], picture, picture.region[box])
    if "profile" in axes:
        x = picture.line(frame)
        where = axes["image"] if picture.zoom is None else axes["zoom"]
        where.axvline(x - box[1].start, color=MARK, linewidth=0.8, linestyle=DASHES)
        _show_profile(axes["profile"], column.image[:, box[0], x].T, picture)


def draw_scales(figure: "Figure", rows: "Mapping[str, Sequence[Axes]]") -> None:
    """Add colour bars with tick labels next to the rows of images and errors."""
    for name, label in (("image", "signal"), ("error", "|error|")):
        shown = [axis for axis in rows.get(name, ()) if axis.images]
        if not shown:
            continue
        bar = figure.colorbar(shown[-1].images[0], ax=list(rows[name]), pad=0.01, aspect=14)
        bar.set_label(label, fontsize=TYPE)
        bar.ax.tick_params(labelsize=TYPE, length=2)
        bar.ax.locator_params(nbins=4)
        bar.outline.set_linewidth(0.5)


def _show(axis: "Axes", pixels: Tensor, picture: Picture, region: Tensor | None = None) -> None:
    """Show one picture (y, x), or only its pixels inside a region."""
    values: Any = pixels.numpy()
    if region is not None:
        values = np.ma.masked_array(values, ~region.numpy())
        axis.set_facecolor(OUTSIDE)
    _imshow(axis, values, picture.window, picture.aspect)


def _imshow(axis: "Axes", values: Any, window: tuple[float, float], aspect: Any) -> None:
    """Show grey pixels without ticks."""
    low, high = window
    axis.imshow(values, cmap="gray", vmin=low, vmax=high, aspect=aspect, interpolation="nearest")
    _bare(axis)


def _outline(axis: "Axes", zoom: tuple[int, int, int, int]) -> None:
    """Draw the outline of the zoom box."""
    from matplotlib.patches import Rectangle

    y0, y1, x0, x1 = zoom
    corner = (x0 - 0.5, y0 - 0.5)
    axis.add_patch(Rectangle(corner, x1 - x0, y1 - y0, fill=False, edgecolor=MARK, linewidth=0.8))


def _show_profile(axis: "Axes", profile: Tensor, picture: Picture) -> None:
    """Show the line (y, frame) over time, marking the pictured frame."""
    frames = profile.shape[1]
    _imshow(axis, profile.numpy(), picture.window, "auto")
    axis.axvline(picture.frame, color=MARK, linewidth=0.8, linestyle=DASHES)

    last = frames - 1
    ticks = sorted({round(last * i / (TIME_TICKS - 1)) for i in range(TIME_TICKS)})
    times = picture.times if picture.times is not None and len(picture.times) == frames else None
    labels = [str(tick) if times is None else f"{times[tick]:.0f}" for tick in ticks]
    axis.set_xticks(ticks, labels, fontsize=TYPE)
    axis.tick_params(axis="x", length=2, pad=1.5)
    axis.set_xlabel("frame" if times is None else "time (ms)", fontsize=TYPE, labelpad=1)


def _bare(axis: "Axes") -> None:
    """Remove ticks and frame."""
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
