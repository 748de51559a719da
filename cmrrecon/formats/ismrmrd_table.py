"""The table of readouts of ISMRMRD raw data: which are image data, and whether they fit together."""

from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from cmrrecon.formats.hdf5_heap import stored_rows
from cmrrecon.formats.ismrmrd_header import REMEDY, Header
from cmrrecon.tools.errors import InputError

# Flags, numbered from 1, of readouts that are no image data: noise, navigation, phase correction, feedback, dummies, surface coil
# correction, phase stabilisation. A parallel calibration (20) is image data only if it is flagged so (21).
NO_IMAGE = sum(1 << flag - 1 for flag in (19, 23, 24, 26, 27, 28, 29, 30, 31))
CALIBRATION, CALIBRATION_AND_IMAGE, REVERSE = (1 << flag - 1 for flag in (20, 21, 22))
HEAD = (
    "flags",
    "number_of_samples",
    "active_channels",
    "discard_pre",
    "discard_post",
    "center_sample",
    "trajectory_dimensions",
)
COUNTERS = (
    "kspace_encode_step_1",
    "kspace_encode_step_2",
    "average",
    "slice",
    "contrast",
    "phase",
    "repetition",
    "set",
)

Table = dict[str, NDArray[Any]]


def read_table(group: Any, handle: IO[bytes]) -> tuple[Table, dict[str, int]]:
    """The columns of all readouts, with references to trajectory and samples; and the bytes of an item of these two.

    Parameters
    ----------
    group : h5py group of the data set
    handle : the same file, opened for reading bytes

    Raises
    ------
    ValueError : it is not stored as ISMRMRD stores it
    """
    rows = stored_rows(group["data"], handle)
    table = {name: _whole(rows["head"][name]) for name in (*HEAD, "encoding_space_ref")}
    table |= {name: _whole(rows["head"]["idx"][name]) for name in COUNTERS}
    table |= {name: rows[name] for name in ("traj", "data")}
    itemsize = {name: _float_size(group["data"].dtype[name]) for name in ("traj", "data")}
    return table, itemsize


def _whole(values: NDArray[Any]) -> NDArray[np.int64]:
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise ValueError("a counter is no whole number")
    return values.astype(np.int64)


def _float_size(dtype: np.dtype[Any]) -> int:
    """Bytes of an item of variable length: a float32, or two of them for a complex number."""
    item = h5py.check_vlen_dtype(dtype)
    parts = (
        [item] if item is not None and item.names is None else [item[name] for name in item.names]
    )
    if any(part != np.dtype("<f4") for part in parts) or len(parts) > 2:
        raise ValueError("samples are no float32")
    return 4 * len(parts)


def image_data(table: Table, path: Path) -> tuple[Table, tuple[str, ...]]:
    """The readouts that are read, with their `frame`, `slice` (both from 0) and `reverse`, and what was left out.

    Raises
    ------
    InputError : there are none, or k-space is three-dimensional
    """
    table = part(table, _is_image(table))
    if not len(table["flags"]):
        raise InputError(
            "readouts-missing",
            f"{path} holds no image data",
            "At least one readout must be of the image",
            REMEDY,
        )
    if len(np.unique(table["kspace_encode_step_2"])) > 1:
        raise InputError(
            "kspace-3d",
            f"{path} holds three-dimensional k-space",
            "Slices must be encoded one by one",
            REMEDY,
        )
    moving = "phase" if len(np.unique(table["phase"])) > 1 else "repetition"
    table, notes = _first_values(table, moving, path)
    if moving == "repetition" and len(np.unique(table[moving])) > 1:
        notes.append(f"{path}: repetitions were taken as frames.")
    numbered = {
        "frame": np.unique(table[moving], return_inverse=True)[1],
        "slice": np.unique(table["slice"], return_inverse=True)[1],
        "reverse": ((table["flags"] & REVERSE) != 0) & (table["trajectory_dimensions"] == 0),
    }
    return table | numbered, tuple(notes)


def _is_image(table: Table) -> NDArray[np.bool]:
    """Which readouts are image data of the first measurement."""
    flags = table["flags"]
    calibration = ((flags & CALIBRATION) != 0) & ((flags & CALIBRATION_AND_IMAGE) == 0)
    first = table["encoding_space_ref"] == 0
    image: NDArray[np.bool] = ((flags & NO_IMAGE) == 0) & ~calibration & first
    return image


def _first_values(table: Table, moving: str, path: Path) -> tuple[Table, list[str]]:
    """The readouts with the first value of each counter but the slice and what counts frames, and what was left out."""
    notes = []
    for name in ("contrast", "set", "average", "repetition"):
        values = np.unique(table[name])
        if len(values) > 1 and name != moving:
            table = part(table, table[name] == values[0])
            notes.append(
                f"{path} has {len(values)} values of the counter {name}; the first was taken."
            )
    return table, notes


def part(table: Table, chosen: NDArray[Any]) -> Table:
    """The chosen rows, by their numbers or true where chosen."""
    return {name: values[chosen] for name, values in table.items()}


def shared_sizes(table: Table, along: bool, path: Path) -> tuple[int, int, slice]:
    """How many samples a readout has, how many coils, and which samples are used; the same in all readouts."""
    same: tuple[str, ...] = (
        "number_of_samples",
        "active_channels",
        "discard_pre",
        "discard_post",
        "trajectory_dimensions",
    )
    same += () if along else ("center_sample",)
    for name in same:
        if len(np.unique(table[name])) > 1:
            found = f"{path} has readouts that differ in {name}"
            raise InputError(
                "readouts-differ", found, "All readouts of the image must be alike", REMEDY
            )
    stored, coils, before, after, dimensions = (int(table[name][0]) for name in same[:5])
    count = stored - before - after
    if count < 1 or coils < 1 or (along and dimensions < 2):
        found = f"{path} has readouts of {count} samples, {coils} coils and {dimensions} trajectory axes"
        raise InputError("readouts-empty", found, "There must be some, and two axes", REMEDY)
    return stored, coils, slice(before, stored - after)


def in_order(table: Table, path: Path) -> tuple[Table, int, int]:
    """The readouts by frame and slice, each in the order they were measured in, and how many frames and slices there are."""
    frames, slices = (int(table[name].max()) + 1 for name in ("frame", "slice"))
    table = part(table, np.lexsort((table["slice"], table["frame"])))  # stable
    if len(np.unique(table["frame"] * slices + table["slice"])) < frames * slices:
        found = f"{path} lacks some of its {frames} frames in some of its {slices} slices"
        raise InputError("frame-missing", found, "All slices must have all frames", REMEDY)
    return table, frames, slices


def cartesian_lines(
    table: Table, header: Header, kept: slice, path: Path
) -> tuple[NDArray[Any], int]:
    """The line of each Cartesian readout, and the column of its first used sample."""
    y, x = header.encoded
    count = kept.stop - kept.start
    row = table["kspace_encode_step_1"] - header.centre + y // 2
    first = 0 if count == x else x // 2 - (int(table["center_sample"][0]) - kept.start)
    if row.min() < 0 or row.max() >= y or first < 0 or first + count > x:
        found = f"{path} has lines {row.min()} to {row.max()} and samples {first} to {first + count - 1}"
        raise InputError("shape-mismatch", found, f"The encoded matrix is {y} x {x} (y, x)", REMEDY)
    return row, first
