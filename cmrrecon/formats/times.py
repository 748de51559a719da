"""Times of mapping series: inversion times (`T1map.csv`) and T2-preparation times (`T2map.csv`), in ms.

One header line, one label column, one row a weighting, one column a slice.
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

LARGEST = 1 << 20  # bytes; real files have some hundred


def read_times(path: str | Path) -> Tensor:
    """Times (frame, slice) float64 in ms. A last time of 0 in a T1 series marks a weighting to leave out; it is kept here.

    Raises
    ------
    InputError : the file cannot be read or is not such a table
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
            "One header line, one label column, then one time in ms for each weighting (rows) and slice (columns) are needed",
            "Give the official T1map.csv or T2map.csv",
        ) from error
    return times


def write_times(path: str | Path, times: Tensor) -> None:
    """Write times (frame, slice) in ms in the layout that `read_times` reads.

    Raises
    ------
    OutputError : the file cannot be written
    """
    rows = times.tolist()
    lines = [",".join(["", *(f"slice{n + 1}" for n in range(times.shape[1]))])]
    lines += [
        ",".join([f"w{n + 1}", *(f"{value:.15g}" for value in row)]) for n, row in enumerate(rows)
    ]

    with atomic(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="ascii")


def _time(cell: str) -> float:
    value = float(cell)
    if not (math.isfinite(value) and value >= 0):
        raise ValueError("a time cannot be negative or infinite")
    return value
