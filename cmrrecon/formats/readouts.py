"""The contents of a file of single readouts, independent of the file format.

They consist of a table of readouts, the encodings, and a function that loads samples. The reader of
a format fills a `Raw`, which `formats.readouts_scan.assemble` turns into a `Scan`.
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

# Columns of a table by type. All are required and have one entry per readout.
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
    matrix : tuple of int
        (y, x) of the encoded k-space.
    image : tuple of int
        (y, x), the size of the central part of the encoded images that the scanner shows; the rest
        is oversampling.
    recon_matrix : tuple of int or None
        (y, x), the size to which the scanner interpolates this part; None if not known.
    field_of_view_mm : tuple of float or None
        (y, x, z) of the encoded images in mm; None if not known.
    centre : int or None
        Line counter at the centre of k-space; None if it is the middle of the matrix.
    limits : tuple of int or None
        First and last value of the line counter; None if not known.
    trajectory : str
        `cartesian`, `epi`, `radial`, `goldenangle`, `spiral` or another word; empty if not known.
    calibration : str
        `embedded`, `interleaved`, `separate`, `external` or `other`; empty if not known.
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
    path : Path
        The file, for messages.
    table : dict of str to ndarray
        Columns with one entry (or row) per readout, in the order of measurement; see Notes.
    encodings : tuple of Encoding
        The encodings, indexed by the column `space`.
    load : callable
        Loads rows with equal `samples` and `coils` as (row, coil, sample) complex64, unchanged.
    positions : callable or None
        Loads the trajectory of rows with equal `samples` and `axes` as (row, sample, axis) float32,
        with axes (x, y, ...); None for files without trajectories.
    acquisition : Acquisition
        Known facts about the scan.
    noise_bandwidth : float
        The receiver's noise bandwidth relative to the sampled bandwidth.
    notes : tuple of str
        What the reader of the format had to assume.
    remedy : str
        Advice for a file whose parts do not fit together.

    Notes
    -----
    The columns of the table are

    - `image`, `calibration`, `noise`, bool: the purpose of the readout. A reference line that is
      part of the image has both `image` and `calibration`; readouts with none of the three are not
      used.
    - `reverse`, bool: the samples run backwards.
    - `line`, `partition`, `slice`, `phase`, `repetition`, `contrast`, `set`, `average`, int64:
      counters.
    - `space`, int64: number of the encoding.
    - `samples`, `coils`, int64: size of the readout.
    - `before`, `after`, int64: samples to discard at the ends.
    - `centre`, int64: the stored sample at the centre of k-space, 0 if not known.
    - `axes`, int64: number of axes of the trajectory, 0 without a trajectory.
    - `dwell_us`, float64: time between samples, 0 if not known.
    - `time_ms`, `trigger_ms`, float64: time of measurement on the scanner's clock, and time after
      the trigger; NaN if not known.
    - `position` of the slice's centre in mm, and unit vectors `along_x`, `along_y` and `across` the
      slice, (n, 3) float64 in patient coordinates (LPS), zeros if not known.
    """

    path: Path
    table: Table
    encodings: tuple[Encoding, ...]
    load: Callable[[Rows], NDArray[np.complex64]]
    positions: Callable[[Rows], NDArray[np.float32]] | None = None
    acquisition: Acquisition = field(default_factory=Acquisition)
    noise_bandwidth: float = 1.0
    notes: tuple[str, ...] = ()
    remedy: str = "Check how the scanner's file was converted"


def length_of(table: Table) -> Rows:
    """Return the number of samples of each readout that are kept."""
    length: Rows = table["samples"] - table["before"] - table["after"]
    return length


def part(table: Table, chosen: NDArray[Any]) -> Table:
    """Select rows of a table, by number or by a mask."""
    return {name: values[chosen] for name, values in table.items()}
