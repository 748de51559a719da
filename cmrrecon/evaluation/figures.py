"""Figures of reconstructions side by side: one frame, its error, its edges, and the motion along one line."""

from collections.abc import Mapping
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cmrrecon.losses.edge_aware import edge_aware_loss, edge_region
from cmrrecon.tools.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WINDOW_TOP = 0.995
ERROR_SHOWN = 0.97
ERROR_FACTORS = (1, 2, 5, 10, 20, 50, 100)
LINE_COLOUR = "#ffb000"
OUTSIDE_COLOUR = (
    "#203a60"  # unlike any grey, so that dark tissue inside the edge region is seen as such
)
IMAGE_HEIGHT = 1.9  # inches
COLUMN_WIDTHS = (2.6, 3.4)  # inches; a title with scores must fit, and four columns a page
MARGIN, LINE_HEIGHT = (
    0.8,
    0.15,
)  # inches; the footnote and the gaps between rows, and a line of a title
TITLE_WIDTH = 38  # letters
LEAST_WIDTH = 4.0  # inches; the footnote must fit
REFERENCE = "reference"


def comparison_figure(
    images: Mapping[str, Tensor],
    reference: Tensor | None,
    *,
    frame: int,
    titles: Mapping[str, str] | None = None,
    heading: str | None = None,
    edges: bool = False,
) -> "Figure":
    """Reference and methods in columns; in rows one frame, its error map (with a reference), what of it lies in the reference's edge
    region (if asked for) and a y-t profile (several frames).

    One grey window serves all: zero to the 99.5th percentile of what is shown of the reference, or of the first image without one;
    every image is scaled to it by least squares over the whole series. The error is |image - reference| times a factor that the
    figure states: the largest round one that keeps 97 % of the median method's error inside the window.

    Parameters
    ----------
    images : name -> Tensor (frame, y, x), magnitudes or complex
    reference : Tensor (frame, y, x), or None
    frame : which frame is pictured, from 0
    titles : name -> title, such as its scores with their protocol; names without one are their own. The reference is `reference`
    heading : line above all, such as how the scan was sampled
    edges : whether to show what the EAR loss looks at, see `losses.edge_aware.edge_region`

    Returns
    -------
    matplotlib.figure.Figure, to be saved with `savefig`

    Raises
    ------
    UsageError : no images, different shapes, a frame outside them, or edges without a reference
    """
    columns = ({REFERENCE: reference} if reference is not None else {}) | dict(images)
    _check(columns, frame)
    if edges and reference is None:
        raise UsageError(
            "option-needs",
            "Edges were asked for without a reference",
            "The edges that count are those of the reference",
            "Give a reference",
        )
    shown = _scaled({name: _magnitude(image) for name, image in columns.items()})
    target = next(iter(shown.values()))
    top = float(torch.quantile(target[frame].flatten(), WINDOW_TOP)) or 1.0
    factor = _error_factor(shown, frame, top) if reference is not None else 1
    region = edge_region(target[frame][None])[0] if edges else None
    labels = _row_labels(
        frame, factor, error=reference is not None, edges=edges, profile=target.shape[0] > 1
    )
    named = {name: _wrapped((titles or {}).get(name, name)) for name in shown}
    lines = max(title.count("\n") + 1 for title in named.values()) + (2 if heading else 0) + edges
    figure = _empty_figure(target, len(labels), len(shown), lines)
    axes = figure.subplots(len(labels), len(shown), squeeze=False)
    for j, (name, image) in enumerate(shown.items()):
        column = dict(zip(labels, axes[:, j], strict=True))
        column["image"].set_title(named[name], fontsize=9)
        error = None if j == 0 else image[frame] - target[frame]
        _show_column(column, image, frame, top, error, factor, region)
    for label, axis in zip(labels.values(), axes[:, 0], strict=True):
        axis.set_ylabel(label, fontsize=9)
    if heading is not None:
        figure.suptitle(heading, fontsize=10)
    figure.supxlabel(_footnote(reference is not None, edges), fontsize=7, color="0.35")
    return figure


def edge_similarity(images: Tensor, reference: Tensor) -> float:
    """1 - EAR loss: the structural similarity of a series to its reference where the reference has edges, with the loss's defaults.

    Parameters
    ----------
    images, reference : Tensor (frame, y, x), magnitudes or complex; the images are scaled as in the figure

    Raises
    ------
    UsageError : images of fewer than 7 x 7 pixels
    """
    target, image = _scaled(
        {REFERENCE: _magnitude(reference), "image": _magnitude(images)}
    ).values()
    return 1 - float(edge_aware_loss(image, target))


def _wrapped(title: str) -> str:
    """The title in lines that the narrowest column holds."""
    return "\n".join(part for line in title.split("\n") for part in wrap(line, TITLE_WIDTH))


def _magnitude(image: Tensor) -> Tensor:
    """Magnitudes in double precision on the CPU."""
    return image.detach().abs().to("cpu", torch.float64)


