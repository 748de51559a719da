"""Finds the times of a mapping series, and checks that they belong to its images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from cmrrecon import formats
from cmrrecon.data import Acquisition
from cmrrecon.evaluation.references import contradiction
from cmrrecon.tools.arrays import as_tensor
from cmrrecon.tools.errors import InputError
from cmrrecon.tools.files import as_path


def times_path(given: Path | None, facts: Acquisition, images: Path | None) -> Path:
    """Return the table with the times of a scan.

    Parameters
    ----------
    given : Path or None
        The table, or a folder to search for `<base>.csv` of the same scan. None: beside the images.
    facts : Acquisition
        Facts about the scan.
    images : Path or None
        The file of the images; None if they are not in a file.

    Raises
    ------
    InputError
        If there is no table (`times-missing`), or several fit (`times-ambiguous`).
    """
    if given is None:
        beside = None if images is None else images.with_name(f"{facts.base}.csv")
        if beside is None or not beside.exists():
            raise _missing(facts, "" if beside is None else f", because {beside} does not exist")
        return beside
    if not given.is_dir():
        if not given.exists():
            raise _missing(facts, f", because {given} does not exist")
        return given

    fitting = [
        path
        for path in sorted(given.rglob("*.csv"))
        if path.stem.lower() == facts.base.lower() and not contradiction(facts, path)
    ]
    if not fitting:
        raise _missing(facts, f", because {given} contains no {facts.base}.csv of this scan")
    if len(fitting) > 1:
        raise InputError(
            "times-ambiguous",
            f"{len(fitting)} tables in {given} fit {facts.base} of subject "
            f"{facts.subject or 'unknown'}",
            "Exactly one must fit, by base, subject, centre, vendor, split and year",
            "Use --times with the table itself",
        )
    return fitting[0]


def times_for(given: Any, facts: Acquisition, images: Path | None) -> Tensor:
    """Return the times in ms of a scan, (frame,) or (frame, slice), from numbers or a table.

    Parameters
    ----------
    given : Tensor, ndarray, sequence, path or None
        The times, or what `times_path` accepts.
    facts : Acquisition
        Facts about the scan.
    images : Path or None
        The file of the images.

    Raises
    ------
    InputError
        As in `times_path` and `read_times`.
    UsageError
        If the times are not numbers (`array-type`).
    """
    if given is None or isinstance(given, str | Path):
        path = None if given is None else as_path(given, "file of times")
        return formats.read_times(times_path(path, facts, images))
    numbers = np.asarray(given) if isinstance(given, list | tuple) else given
    return as_tensor(numbers, "times", "(frame,) or (frame, slice)")


def checked_times(
    times: Tensor, shape: Sequence[int], slices: Sequence[int] | None, name: str
) -> Tensor:
    """Return the times of every slice of the images.

    Parameters
    ----------
    times : Tensor of shape (frame,), (frame, 1) or (frame, slice)
        Times in ms of the slices of the images or of the whole scan.
    shape : sequence of int
        Shape (frame, slice, y, x) of the images.
    slices : sequence of int or None
        Slice numbers of the images within the scan.
    name : str
        Name of the images in messages.

    Returns
    -------
    Tensor of shape (frame, slice), float64
        The times, on the CPU.

    Raises
    ------
    InputError
        If the times do not fit (`times-shape`), or are negative or not finite (`times-values`).
    """
    frames, count = shape[:2]
    table = times.cpu().double()
    table = table[:, None] if table.ndim == 1 else table
    numbers = list(range(count) if slices is None else slices)
    whole = table.ndim == 2 and table.shape[1] > max(numbers)
    if table.ndim != 2 or len(table) != frames or not (whole or table.shape[1] in (1, count)):
        raise InputError(
            "times-shape",
            f"The times have shape {tuple(times.shape)}, but {name} has {frames} frames and the "
            f"slices {', '.join(map(str, numbers))}",
            "Every weighting needs a time, in one column for each slice or one for all",
            "Use the times of this scan",
        )

    if not bool((table.isfinite() & (table >= 0)).all()):
        raise InputError(
            "times-values",
            "A time is negative or not finite",
            "Times are in ms",
            "Correct the times",
        )
    if table.shape[1] == 1:
        return table.expand(-1, count)
    return table[:, numbers] if whole else table


def _missing(facts: Acquisition, reason: str) -> InputError:
    return InputError(
        "times-missing",
        f"The times of {facts.base} are unknown{reason}",
        "Fitting a map needs the inversion, saturation, preparation or echo times in ms",
        "Name the table with --times: a header line, then one line per weighting with a label and "
        "one column per slice",
    )
