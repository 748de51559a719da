"""Cartesian readouts put in place: k-space slice by slice, its mask, and how often each sample was
averaged."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmrrecon.data import CartesianMask, MaskSource, SamplingMask
from cmrrecon.data.mask import once_if_alike
from cmrrecon.formats.arrays import check_size
from cmrrecon.formats.readouts import Encoding, Raw, Rows, Table, length_of, part
from cmrrecon.tools.errors import InputError

BLOCK = 2**24  # bytes of samples loaded at once
EMPTIEST = 32  # times that a matrix may be longer than what was measured of it


@dataclass(frozen=True, eq=False)
class Lines:
    """Puts the readouts of one slice at a time in place: (frame, coil, y, x), zero where there is
    none.

    Repeated samples become their mean.

    Attributes
    ----------
    raw : the file
    shape : (frame, slice, coil, y, x)
    table : of each readout `frame`, `slice`, `row`, the `column` of its first kept sample, and
        `turn`: how many readouts of the same place come before it
    """

    raw: Raw
    shape: tuple[int, int, int, int, int]
    table: Table

    def __call__(self, index: int) -> Tensor:
        """K-space of slice `index` (0-based)."""
        frames, _, coils, y, x = self.shape
        kspace = np.zeros((frames, coils, y, x), np.complex64)
        table = part(self.table, self.table["slice"] == index)

        for rows in alike(table, ("turn", "samples", "before", "after", "column", "reverse")):
            place = table["frame"][rows], slice(None), table["row"][rows], columns(table, rows[0])
            samples = kept(self.raw, table, rows)
            with np.errstate(all="ignore"):  # numbers that are not finite are refused later
                kspace[place] = kspace[place] + samples if table["turn"][rows[0]] else samples

        if table["turn"].any():
            with np.errstate(all="ignore"):
                kspace /= np.maximum(self.counts(index), 1)[:, None]
        return torch.from_numpy(kspace)

    def counts(self, index: int) -> NDArray[np.int32]:
        """How often each sample of a slice was measured: (frame, y, x), or (frame, y, 1) of whole
        lines."""
        frames, _, _, y, x = self.shape
        table = part(self.table, self.table["slice"] == index)
        first = table["column"]
        end = first + length_of(table)

        if (first == 0).all() and (end == x).all():
            whole = np.bincount(table["frame"] * y + table["row"], minlength=frames * y)
            return whole.astype(np.int32).reshape(frames, y, 1)

        edges = np.zeros((frames, y, x + 1), np.int32)
        np.add.at(edges, (table["frame"], table["row"], first), 1)
        np.add.at(edges, (table["frame"], table["row"], end), -1)
        return np.cumsum(edges, -1, dtype=np.int32)[..., :-1]

    def mask(self) -> tuple[CartesianMask | None, tuple[str, ...]]:
        """What was measured, and what to say of it; None if that differs between slices."""
        counts, where = self.counts(0), self.raw.path
        others = [self.counts(index) for index in range(1, self.shape[1])]
        repeated = max(int(each.max()) for each in (counts, *others))
        notes: tuple[str, ...] = ()
        if repeated > 1:
            notes = (f"{where}: lines measured up to {repeated} times were averaged.",)
        if any(not np.array_equal(each > 0, counts > 0) for each in others):
            return None, notes

        mask = SamplingMask.of(torch.from_numpy(counts > 0), MaskSource.HEADER)
        mask = replace(mask, centre=self._centre())
        if repeated == 1:
            return mask, notes
        if any(not np.array_equal(each, counts) for each in others):
            return mask, (*notes, f"{where}: how often differs between slices, and was not used.")
        return mask.averaged(once_if_alike(torch.from_numpy(counts))), notes

    def _centre(self) -> tuple[int, int] | None:
        """(y, x) of k-space's centre where whole readouts have it elsewhere than in the middle;
        None else."""
        y, x = self.shape[3:]
        table = self.table
        found = np.unique(table["centre"] - table["before"])
        whole = (length_of(table) == x).all()
        if not whole or len(found) > 1 or table["reverse"].any() or not (table["centre"] > 0).all():
            return None

        column = int(found[0])
        # One beside the middle is another way of counting.
        return (y // 2, column) if abs(column - x // 2) > 1 and 0 <= column < x else None


def columns(table: Table, row: int) -> slice:
    """The columns of the kept samples of a readout."""
    first, length = (int(number) for number in (table["column"][row], length_of(table)[row]))
    return slice(first, first + length)


def kept(raw: Raw, table: Table, rows: Rows) -> NDArray[np.complex64]:
    """The kept samples (row, coil, sample) of readouts that are alike, turned where they run
    backwards."""
    before, end = (
        int(number[rows[0]]) for number in (table["before"], table["samples"] - table["after"])
    )
    samples = raw.load(table["index"][rows])[..., before:end]
    return samples[..., ::-1] if table["reverse"][rows[0]] else samples


def alike(table: Table, names: tuple[str, ...]) -> Iterator[Rows]:
    """The rows of a table in groups that agree in these columns, sorted by them, not too many at
    once."""
    order = np.lexsort([table[name] for name in reversed(names)])
    changed = np.zeros(len(order), bool)
    for name in names:
        changed[1:] |= np.diff(table[name][order]) != 0

    for group in np.split(order, np.flatnonzero(changed)):
        if not len(group):
            continue
        bytes_each = 8 * int(table["samples"][group[0]]) * int(table["coils"][group[0]])
        most = max(1, BLOCK // max(1, bytes_each))
        yield from (group[first : first + most] for first in range(0, len(group), most))


def placed(raw: Raw, table: Table, encoding: Encoding) -> tuple[Lines, tuple[str, ...]]:
    """The Cartesian readouts of an image in place, and what had to be assumed.

    Raises
    ------
    InputError : `readouts-differ`, `readouts-empty`, `shape-mismatch`, `frame-missing`
    """
    coils = require_coils(raw, table)
    frames, slices = require_frames(raw, table)
    row, notes = _rows(raw, table, encoding)
    column, assumed = _columns(raw, table, encoding)
    _require_inside(raw, table, row, column, encoding)

    y, x = encoding.matrix
    place = (table["slice"] * frames + table["frame"]) * y + row
    table = table | {"row": row, "column": column, "turn": _turn(place)}
    lines = Lines(raw, (frames, slices, coils, y, x), table)
    check_size(lines.shape, 0, str(raw.path))
    check_size((frames, coils, y, x), 8, f"A slice of {raw.path}")
    return lines, (*notes, *assumed)


def require_coils(raw: Raw, table: Table) -> int:
    """How many coils the readouts have, each holding samples.

    Raises
    ------
    InputError : `readouts-differ`, `readouts-empty`
    """
    coils, count = np.unique(table["coils"]), int(length_of(table).min())
    if len(coils) > 1:
        raise InputError(
            "readouts-differ",
            f"{raw.path} has readouts of {coils[0]} and of {coils[-1]} coils",
            "All readouts of the image must have the same coils",
            raw.remedy,
        )

    if count < 1 or coils[0] < 1 or min(table["before"].min(), table["after"].min()) < 0:
        raise InputError(
            "readouts-empty",
            f"{raw.path} has readouts of {count} samples and {coils[0]} coils",
            "There must be some of both",
            raw.remedy,
        )
    return int(coils[0])


def require_frames(raw: Raw, table: Table) -> tuple[int, int]:
    """How many frames and slices there are.

    Raises
    ------
    InputError : `frame-missing`, if a slice lacks a frame
    """
    frames, slices = (int(table[name].max()) + 1 for name in ("frame", "slice"))
    if len(np.unique(table["frame"] * slices + table["slice"])) < frames * slices:
        raise InputError(
            "frame-missing",
            f"{raw.path} lacks some of its {frames} frames in some of its {slices} slices",
            "All slices must have all frames",
            raw.remedy,
        )
    return frames, slices


def line_centre(encoding: Encoding) -> tuple[int, bool]:
    """The line counter at the centre of k-space, and whether the header's is believed.

    One outside of the header's own limits is not.
    """
    middle, centre = encoding.matrix[0] // 2, encoding.centre
    if centre is None:
        return middle, True
    low, high = encoding.limits or (0, encoding.matrix[0] - 1)
    return (centre, True) if low <= centre <= max(low, high) else (middle, False)


def _rows(raw: Raw, table: Table, encoding: Encoding) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The line of each readout in the matrix, whose middle is the centre of k-space."""
    centre, believed = line_centre(encoding)
    notes = []
    if not believed:
        notes.append(
            f"{raw.path}: the header puts the centre of k-space at line {encoding.centre}, outside of "
            f"its own limits; the middle of the matrix, line {centre}, was taken."
        )

    if encoding.limits and not (
        encoding.limits[0] <= table["line"].min() and table["line"].max() <= encoding.limits[1]
    ):
        notes.append(
            f"{raw.path}: the lines {table['line'].min()} to {table['line'].max()} leave the limits "
            f"{encoding.limits[0]} to {encoding.limits[1]} of the header; all were read."
        )

    return table["line"] - centre + encoding.matrix[0] // 2, tuple(notes)


