"""Options of `cmrrecon compare` turned into values: the slice, the display, the file."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from cmrrecon.cli import outputs
from cmrrecon.cli.inputs import Job
from cmrrecon.cli.settings import parse_numbers, parse_slices
from cmrrecon.tools.errors import UsageError

if TYPE_CHECKING:
    from cmrrecon.data import Scan
    from cmrrecon.evaluation.figures import Display

# Suffixes of figures, and the field that holds the provenance.
FIGURES = {".png": "provenance", ".pdf": "Keywords", ".svg": "Description"}
# Protocols that score one slice without a crop.
SCORED = ("fullfov", "body")
LEAST_DPI = 50
MOST_DPI = 1200


def complete_scored(incomplete: str) -> list[str]:
    """Protocols of a comparison, for completion in the shell."""
    return [name for name in SCORED if name.startswith(incomplete)]


def one_slice(text: str | None, count: int) -> int:
    """The slice of --slices, by default the middle one of `count`."""
    if text is None:
        return count // 2
    chosen = parse_slices(text, count)
    if len(chosen) > 1:
        raise UsageError(
            "option-value",
            f"--slices was given {text!r}",
            "A figure shows one slice",
            "Give one number, and make a figure for each slice",
        )
    return chosen[0]


def check_dpi(dpi: int) -> None:
    """Refuse a resolution that gives no useful picture."""
    if not LEAST_DPI <= dpi <= MOST_DPI:
        raise UsageError(
            "option-value",
            f"--dpi was given {dpi}",
            f"It is from {LEAST_DPI} to {MOST_DPI}",
            "Write for example --dpi 300",
        )


def figure_target(job: Job, output: str | None, out_dir: Path | None) -> Path:
    """The file of the figure.

    Raises
    ------
    UsageError
        If both options are given (`options-conflict`), or the suffix is of no kind of figure
        (`output-format`).
    """
    if output is not None and out_dir is not None:
        raise UsageError(
            "options-conflict",
            "Both -o and --out-dir were given",
            "One of them says where the figure goes",
            "Leave one out",
        )

    target = outputs.destination(job, output, out_dir, f"{job.stem}_compare.png")
    if target.suffix.lower() not in FIGURES:
        raise UsageError(
            "output-format",
            f"The figure is to be {target.name}",
            f"Figures are {', '.join(FIGURES)}",
            "Name another file with -o",
        )
    return target


def display_of(
    scan: "Scan", window: str | None, zoom: str | None, aspect: float | None
) -> "Display":
    """How the figure of a scan is shown, checked.

    Parameters
    ----------
    scan : Scan
        Its geometry gives the aspect and the times of the frames, where known.
    window, zoom : str or None
        Values of --window and --zoom.
    aspect : float or None
        Value of --aspect.

    Raises
    ------
    UsageError
        If a value cannot be read (`option-value`), the window is reversed (`window-range`), or the
        box is outside the images (`box-outside`).
    """
    from cmrrecon.data import View
    from cmrrecon.evaluation.figures import Display, check_display

    geometry = scan.geometry
    voxel = None if geometry is None else geometry.voxel_mm
    if aspect is None:
        aspect = 1.0 if voxel is None else voxel[0] / voxel[1]
    box = None
    if zoom is not None:
        y0, y1, x0, x1 = parse_numbers(zoom, 4, ",", "--zoom", "--zoom 40,125,150,280")
        box = (y0, y1, x0, x1)

    display = Display(
        window=None if window is None else _window(window),
        zoom=box,
        aspect=aspect,
        frame_times_ms=None if geometry is None else geometry.frame_times_ms,
    )
    y, x = scan.shape[-2:]
    check_display(display, View().size(geometry, (y, x)))
    return display


def _window(text: str) -> tuple[float, float]:
    """The two fractions of --window."""
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        low = high = math.nan
    if math.isnan(low) or math.isnan(high):
        raise UsageError(
            "option-value",
            f"--window was given {text!r}",
            "It needs two fractions of the maximum, LOW,HIGH",
            "Write for example --window 0,0.6",
        )
    return low, high
