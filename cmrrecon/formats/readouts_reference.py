"""Turns separate reference readouts into calibration data of each slice, sampled like the image."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmrrecon.data.checks import require_finite
from cmrrecon.formats.arrays import check_size
from cmrrecon.formats.readouts import Encoding, Raw, Table, length_of, part
from cmrrecon.formats.readouts_lines import kept_samples, line_centre, row_groups
from cmrrecon.operators.fourier import fftc, ifftc, resized

TOLERANCE = 0.01  # relative difference in field of view up to which spacings count as equal


@dataclass(frozen=True, eq=False)
class References:
    """Reference lines of one slice at a time, (coil, y', x'), averaging repeated lines.

    Attributes
    ----------
    raw : Raw
        The measurement.
    table : dict of str to ndarray
        The readouts, all of the same size, with columns `slice` and `row` (in the block).
    shape : tuple of int
        (coil, line, sample) of the block.
    sides : tuple of int
        (y', x') at which the samples are spaced like the samples of the image.
    """

    raw: Raw
    table: Table
    shape: tuple[int, int, int]
    sides: tuple[int, int]

    def __call__(self, index: int) -> Tensor:
        """Return the reference lines of slice `index` (0-based), complex64.

        Raises
        ------
        InputError
            If a line is not finite (`kspace-not-finite`).
        """
        table = part(self.table, self.table["slice"] == index)
        counts = np.bincount(table["row"], minlength=self.shape[1])
        block = np.zeros(self.shape, np.complex64)

        for rows in row_groups(table, ("row", "reverse")):
            row = table["row"][rows[0]]
            with np.errstate(all="ignore"):
                block[:, row] += kept_samples(self.raw, table, rows).sum(0) / np.float32(
                    counts[row]
                )

        lines = torch.from_numpy(block)
        require_finite(lines, f"A reference line of {self.raw.path}")
        for axis, side in zip((1, 2), self.sides, strict=True):
            lines = _in_field_of_view(lines, axis, side)
        return lines


def references(
    raw: Raw, table: Table, encoding: Encoding, coils: int, slices: int, whole: bool
) -> tuple[References | None, tuple[str, ...]]:
    """Prepare the references of each slice.

    Parameters
    ----------
    raw : Raw
        The measurement.
    table : dict of str to ndarray
        The separate reference readouts.
    encoding : Encoding
        Encoding of the image.
    coils, slices : int
        Numbers of coils and slices of the image.
    whole : bool
        Whether the images cover the whole encoded field of view instead of only the shown part.

    Returns
    -------
    references : References or None
        The references; None without usable ones.
    notes : tuple of str
        What was used, or why nothing was.
    """
    if not len(table["index"]):
        return None, ()
    table, own = _usable(raw, table, coils)
    reason = _unusable(table, slices)
    if reason:
        return None, (f"{raw.path}: the separate reference lines were not used, because {reason}.",)

    row = table["line"] - line_centre(own)[0]
    row, table = _common(row, table, slices)
    length = int(length_of(table)[0])
    lines = int(np.ptp(row)) + 1 if len(row) else 0
    sides = _sides((lines, length), own, encoding, whole)
    if sides is None or not lines:
        why = "the slices have none in common" if not lines else "their field of view does not fit"
        return None, (f"{raw.path}: the separate reference lines were not used, because {why}.",)

    shape = (coils, lines, length)
    check_size(shape, 8, f"The reference lines of {raw.path}")
    check_size((coils, *sides), 8, f"The reference lines of {raw.path}")
    found = References(raw, table | {"row": row - row.min()}, shape, sides)
    return found, (f"{raw.path}: {lines} separate reference lines are used for calibration.",)


def _usable(raw: Raw, table: Table, coils: int) -> tuple[Table, Encoding]:
    """Select the readouts of the image's coils in the first encoding with references.

    Only readouts of the most frequent size are kept.
    """
    known = (table["space"] < len(raw.encodings)) & (table["coils"] == coils)
    table = part(table, known & (table["axes"] == 0))
    if not len(table["space"]):
        return table, raw.encodings[0]

    table = part(table, table["space"] == table["space"].min())
    sizes = np.stack([table[name] for name in ("samples", "before", "after")], 1)
    kinds, inverse, counts = np.unique(sizes, axis=0, return_inverse=True, return_counts=True)
    chosen = int(counts.argmax())
    table = part(table, inverse.reshape(-1) == chosen)

    samples, before, after = kinds[chosen]
    own = raw.encodings[int(table["space"][0])]
    return (table if samples - before - after > 0 else part(table, np.array([], np.int64))), own


def _unusable(table: Table, slices: int) -> str:
    """Return the reason why references cannot be used, or an empty text."""
    if not len(table["index"]):
        return "their coils or samples do not match the image"
    if len(np.unique(table["slice"])) < slices:
        return "some slices have none"
    return ""


def _common(row: NDArray[np.int64], table: Table, slices: int) -> tuple[NDArray[np.int64], Table]:
    """Select the lines that all slices have in one block around the centre (0)."""
    places = np.unique(np.stack([table["slice"], row], 1), axis=0)[:, 1]
    shared, counts = np.unique(places, return_counts=True)
    shared = shared[counts == slices]
    if not len(shared):
        return row[:0], part(table, np.array([], np.int64))
    runs = np.split(shared, np.flatnonzero(np.diff(shared) != 1) + 1)

    block = min(runs, key=lambda run: (np.abs(run).min(), -len(run)))
    inside = (row >= block[0]) & (row <= block[-1])
    return row[inside], part(table, inside)


def _sides(
    sides: tuple[int, int], own: Encoding, encoding: Encoding, whole: bool
) -> tuple[int, int] | None:
    """Return the block's size (y', x') at the image's sample spacing; None if not nearly whole."""
    target = encoding.field_of_view_mm
    if target is not None and not whole:
        target = (
            target[0] * encoding.image[0] / encoding.matrix[0],
            target[1] * encoding.image[1] / encoding.matrix[1],
            target[2],
        )

    if own.field_of_view_mm is None or target is None:
        return sides

    found = []
    for n, has, wanted in zip(sides, own.field_of_view_mm[:2], target[:2], strict=True):
        exact = n * wanted / has
        side = n if abs(exact / n - 1) <= TOLERANCE else round(exact)
        if side < 1 or abs(side / exact - 1) > TOLERANCE:
            return None
        found.append(side)
    return found[0], found[1]


def _in_field_of_view(block: Tensor, axis: int, side: int) -> Tensor:
    """Crop or zero-pad the image of a k-space block to `side` pixels along an axis."""
    n = block.shape[axis]
    if n == side:
        return block
    return fftc(resized(ifftc(block, axis), axis, side), axis) * math.sqrt(side / n)
