"""What files of single readouts hold, whatever their format: a table of readouts, the encodings,
and what loads the samples.

A format fills a `Raw`; `formats.readouts_scan.assemble` makes the `Scan`. Nothing here knows how a
file is stored.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrrecon.data import Acquisition

Table = dict[str, NDArray[Any]]
Rows = NDArray[np.int64]

# Columns of a table, by type. Every one is needed; each has an entry a readout.
KINDS = ("image", "calibration", "noise", "reverse")
COUNTERS = (
    "line",
    "partition",
    "slice",
    "phase",
    "repetition",
    "contrast",
    "set",
    "average",
    "space",
)
SIZES = ("samples", "coils", "before", "after", "centre", "axes")
TIMES = ("dwell_us", "time_ms", "trigger_ms")
VECTORS = ("position", "along_x", "along_y", "across")


@dataclass(frozen=True)
class Encoding:
    """How readouts of one kind encode k-space.

    Attributes
    ----------
    matrix : (y, x) of the encoded k-space
    image : (y, x), the central pixels of the encoded images that the scanner shows: the rest is
        oversampling
    recon_matrix : (y, x), the pixels to which the scanner interpolates these; None if not known
    field_of_view_mm : (y, x, z) of the encoded images in mm; None if not known
    centre : the line counter at the centre of k-space; None for the middle of the matrix
    limits : first and last value of the line counter; None if not known
    trajectory : `cartesian`, `epi`, `radial`, `goldenangle`, `spiral`, ...; "" if not known
    calibration : `embedded`, `interleaved`, `separate`, `external`, `other`; "" if not known
    """

    matrix: tuple[int, int]
    image: tuple[int, int]
    recon_matrix: tuple[int, int] | None = None
    field_of_view_mm: tuple[float, float, float] | None = None
    centre: int | None = None
    limits: tuple[int, int] | None = None
    trajectory: str = ""
    calibration: str = ""


@dataclass(frozen=True, eq=False)
class Raw:
    """The readouts of one measurement.

    Attributes
    ----------
    path : the file, for messages
    table : columns of one entry (or row) a readout, in the order they were measured in

        - `image`, `calibration`, `noise`: bool, what it is for. Image and calibration: a reference
          line of the image itself. None of the three: it is not used. `reverse`: bool, its samples
          run backwards
        - `line`, `partition`, `slice`, `phase`, `repetition`, `contrast`, `set`, `average`:
          counters, int64; `space`: the number of its encoding
        - `samples`, `coils`, int64; `before`, `after`: samples to discard at the ends; `centre`:
          the stored sample at the centre of k-space, 0 if not known; `axes` of its trajectory, or 0
        - `dwell_us`: time between samples, 0 if not known; `time_ms`, `trigger_ms`: when it was
          measured, on the scanner's clock and after the trigger, NaN if not known; float64
        - `position` of the slice's centre in mm, and unit vectors `along_x`, `along_y` and `across`
          the slice, (n, 3) float64 in patient coordinates (LPS); zeros if not known
    encodings : by number, as `space` counts them
    load : rows with equal `samples` and `coils` -> (row, coil, sample) complex64, as stored
    positions : rows with equal `samples` and `axes` -> (row, sample, axis) float32, axes (x, y,
        ...); None for files without trajectories
    acquisition : what is known of the scan
    noise_bandwidth : the receiver's noise bandwidth over the sampled bandwidth
    notes : what the format had to assume
    remedy : what to do about a file that does not fit together
    """

    path: Path
    table: Table
    encodings: tuple[Encoding, ...]
    load: Callable[[Rows], NDArray[np.complex64]]
    positions: Callable[[Rows], NDArray[np.float32]] | None = None
    acquisition: Acquisition = field(default_factory=Acquisition)
    noise_bandwidth: float = 1.0
    notes: tuple[str, ...] = ()
    remedy: str = "Check how the file was converted from the scanner's"


def length_of(table: Table) -> Rows:
    """How many samples of each readout are kept."""
    length: Rows = table["samples"] - table["before"] - table["after"]
    return length


def part(table: Table, chosen: NDArray[Any]) -> Table:
    """The chosen rows, by their numbers or true where chosen."""
    return {name: values[chosen] for name, values in table.items()}
