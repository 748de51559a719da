"""Places Cartesian readouts into k-space, and derives the mask and the averages of samples."""

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

BLOCK = 2**24  # bytes of samples loaded at a time
LARGEST_RATIO = 32  # of matrix size to measured size along an axis


@dataclass(frozen=True, eq=False)
class Lines:
    """K-space of one slice at a time, (frame, coil, y, x), with zeros where nothing was measured.

    Repeated samples are averaged.

    Attributes
    ----------
    raw : Raw
        The measurement.
    shape : tuple of int
        (frame, slice, coil, y, x).
    table : dict of str to ndarray
        Columns of the readouts; additional columns are `frame`, `slice`, `row`, `column` (of the
        first kept sample), and `repeat` (number of earlier readouts of the same line).
    """

    raw: Raw
    shape: tuple[int, int, int, int, int]
    table: Table

    def __call__(self, index: int) -> Tensor:
        """Return k-space of slice `index` (0-based), complex64."""
        frames, _, coils, y, x = self.shape
        kspace = np.zeros((frames, coils, y, x), np.complex64)
        table = part(self.table, self.table["slice"] == index)

        for rows in row_groups(
            table, ("repeat", "samples", "before", "after", "column", "reverse")
        ):
            place = table["frame"][rows], slice(None), table["row"][rows], columns(table, rows[0])
            samples = kept_samples(self.raw, table, rows)
            with np.errstate(all="ignore"):  # non-finite numbers are rejected later
                kspace[place] = kspace[place] + samples if table["repeat"][rows[0]] else samples

        if table["repeat"].any():
            with np.errstate(all="ignore"):
                kspace /= np.maximum(self.counts(index), 1)[:, None]
        return torch.from_numpy(kspace)

    def counts(self, index: int) -> NDArray[np.int32]:
        """Count how often each sample (frame, y, x) or whole line (frame, y, 1) was measured."""
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
        """Return the mask, or None if slices have different masks, and notes on averages."""
        path = self.raw.path
        counts = self.counts(0)
        others = [self.counts(index) for index in range(1, self.shape[1])]
        repeated = max(int(each.max()) for each in (counts, *others))
        notes: tuple[str, ...] = ()
        if repeated > 1:
            notes = (f"{path}: repeated lines (measured up to {repeated} times) were averaged.",)
        if any(not np.array_equal(each > 0, counts > 0) for each in others):
            return None, notes

        mask = SamplingMask.of(torch.from_numpy(counts > 0), MaskSource.HEADER)
        mask = replace(mask, centre=self._centre())
        if repeated == 1:
            return mask, notes
        if any(not np.array_equal(each, counts) for each in others):
            note = f"{path}: the number of averages differs between slices and was not used."
            return mask, (*notes, note)
        return mask.averaged(once_if_alike(torch.from_numpy(counts))), notes

    def _centre(self) -> tuple[int, int] | None:
        """Return the centre of k-space (y, x) if whole readouts put it off the middle."""
        y, x = self.shape[3:]
        table = self.table
        found = np.unique(table["centre"] - table["before"])
        whole = (length_of(table) == x).all()
        if not whole or len(found) > 1 or table["reverse"].any() or not (table["centre"] > 0).all():
            return None

        column = int(found[0])
        # Counting conventions differ by one sample.
        return (y // 2, column) if abs(column - x // 2) > 1 and 0 <= column < x else None


def columns(table: Table, row: int) -> slice:
    """Return the columns of a readout's kept samples."""
    first, length = (int(number) for number in (table["column"][row], length_of(table)[row]))
    return slice(first, first + length)


def kept_samples(raw: Raw, table: Table, rows: Rows) -> NDArray[np.complex64]:
    """Load the kept samples of equal readouts, reversing readouts that run backwards.

    Parameters
    ----------
    raw : Raw
        The measurement.
    table : dict of str to ndarray
        Its readouts, with their `index`.
    rows : ndarray of int64
        Rows with equal `samples`, `coils`, `before`, `after` and `reverse`.

    Returns
    -------
    ndarray of shape (row, coil, sample), complex64
        The samples.
    """
    before, end = (
        int(number[rows[0]]) for number in (table["before"], table["samples"] - table["after"])
    )
    samples = raw.load(table["index"][rows])[..., before:end]
    return samples[..., ::-1] if table["reverse"][rows[0]] else samples


def row_groups(table: Table, names: tuple[str, ...]) -> Iterator[Rows]:
    """Group the rows of a table that have equal values in the named columns.

    Groups are sorted by these columns, and split so that their samples fit into `BLOCK` bytes.

    Yields
    ------
    ndarray of int64
        The rows of a group.
    """
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


def place_lines(raw: Raw, table: Table, encoding: Encoding) -> tuple[Lines, tuple[str, ...]]:
    """Place the Cartesian readouts of an image.

    Parameters
    ----------
    raw : Raw
        The measurement.
    table : dict of str to ndarray
        Readouts of the image.
    encoding : Encoding
        Their encoding.

    Returns
    -------
    lines : Lines
        The readouts with their rows and columns in the matrix.
    notes : tuple of str
        What had to be assumed.

    Raises
    ------
    InputError
        If readouts have different numbers of coils or are empty (`readouts-differ`,
        `readouts-empty`), if they are outside the matrix (`shape-mismatch`), or if a slice lacks a
        frame (`frame-missing`).
    """
    coils = require_coils(raw, table)
    frames, slices = require_frames(raw, table)
    row, notes = _rows(raw, table, encoding)
    column, assumed = _columns(raw, table, encoding)
    _require_inside(raw, table, row, column, encoding)

    y, x = encoding.matrix
    place = (table["slice"] * frames + table["frame"]) * y + row
    table = table | {"row": row, "column": column, "repeat": _repeats(place)}
    lines = Lines(raw, (frames, slices, coils, y, x), table)
    check_size(lines.shape, 0, str(raw.path))
    check_size((frames, coils, y, x), 8, f"A slice of {raw.path}")
    return lines, (*notes, *assumed)


def require_coils(raw: Raw, table: Table) -> int:
    """Return the number of coils after checking that it is the same for all readouts.

    Raises
    ------
    InputError
        If readouts have different numbers of coils (`readouts-differ`), or no samples
        (`readouts-empty`).
    """
    coils = np.unique(table["coils"])
    count = int(length_of(table).min())
    if len(coils) > 1:
        raise InputError(
            "readouts-differ",
            f"{raw.path} has readouts with {coils[0]} and with {coils[-1]} coils",
            "All readouts of the image must have the same number of coils",
            raw.remedy,
        )

    if count < 1 or coils[0] < 1 or min(table["before"].min(), table["after"].min()) < 0:
        raise InputError(
            "readouts-empty",
            f"{raw.path} has readouts with {count} samples and {coils[0]} coils",
            "There must be at least one sample and one coil",
            raw.remedy,
        )
    return int(coils[0])


def require_frames(raw: Raw, table: Table) -> tuple[int, int]:
    """Return the numbers of frames and slices after checking that no slice lacks a frame.

    Raises
    ------
    InputError
        If a slice lacks a frame (`frame-missing`).
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
    """Return the line counter at the centre of k-space, and whether the header's value is valid.

    The value is invalid outside the header's own limits; the middle of the matrix is used instead.
    """
    middle = encoding.matrix[0] // 2
    centre = encoding.centre
    if centre is None:
        return middle, True
    low, high = encoding.limits or (0, encoding.matrix[0] - 1)
    return (centre, True) if low <= centre <= max(low, high) else (middle, False)


def _rows(raw: Raw, table: Table, encoding: Encoding) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return each readout's row in the matrix, whose middle is the centre of k-space."""
    centre, valid = line_centre(encoding)
    notes = []
    if not valid:
        notes.append(
            f"{raw.path}: the header places the centre of k-space at line {encoding.centre}, "
            f"outside the header's own limits; line {centre}, the middle of the matrix, was used."
        )

    if encoding.limits and not (
        encoding.limits[0] <= table["line"].min() and table["line"].max() <= encoding.limits[1]
    ):
        notes.append(
            f"{raw.path}: the lines {table['line'].min()} to {table['line'].max()} exceed the "
            f"header's limits {encoding.limits[0]} to {encoding.limits[1]}; all were read."
        )

    return table["line"] - centre + encoding.matrix[0] // 2, tuple(notes)


def _columns(
    raw: Raw, table: Table, encoding: Encoding
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the column of the first kept sample of each readout.

    The centre of a short readout is placed at the centre of k-space. Samples of reversed readouts
    are counted from the other end.
    """
    x = encoding.matrix[1]
    length = length_of(table)
    centre = np.where(table["centre"] > 0, table["centre"] - table["before"], length // 2)
    centre = np.where(table["reverse"], length - centre, centre)
    column = np.where(length == x, 0, x // 2 - centre)
    unknown = bool(((length != x) & (table["centre"] <= 0)).any())
    note = f"{raw.path} does not state the centre sample; each readout's middle sample was used."
    return column, ((note,) if unknown else ())


def _require_inside(
    raw: Raw,
    table: Table,
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    encoding: Encoding,
) -> None:
    """Refuse readouts outside the encoded matrix."""
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
    """Refuse a matrix much larger than the measured part, which indicates damage."""
    (lines, samples), (y, x) = measured, matrix
    if y > LARGEST_RATIO * lines or x > LARGEST_RATIO * samples:
        raise InputError(
            "shape-mismatch",
            f"{raw.path} has {lines} lines and {samples} samples, but a matrix of {y} x {x} (y, x)",
            f"The matrix may be at most {LARGEST_RATIO} times larger than the measured part",
            raw.remedy,
        )


def _repeats(place: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count the earlier entries that equal each entry."""
    order = np.argsort(place, kind="stable")
    fresh = np.flatnonzero(np.diff(place[order], prepend=-1))
    lengths = np.diff(fresh, append=len(place))
    repeat = np.empty(len(place), np.int64)
    repeat[order] = np.arange(len(place)) - np.repeat(fresh, lengths)
    return repeat
