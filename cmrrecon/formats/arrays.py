"""An array in a file, read piece by piece, and the rule that names its axes.

Stored axes are always in the order h5py shows an official file: slowest first, `(frame, slice, coil, y, x)`.
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

AXES = ("frame", "slice", "coil", "y", "x")
# No file may ask for more memory than this in one piece, whatever its header says (largest real slice: 0.3 GB).
MAX_BYTES = 8 * 2**30

# How MATLAB, Octave and our own files store complex numbers in HDF5. They lie there as NumPy's own
# do.
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
    name : the variable; "" in a file that holds a single array without a name
    shape : as stored, slowest axis first
    is_complex : whether `read` gives complex64; otherwise it gives real numbers
    read : index (int or slice per axis) -> array in memory, native byte order
    chunks : what the file compresses together, per axis; None if any piece can be read alone
    reversed_view : users know the array with its axes in reverse (MATLAB 5 files)
    lean : reading holds little more memory than the piece it returns
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
        """The shape as users know it."""
        return self.shape[::-1] if self.reversed_view else self.shape

    def load(self, where: str) -> NDArray[Any]:
        """The whole array.

        Raises
        ------
        InputError : it is larger than `MAX_BYTES`
        """
        check_size(self.shape, 8, where)
        return self.read((slice(None),) * len(self.shape))


@dataclass(frozen=True)
class SliceReader:
    """Reads one slice of k-space at a time as (frame, coil, y, x) complex64, whatever the order of the stored axes.

    Frames are read one by one (as many as the file compresses together), so that memory holds one slice; all at once where
    that takes no more memory. Where the file compresses neighbouring slices together, the next one is then read along and
    kept until it is asked for: half the chunks to inflate when all slices are read, for the memory of one more.
    """

    stored: StoredArray
    axes: tuple[str, ...]
    _next: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """(frame, slice, coil, y, x); axes that are not stored are 1 long."""
        length = dict(zip(self.axes, self.stored.shape, strict=True))
        f, z, c, y, x = (length.get(axis, 1) for axis in AXES)
        return f, z, c, y, x

    def __call__(self, index: int) -> Tensor:
        """K-space of slice `index` (0-based)."""
        kept = self._next.pop(index, None)
        self._next.clear()
        if kept is not None:
            return kept

        frames, slices, coils, y, x = self.shape
        if self.stored.lean:
            fitting = 2 if 2 * frames * coils * y * x * 8 <= MAX_BYTES else 1
            together = self._packed_together("slice")
            last = min(index + fitting, index - index % together + together, slices)
            found = self._read(slice(None), slice(index, last))
            # Transforms want each frame in one piece; whole frames may lie apart.
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
        return (
            self.stored.chunks[self.axes.index(axis)]
            if self.stored.chunks and axis in self.axes
            else 1
        )

    def _read(self, frames: slice, slices: int | slice) -> Tensor:
        """Some frames of one slice or of neighbouring ones, (slice, frame, coil, y, x)."""
        chosen: dict[str, int | slice] = {"frame": frames, "slice": slices}
        values = torch.from_numpy(
            self.stored.read(tuple(chosen.get(axis, slice(None)) for axis in self.axes))
        )

        kept = [axis for axis in self.axes if not isinstance(chosen.get(axis), int)]
        ours = ("slice", "frame", "coil", "y", "x")
        in_order = values.permute([kept.index(axis) for axis in ours if axis in kept])
        return in_order[tuple(slice(None) if axis in kept else None for axis in ours)]


def single_precision(values: NDArray[Any]) -> NDArray[Any]:
    """Stored numbers as a writable array: compound {real, imag} and complex become complex64, the rest keep their type.

    Doubles beyond the single range become infinite; `scan.check_kspace` refuses them.
    """
    if values.dtype == COMPLEX_SINGLE and values.flags.writeable and values.ndim:
        return values.view(np.complex64)  # as it lies there, without a copy

    with np.errstate(over="ignore"):
        if values.dtype.names:
            result = np.empty(values.shape, np.complex64)
            result.real, result.imag = values["real"], values["imag"]
            return result

        native = np.complex64 if values.dtype.kind == "c" else values.dtype.newbyteorder("=")
        return np.array(values, dtype=native)


def check_size(shape: tuple[int, ...], itemsize: int, where: str) -> None:
    """Refuse an array that is empty or larger than `MAX_BYTES`."""
    if not shape or 0 in shape:
        raise InputError(
            "array-empty",
            f"{where} holds an empty array, shape {shape}",
            "Every axis must be at least 1 long",
            "Export the file again",
        )

    if prod(shape) * itemsize > MAX_BYTES:
        raise InputError(
            "array-too-large",
            f"{where} declares an array of shape {shape}, {prod(shape) * itemsize / 2**30:.1f} GiB",
            f"At most {MAX_BYTES // 2**30} GiB are read in one piece",
            "Check that the file is what it should be, or store it slice by slice as .h5",
        )


def named_axes(text: str, stored: StoredArray, where: str) -> tuple[str, ...]:
    """Axis names from a comma list such as `x,y,coil`, in the order the file's own reader (h5py, scipy, numpy) shows.

    Raises
    ------
    UsageError : a name is unknown or twice there, y or x is missing, or the number of axes differs
    """
    names = tuple(name.strip() for name in text.split(","))
    remedy = "Give a comma list such as x,y,coil"
    if len(set(names)) < len(names) or not set(names) <= set(AXES) or not {"y", "x"} <= set(names):
        raise UsageError(
            "axes-unknown",
            f"The axes {text!r} are not understood",
            f"Each of {', '.join(AXES)} may stand once, y and x must",
            remedy,
        )

    shape = stored.shown_shape
    if len(names) != len(shape):
        raise UsageError(
            "axes-unknown",
            f"{len(names)} axes are named, {where} has shape {shape}",
            f"{len(shape)} names are needed",
            remedy,
        )
    return names[::-1] if stored.reversed_view else names


def default_axes(
    stored: StoredArray, base: str, where: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Axis names by the official layouts, and what had to be assumed.

    Full layouts: (frame, slice, coil, y, x); without coil in the single-coil files of 2023; without frame for
    blackblood, T1w and T2w. MATLAB drops trailing axes of length 1, which stand first here: a shorter array lacks
    the first names. So four axes are (slice, coil, y, x) with one frame, three are (coil, y, x), two are (y, x).

    Raises
    ------
    InputError : fewer than two or more than five axes, or more coils than lines
    """
    full: tuple[str, ...] = AXES
    if stored.name.startswith("kspace_single") and len(stored.shape) < 5:
        full = ("frame", "slice", "y", "x")
    elif is_timeless(base) and len(stored.shape) < 5:
        full = ("slice", "coil", "y", "x")

    if not 2 <= len(stored.shape) <= 5:
        raise InputError(
            "kspace-axes",
            f"{where} has {len(stored.shape)} axes, shape {stored.shown_shape}",
            "K-space has two (y, x) to five axes (frame, slice, coil, y, x)",
            "Check that this is a k-space file",
        )

    axes = full[len(full) - len(stored.shape) :]
    length = dict(zip(axes, stored.shape, strict=True))
    shown = f"({', '.join(axes)}) = {stored.shape}"
    shortest = min(length["y"], length["x"])
    if length.get("coil", 1) > shortest:
        raise InputError(
            "kspace-axes",
            f"{where} read as {shown} has more coils than lines or samples",
            "Official files have this order of axes",
            "Name the axes with --axes, for example --axes x,y,coil",
        )

    notes = []
    if len(axes) < len(full):
        notes.append(
            f"{where} has {len(axes)} axes, taken as {shown}, the others 1 long; name them with --axes if this is wrong."
        )
    if max(stored.shape[:-2], default=1) > shortest:
        notes.append(
            f"{where} is taken as {shown}, although y or x is not among the longest; name the axes with --axes if this is wrong."
        )
    return axes, tuple(notes)