def _columns(
    raw: Raw, table: Table, encoding: Encoding
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The column of the first kept sample of each readout.

    Shorter readouts lie with their own centre at the centre of k-space; turned ones the other way.
    """
    x, length = encoding.matrix[1], length_of(table)
    centre = np.where(table["centre"] > 0, table["centre"] - table["before"], length // 2)
    centre = np.where(table["reverse"], length - centre, centre)
    column = np.where(length == x, 0, x // 2 - centre)
    unknown = bool(((length != x) & (table["centre"] <= 0)).any())
    note = f"{raw.path} does not say which sample is the centre; the middle of readouts was taken."
    return column, ((note,) if unknown else ())


def _require_inside(
    raw: Raw,
    table: Table,
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    encoding: Encoding,
) -> None:
    y, x = encoding.matrix
    end = column + length_of(table)
    if row.min() < 0 or row.max() >= y or column.min() < 0 or end.max() > x:
        raise InputError(
            "shape-mismatch",
            f"{raw.path} has lines {row.min()} to {row.max()} and samples {column.min()} to "
            f"{end.max() - 1}",
            f"The encoded matrix is {y} x {x} (y, x)",
            raw.remedy,
        )

    _require_proportion(raw, (int(np.ptp(row)) + 1, int(end.max() - column.min())), (y, x))


def _require_proportion(raw: Raw, measured: tuple[int, int], matrix: tuple[int, int]) -> None:
    """Refuse a matrix (y, x) far longer than what was measured of it: a damaged header, not low
    resolution."""
    (lines, samples), (y, x) = measured, matrix
    if y > EMPTIEST * lines or x > EMPTIEST * samples:
        raise InputError(
            "shape-mismatch",
            f"{raw.path} has {lines} lines and {samples} samples, and a matrix of {y} x {x} (y, x)",
            f"The matrix must not be more than {EMPTIEST} times longer than what was measured",
            raw.remedy,
        )


def _turn(place: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many entries before each are equal to it."""
    order = np.argsort(place, kind="stable")
    fresh = np.flatnonzero(np.diff(place[order], prepend=-1))
    lengths = np.diff(fresh, append=len(place))
    turn = np.empty(len(place), np.int64)
    turn[order] = np.arange(len(place)) - np.repeat(fresh, lengths)
    return turn
