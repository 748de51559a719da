"""Figures that compare reconstructions side by side, for papers printed in two columns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cmrrecon.evaluation.figure_layout import Layout
from cmrrecon.evaluation.figure_panels import Column, Picture, draw_column, draw_scales
from cmrrecon.losses.edge_aware import edge_aware_loss, edge_region
from cmrrecon.tools.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WINDOW_TOP = 0.995
ERROR_SHOWN = 0.97
ERROR_FACTORS = (1, 2, 5, 10, 20, 50, 100)
REFERENCE = "reference"


@dataclass(frozen=True)
class Display:
    """Display settings of a comparison.

    Attributes
    ----------
    window : tuple of float, optional
        Grey values (black, white) as fractions of the maximum of the pictured frame of the
        reference (without a reference, of the first image). None: from 0 to the 99.5th percentile
        of this frame.
    zoom : tuple of int, optional
        Box (y0, y1, x0, x1) in pixels that is shown enlarged.
    aspect : float
        Height of a pixel (y) divided by its width (x).
    frame_times_ms : tuple of float, optional
        Time of each frame in ms.
    note : str
        Sentence to add to the caption, such as the protocol of scores in the titles.
    """

    window: tuple[float, float] | None = None
    zoom: tuple[int, int, int, int] | None = None
    aspect: float = 1.0
    frame_times_ms: tuple[float, ...] | None = None
    note: str = ""


def comparison_figure(
    images: Mapping[str, Tensor],
    reference: Tensor | None,
    *,
    frame: int,
    titles: Mapping[str, str] | None = None,
    heading: str | None = None,
    edges: bool = False,
    display: Display | None = None,
) -> "Figure":
    """Draw the reference and several reconstructions in columns.

    The rows show one frame; the zoom box, if there is one; the error (with a reference); the edge
    region of the reference (with `edges`); and a y-t profile (with several frames). With a zoom
    box, all rows except the first show only this box.

    All images share one grey window. Each image is scaled to the reference (without a reference, to
    the first image) by least squares over the whole series. Values are fractions of the maximum of
    the pictured frame of the reference. The error is |image - reference|. In the error maps, white
    is the top of the grey window divided by a round factor. This is the largest factor that keeps
    97 % of the median method's error below white, inside the zoom box if there is one.

    Parameters
    ----------
    images : mapping of str to Tensor of shape (frame, y, x)
        Magnitudes or complex images, by name.
    reference : Tensor of shape (frame, y, x), or None
        The reference.
    frame : int
        Index of the pictured frame, from 0.
    titles : mapping of str to str, optional
        Titles of the columns, such as scores, by name. A column without a title shows its name. The
        name of the reference is `reference`.
    heading : str, optional
        Line at the top, for example how the scan was sampled.
    edges : bool
        Whether to show the region that the EAR loss compares, see `losses.edge_aware.edge_region`.
    display : Display, optional
        Window, zoom box, aspect and time axis; None for the defaults.

    Returns
    -------
    matplotlib.figure.Figure
        The figure, 7.16 inches wide for up to six columns, with type of at least 7 points. Save it
        with `savefig`.

    Raises
    ------
    UsageError
        If there are no images or their shapes differ (`shape-mismatch`), they do not have the frame
        (`frame-missing`) or do not contain the zoom box (`box-outside`), the window is reversed or
        empty (`window-range`), or edges are requested without a reference (`option-needs`).
    """
    how = display or Display()
    columns = ({REFERENCE: reference} if reference is not None else {}) | dict(images)
    _check(columns, frame)
    check_display(how, next(iter(columns.values())).shape[1:])
    if edges and reference is None:
        raise UsageError(
            "option-needs",
            "Edges were requested without a reference",
            "The edge region is found in the reference",
            "Pass a reference",
        )

    magnitudes = {name: _magnitude(image) for name, image in columns.items()}
    shown = _relative(scaled_alike(magnitudes), frame)
    target = next(iter(shown.values()))
    window = how.window or (0.0, float(torch.quantile(target[frame].flatten(), WINDOW_TOP)) or 1.0)
    factor = error_factor(shown, frame, window[1], how.zoom) if reference is not None else 1
    region = edge_region(target[frame][None])[0] if edges else None

    rows = _rows(frame, factor, how, error=reference is not None, edges=edges, series=len(target))
    named = {name: (titles or {}).get(name, name) for name in shown}
    layout = Layout(list(rows), list(named.values()), target.shape[1:], how.zoom, how.aspect)
    figure, axes = layout.figure(heading, _caption(window, how, reference, edges, len(target)))

    picture = Picture(
        frame, window, window[1] / factor, region, how.zoom, how.aspect, how.frame_times_ms
    )
    for j, (title, image) in enumerate(zip(layout.titles, shown.values(), strict=True)):
        error = None if j == 0 else (image[frame] - target[frame]).abs()
        draw_column(dict(zip(rows, axes[:, j], strict=True)), Column(title, image, error), picture)
    for label, axis in zip(rows.values(), axes[:, 0], strict=True):
        axis.set_ylabel(label, fontsize=layout.type_size)
    draw_scales(figure, dict(zip(rows, axes, strict=True)))
    return figure


def check_display(display: Display, size: tuple[int, ...]) -> None:
    """Refuse a window, zoom box or aspect that cannot be shown.

    Parameters
    ----------
    display : Display
        The requested settings.
    size : tuple of int
        Pixels (y, x) of the images.

    Raises
    ------
    UsageError
        If the window (`window-range`), the zoom box (`box-outside`) or the aspect (`option-value`)
        is not valid.
    """
    if display.window is not None:
        low, high = display.window
        if not 0 <= low < high <= 1:
            raise UsageError(
                "window-range",
                f"The grey window is {low:g} to {high:g}",
                "It must rise within the range 0 to 1, where 1 is the maximum of the reference",
                "Use, for example, 0,0.6",
            )

    if display.zoom is not None:
        y0, y1, x0, x1 = display.zoom
        if not (0 <= y0 < y1 <= size[0] and 0 <= x0 < x1 <= size[1]):
            raise UsageError(
                "box-outside",
                f"The zoom box is y {y0}:{y1}, x {x0}:{x1}",
                f"The images have {size[0]} x {size[1]} pixels (y, x)",
                "Choose a box inside them",
            )

    if not 0.05 <= display.aspect <= 20:
        raise UsageError(
            "option-value",
            f"The aspect of the pixels is {display.aspect:g}",
            "The height of a pixel divided by its width must be from 0.05 to 20",
            "Use, for example, 1.5",
        )


def edge_similarity(images: Tensor, reference: Tensor) -> float:
    """Return 1 - EAR loss, the structural similarity where the reference has edges.

    Parameters
    ----------
    images, reference : Tensor of shape (frame, y, x)
        Magnitudes or complex images. They are scaled as in the figure.

    Returns
    -------
    float
        The similarity, with the default settings of the loss.

    Raises
    ------
    UsageError
        If the images have fewer than 7 x 7 pixels (`images-too-small`).
    """
    both = {REFERENCE: _magnitude(reference), "image": _magnitude(images)}
    target, image = scaled_alike(both).values()
    return 1 - float(edge_aware_loss(image, target))


def _magnitude(image: Tensor) -> Tensor:
    """Return the magnitudes in double precision on the CPU."""
    return image.detach().abs().to("cpu", torch.float64)


def _check(columns: Mapping[str, Tensor], frame: int) -> None:
    """Refuse series of different shapes and frames that do not exist."""
    shapes = {tuple(image.shape) for image in columns.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 3:
        raise UsageError(
            "shape-mismatch",
            f"The shapes of the images are: {', '.join(map(str, sorted(shapes))) or 'none'}",
            "There must be at least one series, and all must have the same shape (frame, y, x)",
            "Pass images of the same series",
        )

    check_frame(frame, next(iter(shapes))[0])


def check_frame(frame: int, frames: int) -> None:
    """Refuse a frame that a series does not have.

    Raises
    ------
    UsageError
        If there is no such frame (`frame-missing`).
    """
    if not 0 <= frame < frames:
        raise UsageError(
            "frame-missing",
            f"Frame {frame} was requested",
            f"The images have frames 0 to {frames - 1}",
            "Choose one of these frames",
        )


def scaled_alike(images: dict[str, Tensor]) -> dict[str, Tensor]:
    """Scale each series by the real factor that fits it to the first series by least squares."""
    target = next(iter(images.values()))
    return {
        name: image * float((image * target).sum() / image.square().sum().clamp(min=1e-300))
        for name, image in images.items()
    }


def _relative(images: dict[str, Tensor], frame: int) -> dict[str, Tensor]:
    """Divide all series by the maximum of one frame of the first series."""
    peak = float(next(iter(images.values()))[frame].max()) or 1.0
    return {name: image / peak for name, image in images.items()}


def error_factor(
    images: Mapping[str, Tensor], frame: int, top: float, zoom: tuple[int, int, int, int] | None
) -> int:
    """Return the largest round factor that keeps nearly all of the median error in the window.

    If there is a zoom box, only the error inside it counts, because the error maps show nothing
    else.
    """
    y0, y1, x0, x1 = zoom or (None, None, None, None)
    target, *others = (image[frame, y0:y1, x0:x1] for image in images.values())
    if not others:
        return 1
    errors = torch.stack(
        [torch.quantile((image - target).abs().flatten(), ERROR_SHOWN) for image in others]
    )
    fitting = [factor for factor in ERROR_FACTORS if factor * float(errors.median()) <= top]
    return max(fitting, default=1)


def _rows(
    frame: int, factor: int, display: Display, *, error: bool, edges: bool, series: int
) -> dict[str, str]:
    """Return the labels of a figure's rows from top to bottom, by the name of the row."""
    rows = {
        "image": (f"frame {frame}", True),
        "zoom": ("zoom", display.zoom is not None),
        "error": (f"error × {factor}", error),
        "edges": ("edge region", edges),
        "profile": ("y–t profile", series > 1),
    }
    return {name: label for name, (label, wanted) in rows.items() if wanted}


def _caption(
    window: tuple[float, float],
    display: Display,
    reference: Tensor | None,
    edges: bool,
    series: int,
) -> str:
    """Describe scale, window and marks for the reader."""
    target = "the reference" if reference is not None else "the first image"
    sentences = [
        f"Values are relative to the maximum of this frame of {target}.",
        f"Grey window: {window[0]:.2g} to {window[1]:.2g}.",
        f"Images are scaled to {target} by least squares over the series.",
        "Blue: outside the edge region of the reference." if edges else "",
        "Box: enlarged below." if display.zoom is not None else "",
        "Dashed: position of the profile and time of the pictured frame." if series > 1 else "",
        display.note,
    ]
    return " ".join(filter(None, sentences))