def _check(columns: Mapping[str, Tensor], frame: int) -> None:
    """Refuse what cannot be drawn."""
    shapes = {tuple(image.shape) for image in columns.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 3:
        raise UsageError(
            "shape-mismatch",
            f"The images have the shapes {', '.join(map(str, sorted(shapes))) or 'of nothing'}",
            "At least one is needed, and all must have the same axes (frame, y, x)",
            "Give the images of one series",
        )
    frames = next(iter(shapes))[0]
    if not 0 <= frame < frames:
        raise UsageError(
            "frame-missing",
            f"Frame {frame} was asked for",
            f"The images have frames 0 to {frames - 1}",
            "Choose one of these",
        )


def _scaled(images: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each series times the real number that brings it nearest to the first one."""
    target = next(iter(images.values()))
    return {
        name: image * float((image * target).sum() / image.square().sum().clamp(min=1e-300))
        for name, image in images.items()
    }


def _error_factor(images: Mapping[str, Tensor], frame: int, top: float) -> int:
    """The largest round factor at which nearly all of the median method's error still fits the window."""
    target, *others = (image[frame] for image in images.values())
    if not others:
        return 1
    errors = torch.stack(
        [torch.quantile((image - target).abs().flatten(), ERROR_SHOWN) for image in others]
    )
    return max(
        [factor for factor in ERROR_FACTORS if factor * float(errors.median()) <= top], default=1
    )


def _row_labels(
    frame: int, factor: int, *, error: bool, edges: bool, profile: bool
) -> dict[str, str]:
    """The rows of a figure from top to bottom, by name, each with its label."""
    rows = {
        "image": (f"frame {frame}", True),
        "error": (f"error × {factor}", error),
        "edges": ("edge region", edges),
        "profile": ("y–t profile", profile),
    }
    return {name: label for name, (label, wanted) in rows.items() if wanted}


def _empty_figure(target: Tensor, rows: int, columns: int, lines: int) -> "Figure":
    """A figure that holds so many pictures like the target (frame, y, x), and so many lines of titles."""
    from matplotlib.figure import Figure

    ny, nx = target.shape[1:]
    width = min(max(IMAGE_HEIGHT * nx / ny, COLUMN_WIDTHS[0]), COLUMN_WIDTHS[1])
    size = (
        max(width * columns + 0.5, LEAST_WIDTH),
        width * ny / nx * rows + MARGIN + LINE_HEIGHT * lines,
    )
    return Figure(figsize=size, layout="constrained")


def _show_column(
    column: Mapping[str, "Axes"],
    image: Tensor,
    frame: int,
    top: float,
    error: Tensor | None,
    factor: int,
    region: Tensor | None,
) -> None:
    """All pictures of one series (frame, y, x); without an error (y, x) it is the reference."""
    _show(column["image"], image[frame], top)
    if "error" in column:
        _show_error(column["error"], image.shape[1:], error, top, factor)
    if region is not None:
        _show(column["edges"], image[frame], top, region)
    if "profile" in column:
        middle = image.shape[2] // 2
        column["image"].axvline(middle, color=LINE_COLOUR, linewidth=0.8, linestyle=(0, (4, 3)))
        _show_profile(column["profile"], image[:, :, middle].T, top, frame)


def _show(axis: "Axes", picture: Tensor, top: float, region: Tensor | None = None) -> None:
    """One picture (y, x), or what of it lies in a region; pixels drawn square."""
    pixels = picture.numpy()
    if region is not None:
        pixels = np.ma.masked_array(pixels, ~region.numpy())
        axis.set_facecolor(OUTSIDE_COLOUR)
    axis.imshow(pixels, cmap="gray", vmin=0, vmax=top, aspect="equal", interpolation="nearest")
    _bare(axis)


def _show_error(
    axis: "Axes", shape: tuple[int, ...], error: Tensor | None, top: float, factor: int
) -> None:
    """The error of one method, of this shape (y, x); the reference has none, and its place holds no picture."""
    _bare(axis)
    if error is None:
        axis.set_box_aspect(shape[0] / shape[1])
        axis.text(
            0.5,
            0.5,
            "error in the same grey window",
            transform=axis.transAxes,
            ha="center",
            va="center",
            fontsize=8,
            color="0.35",
        )
    else:
        axis.imshow(
            factor * error.abs().numpy(),
            cmap="gray",
            vmin=0,
            vmax=top,
            aspect="equal",
            interpolation="nearest",
        )


def _show_profile(axis: "Axes", profile: Tensor, top: float, frame: int) -> None:
    """The line (y, frame) over time, y as in the image above; the pictured frame is ticked."""
    axis.imshow(
        profile.numpy(), cmap="gray", vmin=0, vmax=top, aspect="auto", interpolation="nearest"
    )
    _bare(axis)
    axis.set_xticks([frame], [f"frame {frame}"], fontsize=7)


def _bare(axis: "Axes") -> None:
    """No ticks and no frame."""
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)


def _footnote(with_reference: bool, edges: bool) -> str:
    target = "the reference" if with_reference else "the first image"
    blue = "\nBlue: outside the edge region of the reference." if edges else ""
    return f"Grey window: 0 to the 99.5th percentile of {target}.\nEvery image is scaled to it by least squares over the series.{blue}"
