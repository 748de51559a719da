"""Tabulates the readouts of a Siemens twix file: purpose, counters, and position in the patient."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrrecon.formats.readouts import Table
from cmrrecon.formats.twix_protocol import Protocol

# Bits in a readout's mask, numbered from 0.
PHASE_CORRECTION, REFERENCE, REFERENCE_AND_IMAGE, REVERSE, NOISE = (
    1 << bit for bit in range(21, 26)
)
# Not image data: feedback, phase stabilisation, references and navigators of simultaneously excited
# slices, dummies, feedback of the transmit coil.
OTHER = sum(1 << bit for bit in (1, 2, 14, 15, 38, 39, 51, 53))
TICK_MS = 2.5  # of the scanner's clock
# Dwell time of noise readouts in us, multiplied by their number of samples. The keys state whether
# the software is older than VD.
DWELL = {True: 1e6 / 130, False: 7680.0}
PARALLEL = 0.999  # smallest cosine between the normals of slices that count as parallel
COUNTERS = {
    "line": "Lin",
    "partition": "Par",
    "phase": "Phs",
    "repetition": "Rep",
    "contrast": "Eco",
    "set": "Set",
    "average": "Ave",
}


def readouts(
    headers: NDArray[Any], protocol: Protocol, *, before_vd: bool, noise_only: bool
) -> Table:
    """Return the columns of `readouts.Raw`, and `navigator` for phase correction lines.

    Parameters
    ----------
    headers : ndarray of shape (row,)
        Headers of the readouts, as returned by turbotwix.
    protocol : Protocol
        Protocol of the same measurement.
    before_vd : bool
        Whether the file is of software before VD.
    noise_only : bool
        Whether this is a noise measurement, whose dwell time is stated in its own protocol.

    Returns
    -------
    dict of str to ndarray
        The columns.
    """
    flags = headers["EvalInfoMask"].astype(np.uint64)
    table: Table = {
        name: headers["Counter"][stored].astype(np.int64) for name, stored in COUNTERS.items()
    }

    table |= _purposes(flags) | _vectors(headers["SliceData"])
    table["slice"] = _anatomical(
        headers["Counter"]["Sli"].astype(np.int64), table["position"], table["across"]
    )

    table |= {
        "samples": headers["SamplesInScan"].astype(np.int64),
        "coils": headers["UsedChannels"].astype(np.int64),
        "before": headers["CutOff"]["Pre"].astype(np.int64),
        "after": headers["CutOff"]["Post"].astype(np.int64),
        "centre": headers["CenterCol"].astype(np.int64),
        "axes": np.zeros(len(flags), np.int64),
        "space": np.zeros(len(flags), np.int64),
        "time_ms": headers["TimeStamp"] * TICK_MS,
        "trigger_ms": headers["PMUTimeStamp"] * (TICK_MS if protocol.gated else np.nan),
    }

    known = np.array([protocol.dwell_us.get(int(echo), 0.0) for echo in table["contrast"]])
    own = DWELL[before_vd] / np.maximum(table["samples"], 1)
    table["dwell_us"] = known if noise_only else np.where(table["noise"], own, known)
    return table


def _purposes(flags: NDArray[np.uint64]) -> Table:
    """Decode the purpose of each readout from its bits."""

    def has(bits: int) -> NDArray[np.bool]:
        return np.asarray((flags & np.uint64(bits)) != 0)

    noise, both = has(NOISE), has(REFERENCE_AND_IMAGE)
    navigator = has(PHASE_CORRECTION) & ~noise
    data = ~(noise | navigator | has(OTHER))
    return {
        "noise": noise,
        "navigator": navigator,
        "calibration": data & (has(REFERENCE) | both),
        "image": data & (both | ~has(REFERENCE)),
        "reverse": has(REVERSE),
    }


def _vectors(places: NDArray[Any]) -> Table:
    """Return position and directions of each readout in patient coordinates (LPS).

    The quaternion rotates the gradient axes (phase, read, slice) to the axes of the patient. Image
    axes after an inverse transform run opposite to the first two. The evidence is gre.dat of
    twixtools, which shows an ACR phantom: the air bubbles are at high y although the phase gradient
    points to the back, and the resolution insert, which is designed to be read from the patient's
    right, runs along x.
    """
    position = np.stack([places["SlicePos"][axis] for axis in ("Sag", "Cor", "Tra")], 1)

    r, i, j, k = places["Quaternion"].T.astype(np.float64)
    phase = np.stack([1 - 2 * (j * j + k * k), 2 * (i * j + k * r), 2 * (i * k - j * r)], 1)
    read = np.stack([2 * (i * j - k * r), 1 - 2 * (i * i + k * k), 2 * (j * k + i * r)], 1)
    across = np.stack([2 * (i * k + j * r), 2 * (j * k - i * r), 1 - 2 * (i * i + j * j)], 1)

    unit = np.abs(r * r + i * i + j * j + k * k - 1) < 1e-3
    known = (unit & np.isfinite(position).all(1))[:, None]
    vectors = {"position": position, "along_x": -read, "along_y": -phase, "across": across}
    return {name: np.where(known, values, 0.0) for name, values in vectors.items()}


def _anatomical(
    measured: NDArray[np.int64], position: NDArray[np.float64], across: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Number slices along their normal from 0, or in measured order if they are not parallel."""
    values, first, back = np.unique(measured, return_index=True, return_inverse=True)
    normals = across[first]
    if len(values) < 2 or not (normals @ normals[0] > PARALLEL).all():
        return back.astype(np.int64)

    order = np.argsort(position[first] @ normals[0], kind="stable")
    ranks = np.empty(len(values), np.int64)
    ranks[order] = np.arange(len(values))
    return ranks[back]
