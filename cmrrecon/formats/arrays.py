"""Arrays that are read from files piece by piece, and the rules for naming their axes.

Stored axes are always in the order that h5py shows for an official file: slowest first, `(frame,
slice, coil, y, x)`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmrrecon.formats.names import is_timeless
from cmrrecon.tools.errors import InputError, UsageError
from cmrrecon.tools.machine import machine_memory

AXES = ("frame", "slice", "coil", "y", "x")
# Limit for one piece in memory, regardless of what a header declares. The largest real slice takes
# 0.3 GB.
MAX_BYTES = 8 * 2**30

# How MATLAB, Octave and cmrrecon store complex numbers in HDF5: as compounds whose bytes are laid
# out like NumPy's complex types.
COMPLEX_SINGLE = np.dtype([("real", "<f4"), ("imag", "<f4")])
COMPLEX_DOUBLE = np.dtype([("real", "<f8"), ("imag", "<f8")])
COMPLEX: dict[np.dtype[Any], np.dtype[Any]] = {
    COMPLEX_SINGLE: np.dtype("<c8"),
    COMPLEX_DOUBLE: np.dtype("<c16"),
}

Selection = tuple[int | slice, ...]


@dataclass(frozen=True)
class StoredArray:
    """A numeric array in a file.

    Attributes
    ----------
    name : str
        Name of the variable; empty if the file contains a single unnamed array.
    shape : tuple of int
        Shape as stored, slowest axis first.
    is_complex : bool
        Whether `read` returns complex64 numbers; otherwise it returns real ones.
    read : callable
        Maps a selection (an int or slice per axis) to an array in memory, in native byte order.
    chunks : tuple of int or None
        Size along each axis of the blocks that were compressed as a unit; None if any piece can be
        read on its own.
    reversed_view : bool
        Whether users know the array with its axes reversed (MATLAB 5 files).
    lean : bool
        Whether reading takes little more memory than the piece that is returned.
    """

    name: str
    shape: tuple[int, ...]
    is_complex: bool
    read: Callable[[Selection], NDArray[Any]]
    chunks: tuple[int, ...] | None = None
    reversed_view: bool = False
    lean: bool = False

    @property
    def shown_shape(self) -> tuple[int, ...]:
        """Shape of the array as users know it."""
        return self.shape[::-1] if self.reversed_view else self.shape

    def load(self, label: str) -> NDArray[Any]:
        """Read the whole array.

        Parameters
        ----------
        label : str
            Name of the array in error messages.

        Returns
        -------
        ndarray of `shape`
            Complex64 or real numbers.

        Raises
        ------
        InputError
            If the array is empty (`array-empty`) or larger than `MAX_BYTES` (`array-too-large`).
        """
        check_size(self.shape, 8, label)
        return self.read((slice(None),) * len(self.shape))


@dataclass(frozen=True)
class SliceReader:
    """Reads k-space slice by slice as (frame, coil, y, x) complex64, for any order of stored axes.

    Frames are read in steps that match the compressed blocks of the file, so only one slice is in
    memory at a time. If the stored array is `lean`, all frames are read at once. If neighbouring
    slices were compressed in the same block, the next slice is read along with this one and kept
    until it is requested. Reading all slices then inflates half as many chunks, at the cost of one
    more slice in memory.

    Attributes
    ----------
    stored : StoredArray
        K-space in the file.
    axes : tuple of str
        Names of the stored axes, from `AXES`.
    """

    stored: StoredArray
    axes: tuple[str, ...]
    _next: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Shape (frame, slice, coil, y, x); axes that are not stored have length 1."""
        length = dict(zip(self.axes, self.stored.shape, strict=True))
        f, z, c, y, x = (length.get(axis, 1) for axis in AXES)
        return f, z, c, y, x

    def __call__(self, index: int) -> Tensor:
        """Return k-space of slice `index` (0-based), (frame, coil, y, x) complex64."""
        kept = self._next.pop(index, None)
        self._next.clear()
        if kept is not None:
            return kept

        frames, slices, coils, y, x = self.shape
        if self.stored.lean:
            count = 2 if 2 * frames * coils * y * x * 8 <= MAX_BYTES else 1
            packed = self._packed_together("slice")
            last = min(index + count, index - index % packed + packed, slices)
            found = self._read(slice(None), slice(index, last))
            # Transforms are fastest if each frame is contiguous; the frames may be apart in memory.
            found = found if found[0, 0].is_contiguous() else found.contiguous()
            self._next.update(enumerate(found[1:], index + 1))
            return found[0]

        series = torch.empty((frames, coils, y, x), dtype=torch.complex64)
        step = self._packed_together("frame")
        for first in range(0, frames, step):
            block = slice(first, first + step)
            series[block] = self._read(block, index)[0]
        return series

    def _packed_together(self, axis: str) -> int:
        """Return the number of entries along an axis that were compressed as one block."""
        return (
            self.stored.chunks[self.axes.index(axis)]
            if self.stored.chunks and axis in self.axes
            else 1
        )

    def _read(self, frames: slice, slices: int | slice) -> Tensor:
        """Read some frames of one or more neighbouring slices, (slice, frame, coil, y, x)."""
        chosen: dict[str, int | slice] = {"frame": frames, "slice": slices}
        values = torch.from_numpy(
            self.stored.read(tuple(chosen.get(axis, slice(None)) for axis in self.axes))
        )

        kept = [axis for axis in self.axes if not isinstance(chosen.get(axis), int)]
        ours = ("slice", "frame", "coil", "y", "x")
        in_order = values.permute([kept.index(axis) for axis in ours if axis in kept])
        return in_order[tuple(slice(None) if axis in kept else None for axis in ours)]


