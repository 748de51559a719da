"""Times of mapping series in ms: inversion (`T1map.csv`) or T2 preparation times (`T2map.csv`).

The tables have a header line and a label column, followed by one row per weighting and one column
per slice.
"""

import csv
import io
import math
from pathlib import Path

import torch
from torch import Tensor

from cmrrecon.tools.atomic import atomic
from cmrrecon.tools.errors import InputError
from cmrrecon.tools.files import first_bytes

LARGEST = 1 << 20  # bytes; real files have a few hundred


def read_times(path: str | Path) -> Tensor:
    """Read the times of a mapping series.

    In a T1 series, a final time of 0 marks a weighting to exclude; this function keeps it.

    Parameters
    ----------
    path : str or Path
        The table.

    Returns
    -------
    Tensor of shape (frame, slice), float64
        Times in ms.

    Raises
    ------
    InputError
        If the file cannot be read or is not such a table (`times-table`).
    """
    content = first_bytes(path, LARGEST + 1)
    try:
        if len(content) > LARGEST:
            raise ValueError("too long")
        rows = [
            row
            for row in csv.reader(io.StringIO(content.decode("utf-8-sig")))
            if any(cell.strip() for cell in row)
        ]

        times = torch.tensor(
            [[_time(cell) for cell in row[1:]] for row in rows[1:]], dtype=torch.float64
        )

        if times.ndim != 2 or not times.numel():
            raise ValueError("no times")
    except (ValueError, csv.Error) as error:
        raise InputError(
            "times-table",
            f"{path} is not a table of times",
            "It must have a header line and a label column, and one time in ms for "
            "each weighting (row) and slice (column)",
            "Use the official T1map.csv or T2map.csv",
        ) from error
    return times


def write_times(path: str | Path, times: Tensor) -> None:
    """Write times (frame, slice) in ms as a table that `read_times` can read.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    rows = times.tolist()
    lines = [",".join(["", *(f"slice{n + 1}" for n in range(times.shape[1]))])]
    lines += [
        ",".join([f"w{n + 1}", *(f"{value:.15g}" for value in row)]) for n, row in enumerate(rows)
    ]

    with atomic(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="ascii")


def _time(cell: str) -> float:
    """Parse a time in ms, which must be finite and not negative."""
    value = float(cell)
    if not (math.isfinite(value) and value >= 0):
        raise ValueError("a time cannot be negative or infinite")
    return value
