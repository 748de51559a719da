"""Pictures of fitted maps in colour, with a colour bar in ms."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cmrrecon.tools.atomic import atomic
from cmrrecon.tools.errors import UsageError
from cmrrecon.tools.provenance import to_json

# Values in ms at the ends of the colour bar. Equal for all scans, so that pictures can be compared.
WINDOWS = {"T1": (0.0, 2000.0), "T2": (0.0, 120.0), "T2*": (0.0, 60.0)}
DEVIATION_SHOWN = 0.1  # The deviations end at this fraction of the window.
RESIDUAL_SHOWN = 0.99  # quantile of the residuals
COLOURS = "viridis"
# Inches and points.
HEIGHT, BAR, TITLE = 3.2, 0.9, 0.35
MOST_COLUMNS = 4
TYPE = 9
DPI = 150


def check_window(window: tuple[float, float] | None) -> None:
    """Refuse a window that does not rise from 0 or more (`window-range`)."""
    if window is None:
        return
    low, high = window
    if not (0 <= low < high < math.inf):
        raise UsageError(
            "window-range",
            f"The window of the colour bar is {low:g} to {high:g} ms",
            "It must rise, from 0 or more",
            "Use, for example, 800,1400",
        )


def write_map_figure(
    path: Path,
    image: Tensor,
    parameter: str,
    part: str,
    quantity: str,
    stamp: Mapping[str, Any],
    window: tuple[float, float] | None = None,
) -> None:
    """Write a map as PNG: slices side by side, NaN in black, one colour bar.

    Parameters
    ----------
    path : Path
        The output.
    image : Tensor of shape (slice, y, x)
        The map.
    parameter : str
        `T1`, `T2` or `T2*`.
    part : {"values", "deviation", "residual"}
        What the map contains.
    quantity : str
        Title of the picture.
    stamp : mapping
        Provenance to store in the picture; its geometry sets the shape of the pixels.
    window : (float, float), optional
        Values in ms at the ends of the colour bar; None for `WINDOWS`.

    Raises
    ------
    UsageError
        If the window is not valid (`window-range`).
    OutputError
        If the file cannot be written.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    check_window(window)
    low, high = _ends(image, parameter, part, window)
    unit = "unit of the images" if part == "residual" else "ms"

    slices, y, x = image.shape
    aspect = pixel_aspect(stamp)
    columns = min(slices, MOST_COLUMNS)
    rows = math.ceil(slices / columns)
    width = HEIGHT * x / (y * aspect)
    figure = Figure(figsize=(columns * width + BAR, rows * (HEIGHT + TITLE)), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    colours = colormaps[COLOURS].with_extremes(bad="black")

    for axis in axes.flat:
        axis.set_axis_off()
    for index, axis in zip(range(slices), axes.flat, strict=False):
        shown = axis.imshow(
            image[index].cpu().numpy(),
            cmap=colours,
            vmin=low,
            vmax=high,
            aspect=aspect,
            interpolation="nearest",
        )
        title = quantity if slices == 1 else f"{quantity}, slice {index}"
        axis.set_title(title, fontsize=TYPE)
    bar = figure.colorbar(shown, ax=axes, extend="max", fraction=0.05, pad=0.02)
    bar.set_label(f"{quantity} ({unit})", fontsize=TYPE)
    bar.ax.tick_params(labelsize=TYPE)

    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, metadata={"provenance": to_json(stamp)})


def pixel_aspect(stamp: Mapping[str, Any]) -> float:
    """Return the height of a pixel divided by its width, from the geometry; 1 if unknown."""
    from cmrrecon.formats.geometry import geometry_of

    geometry = geometry_of(stamp.get("geometry"))
    voxel = None if geometry is None else geometry.voxel_mm
    return 1.0 if voxel is None else voxel[0] / voxel[1]


def _ends(
    image: Tensor, parameter: str, part: str, window: tuple[float, float] | None
) -> tuple[float, float]:
    """Return the values at the ends of the colour bar."""
    low, high = window or WINDOWS[parameter]
    if part == "values":
        return low, high
    if part == "deviation":
        return 0.0, DEVIATION_SHOWN * high
    known = image[image.isfinite()]
    return 0.0, float(torch.quantile(known.double(), RESIDUAL_SHOWN)) if len(known) else 1.0