def single_precision(values: NDArray[Any]) -> NDArray[Any]:
    """Convert stored numbers to a writable array, complex ones to complex64.

    Compounds {real, imag} count as complex; real numbers keep their type. Doubles beyond the range
    of single precision become infinite, which `scan.check_kspace` rejects later.
    """
    if values.dtype == COMPLEX_SINGLE and values.flags.writeable and values.ndim:
        return values.view(np.complex64)  # same bytes, no copy

    with np.errstate(over="ignore"):
        if values.dtype.names:
            result = np.empty(values.shape, np.complex64)
            result.real, result.imag = values["real"], values["imag"]
            return result

        native = np.complex64 if values.dtype.kind == "c" else values.dtype.newbyteorder("=")
        return np.array(values, dtype=native)


def check_size(shape: tuple[int, ...], itemsize: int, label: str) -> None:
    """Refuse an array that is empty or larger than `MAX_BYTES` or the machine's memory.

    Parameters
    ----------
    shape : tuple of int
        Shape that the file declares.
    itemsize : int
        Bytes per number.
    label : str
        Name of the array in error messages.

    Raises
    ------
    InputError
        If an axis has length 0 (`array-empty`) or the array is too large (`array-too-large`).
    """
    if not shape or 0 in shape:
        raise InputError(
            "array-empty",
            f"{label} is an empty array of shape {shape}",
            "Every axis must be at least 1 long",
            "Export the file again",
        )

    limit = min(MAX_BYTES, machine_memory())
    if prod(shape) * itemsize > limit:
        raise InputError(
            "array-too-large",
            f"{label} declares an array of shape {shape}, {prod(shape) * itemsize / 2**30:.1f} GiB",
            f"At most {limit / 2**30:.1f} GiB can be read in one piece on this machine",
            "Check that this is the right file, or store it slice by slice as .h5",
        )


def named_axes(text: str, stored: StoredArray, label: str) -> tuple[str, ...]:
    """Parse a comma-separated list of axis names such as `x,y,coil`.

    Parameters
    ----------
    text : str
        Names in the order in which the usual reader of the format (h5py, SciPy, NumPy) shows the
        axes.
    stored : StoredArray
        The array that the names belong to.
    label : str
        Name of the array in error messages.

    Returns
    -------
    tuple of str
        Names in the stored order, slowest axis first.

    Raises
    ------
    UsageError
        If a name is unknown or repeated, y or x is missing, or the number of names differs from
        the number of axes (`axes-unknown`).
    """
    names = tuple(name.strip() for name in text.split(","))
    remedy = "Give a comma-separated list such as x,y,coil"
    if len(set(names)) < len(names) or not set(names) <= set(AXES) or not {"y", "x"} <= set(names):
        raise UsageError(
            "axes-unknown",
            f"The axes {text!r} cannot be used",
            f"Each of {', '.join(AXES)} may be named once; y and x are required",
            remedy,
        )

    shape = stored.shown_shape
    if len(names) != len(shape):
        raise UsageError(
            "axes-unknown",
            f"{len(names)} axes are named, but {label} has shape {shape}",
            f"Exactly {len(shape)} names are needed",
            remedy,
        )
    return names[::-1] if stored.reversed_view else names


def default_axes(
    stored: StoredArray, base: str, label: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Name the axes according to the official layouts.

    The full layout is (frame, slice, coil, y, x). Single-coil files of 2023 have no coil axis;
    blackblood, T1w and T2w have no frame axis. MATLAB drops trailing axes of length 1, which come
    first here, so an array with fewer axes lacks the first names: four axes are (slice, coil, y, x)
    with one frame, three are (coil, y, x), and two are (y, x).

    Parameters
    ----------
    stored : StoredArray
        K-space in the file.
    base : str
        Base name of the file, such as `cine_sax`.
    label : str
        Name of the array in messages.

    Returns
    -------
    axes : tuple of str
        Names in the stored order.
    notes : tuple of str
        What had to be assumed, one sentence each.

    Raises
    ------
    InputError
        If there are fewer than two or more than five axes, or if there are more coils than lines or
        samples (`kspace-axes`).
    """
    full: tuple[str, ...] = AXES
    if stored.name.startswith("kspace_single") and len(stored.shape) < 5:
        full = ("frame", "slice", "y", "x")
    elif is_timeless(base) and len(stored.shape) < 5:
        full = ("slice", "coil", "y", "x")

    if not 2 <= len(stored.shape) <= 5:
        raise InputError(
            "kspace-axes",
            f"{label} has {len(stored.shape)} axes: its shape is {stored.shown_shape}",
            "K-space has two axes (y, x) to five axes (frame, slice, coil, y, x)",
            "Check that this is a k-space file",
        )

    axes = full[len(full) - len(stored.shape) :]
    length = dict(zip(axes, stored.shape, strict=True))
    shown = f"({', '.join(axes)}) = {stored.shape}"
    shortest = min(length["y"], length["x"])
    if length.get("coil", 1) > shortest:
        raise InputError(
            "kspace-axes",
            f"{label}, read as {shown}, has more coils than lines or samples",
            "Official files store the axes in this order",
            "Name the axes with --axes, for example --axes x,y,coil",
        )

    notes = []
    if len(axes) < len(full):
        notes.append(
            f"{label} has {len(axes)} axes and was read as {shown}; the other axes have length 1. "
            "Name them with --axes if this is wrong."
        )
    if max(stored.shape[:-2], default=1) > shortest:
        notes.append(
            f"{label} was read as {shown}, although y or x is not among the longest axes. "
            "Name them with --axes if this is wrong."
        )
    return axes, tuple(notes)
