"""The readouts of ISMRMRD raw data as a table with the columns that all raw formats share."""

from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from cmrrecon.formats.hdf5_heap import stored_rows
from cmrrecon.formats.readouts import Table

# Flags are numbered from 1. Parallel calibration (20) is image data only if flag 21 is set as well.
NOISE, CALIBRATION, CALIBRATION_AND_IMAGE, REVERSE = (1 << flag - 1 for flag in (19, 20, 21, 22))
# Not image data: navigation, phase correction, feedback, dummies, surface coil correction, phase
# stabilisation.
OTHERS = sum(1 << flag - 1 for flag in (23, 24, 26, 27, 28, 29, 30, 31))
TICK = 2.5  # ms, of the scanner's clock and the physiological clock
HEAD = {
    "samples": "number_of_samples",
    "coils": "active_channels",
    "before": "discard_pre",
    "after": "discard_post",
    "centre": "center_sample",
    "axes": "trajectory_dimensions",
    "space": "encoding_space_ref",
}
COUNTERS = {
    "line": "kspace_encode_step_1",
    "partition": "kspace_encode_step_2",
    "average": "average",
    "slice": "slice",
    "contrast": "contrast",
    "phase": "phase",
    "repetition": "repetition",
    "set": "set",
}
VECTORS = {
    "position": "position",
    "along_x": "read_dir",
    "along_y": "phase_dir",
    "across": "slice_dir",
}


def read_table(group: Any, handle: IO[bytes]) -> tuple[Table, Table, dict[str, int]]:
    """Read the table of readouts in a group.

    Parameters
    ----------
    group : h5py.Group
        The group of the data set.
    handle : binary file
        The same file, open for reading bytes.

    Returns
    -------
    table : dict of str to ndarray
        The shared columns, see `readouts.Raw`.
    references : dict of str to ndarray
        References to the `traj` and `data` of each readout.
    itemsize : dict of str to int
        Bytes per item of `traj` and of `data`.

    Raises
    ------
    ValueError
        If the group is not stored as ISMRMRD requires.
    """
    rows = stored_rows(group["data"], handle)
    head = rows["head"]
    flags = _whole(head["flags"])

    table = _kinds(flags)
    table |= {name: _whole(head[stored]) for name, stored in HEAD.items()}
    table |= {name: _whole(head["idx"][stored]) for name, stored in COUNTERS.items()}
    table |= {name: _vectors(head[stored]) for name, stored in VECTORS.items()}
    table |= _times(head)

    references = {name: rows[name] for name in ("traj", "data")}
    itemsize = {name: _float_size(group["data"].dtype[name]) for name in ("traj", "data")}
    return table, references, itemsize


def _kinds(flags: NDArray[np.int64]) -> Table:
    """Return the purpose of each readout."""
    known = (flags & OTHERS) == 0
    noise = known & ((flags & NOISE) != 0)
    calibration = known & ~noise & ((flags & (CALIBRATION | CALIBRATION_AND_IMAGE)) != 0)
    only = calibration & ((flags & CALIBRATION_AND_IMAGE) == 0)

    return {
        "image": known & ~noise & ~only,
        "calibration": calibration,
        "noise": noise,
        "reverse": (flags & REVERSE) != 0,
    }


def _times(head: NDArray[Any]) -> Table:
    """Return times in ms, NaN if a clock does not run, and dwell times in us, 0 if not known."""
    clocks = {
        "time_ms": head["acquisition_time_stamp"],
        "trigger_ms": head["physiology_time_stamp"],
    }
    times = {}
    for name, stamps in clocks.items():
        ticks = _whole(stamps if stamps.ndim == 1 else stamps[:, 0])
        times[name] = ticks * TICK if ticks.any() else np.full(len(head), np.nan)

    with np.errstate(invalid="ignore"):
        dwell = np.asarray(head["sample_time_us"], np.float64)
    return times | {"dwell_us": np.where(np.isfinite(dwell) & (dwell > 0), dwell, 0.0)}


def _whole(values: NDArray[Any]) -> NDArray[np.int64]:
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise ValueError("a counter is not a whole number")
    return values.astype(np.int64)


def _vectors(values: NDArray[Any]) -> NDArray[np.float64]:
    if values.ndim != 2 or values.shape[1] != 3 or values.dtype.kind != "f":
        raise ValueError("a position or direction is not a vector")
    with np.errstate(invalid="ignore"):
        return values.astype(np.float64)


def _float_size(dtype: np.dtype[Any]) -> int:
    """Return the bytes per variable-length item: one float32, or two for a complex number."""
    item = h5py.check_vlen_dtype(dtype)
    parts = (
        [item] if item is not None and item.names is None else [item[name] for name in item.names]
    )
    if any(part != np.dtype("<f4") for part in parts) or len(parts) > 2:
        raise ValueError("samples are not float32")
    return 4 * len(parts)
