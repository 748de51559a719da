"""Readouts in memory, with the columns that all raw formats share."""

from pathlib import Path

import numpy as np

from cmrrecon.formats.readouts import (
    COUNTERS,
    KINDS,
    SIZES,
    TIMES,
    VECTORS,
    Encoding,
    Raw,
)

COILS, Y, X = 3, 8, 12


def cnormal(*shape, seed=0, level=1.0):
    """Complex noise with E|n|^2 = 2 level^2."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    return (level * values).astype("c8")


def readout(samples, kind="image", **columns):
    """One readout: its samples (coil, n), and the columns that differ from the defaults."""
    coils, n = samples.shape
    row = dict.fromkeys(KINDS, False) | dict.fromkeys((*COUNTERS, *SIZES), 0)
    row |= dict.fromkeys(TIMES, np.nan) | {"dwell_us": 2.0}
    row |= dict(zip(VECTORS, np.eye(4, 3, -1), strict=True))
    row |= dict.fromkeys(kind.split(), True)
    row |= {"samples": n, "coils": coils, "centre": n // 2, "given": samples}
    return row | columns


def raw(readouts, *encodings, **more):
    """The measurement made of these readouts."""
    table = {
        name: np.array([row[name] for row in readouts], dtype)
        for names, dtype in (
            (KINDS, bool),
            ((*COUNTERS, *SIZES), np.int64),
            ((*TIMES, *VECTORS), float),
        )
        for name in names
    }

    def load(rows):
        return np.stack([readouts[row]["given"] for row in rows])

    return Raw(Path("raw.file"), table, encodings or (encoding(),), load, **more)


def encoding(y=Y, x=X, **more):
    """An encoding without oversampling."""
    return Encoding((y, x), more.pop("image", (y, x)), **more)


def lines(kspace, rows=None, **columns):
    """The lines of k-space (coil, y, x)."""
    rows = range(kspace.shape[1]) if rows is None else rows
    return [readout(kspace[:, y], line=y, **columns) for y in rows]
