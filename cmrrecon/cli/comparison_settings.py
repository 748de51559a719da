"""Turn options of `cmrrecon compare` into values: the slice, the display and the output."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from cmrrecon.cli import outputs
from cmrrecon.cli.choices import complete_protocols
from cmrrecon.cli.inputs import Job
from cmrrecon.cli.settings import parse_numbers, parse_slices
from cmrrecon.tools.errors import UsageError

if TYPE_CHECKING:
    from cmrrecon.data import Scan
    from cmrrecon.evaluation.figures import Display

# Suffixes of figures, and the metadata field for the provenance.
FIGURES = {".png": "provenance", ".pdf": "Keywords", ".svg": "Description"}
MIN_DPI = 50
MAX_DPI = 1200


def complete_scored(incomplete: str) -> list[str]:
    """Complete the name of a protocol that can score a comparison."""
    return [name for name in complete_protocols(incomplete) if not name.startswith("cmrxrecon")]


def one_slice(text: str | None, count: int) -> int:
    """Return the slice that --slices selects, by default the middle one of `count`."""
    if text is None:
        return count // 2
    chosen = parse_slices(text, count)
    if len(chosen) > 1:
        raise UsageError(
            "option-value",
            f"--slices was given {text!r}",
            "A figure shows one slice",
            "Choose one slice, and make a separate figure for each slice",
        )
    return chosen[0]


def check_dpi(dpi: int) -> None:
    """Refuse a resolution that is too low or too high for a useful figure."""
    if not MIN_DPI <= dpi <= MAX_DPI:
        raise UsageError(
            "option-value",
            f"--dpi was given {dpi}",
            f"It must be from {MIN_DPI} to {MAX_DPI}",
            "For example, write --dpi 300",
        )


def figure_target(job: Job, output: str | None, out_dir: Path | None) -> Path:
    """Return the path of the figure.

    Raises
    ------
    UsageError
        If both options are given (`options-conflict`), or the suffix is not that of a figure
        format (`output-format`).
    """
    if output is not None and out_dir is not None:
        raise UsageError(
            "options-conflict",
            "Both -o and --out-dir were given",
            "Only one of them can set where the figure is written",
            "Leave one of them out",
        )

    target = outputs.destination(job, output, out_dir, f"{job.stem}_compare.png")
    if target.suffix.lower() not in FIGURES:
        raise UsageError(
            "output-format",
            f"{target.name} is not the name of a figure",
            f"The suffixes of figures are {', '.join(FIGURES)}",
            "Choose another name with -o",
        )
    return target


def display_of(
    scan: "Scan", window: str | None, zoom: str | None, aspect: float | None
) -> "Display":
    """Return the display settings of a figure after checking them.

    Parameters
    ----------
    scan : Scan
        Its geometry provides the aspect ratio and the frame times if they are known.
    window, zoom : str or None
        Values of --window and --zoom.
    aspect : float or None
        Value of --aspect.

    Raises
    ------
    UsageError
        If a value cannot be parsed (`option-value`), the window is reversed (`window-range`), or
        the box is outside the images (`box-outside`).
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
    """Parse the two fractions of --window."""
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        low = high = math.nan
    if math.isnan(low) or math.isnan(high):
        raise UsageError(
            "option-value",
            f"--window was given {text!r}",
            "It needs two fractions of the maximum, as LOW,HIGH",
            "For example, write --window 0,0.6",
        )
    return low, high
