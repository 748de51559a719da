"""MATLAB 5 files (`save -v6` and `-v7`), read by a strict parser and written with SciPy.

This module has its own parser because `scipy.io.loadmat` (1.17) has these weaknesses:

- Damaged dimensions can crash loadmat's compiled code and thus Python.
- loadmat allocates as much memory as a variable declares. Here, headers that declare more than
  `MAX_BYTES` are refused, and every length is checked against the file, the enclosing element and
  the dimensions before memory is allocated.
- loadmat skips variables that are not requested, even if the file is cut off inside them.
- whosmat does not report which variables are complex. Here, opening a file reads only the headers.

Both parsers verify the checksums of compressed variables. Variables cannot be read in part, so each
is read as a whole on first use.

References
----------
"MAT-File Format", The MathWorks, chapter 1.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cmrrecon.formats.arrays import Selection, StoredArray, check_size, single_precision
from cmrrecon.formats.bombs import is_bomb
from cmrrecon.formats.complex_parts import pairs
from cmrrecon.formats.names import is_timeless, parse_name
from cmrrecon.formats.tensors import stack_magnitudes
from cmrrecon.tools.atomic import atomic
from cmrrecon.tools.errors import InputError, OutputError
from cmrrecon.tools.provenance import to_json

HEADER = 128
MATRIX, COMPRESSED = 14, 15
STRUCT_CLASS, LONGEST_NAMES = 2, 2**16
# Data type number -> NumPy type.
TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
# Class number of a numeric array -> bytes per number.
CLASSES = {6: 8, 7: 4, 8: 1, 9: 1, 10: 2, 11: 2, 12: 4, 13: 4, 14: 8, 15: 8}
TEXT_CLASS, TEXT_TYPES = 4, {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16"}
COMPLEX_FLAG = 0x0800
PIECE = 1 << 20
LARGEST = 2**31  # bytes; MATLAB's own limit for a variable in this format
LONGEST_TEXT = 2**24


def sniff(head: bytes) -> bool:
    """Return whether a file that begins with these bytes is MATLAB 5."""
    return head[124:128] in (b"\x00\x01IM", b"\x01\x00MI")


def variables(path: Path) -> dict[str, StoredArray]:
    """Return the numeric arrays in a file, reading only their headers.

    Raises
    ------
    InputError
        If the file is cut off or damaged (`file-damaged`), or declares an array of more than
        `MAX_BYTES` (`array-too-large`).
    """
    stored: dict[str, StoredArray] = {}
    for array, _ in _arrays(path):
        if array.matlab_class in CLASSES and array.name not in stored:
            reader = MatlabReader(path, array.name)
            stored[array.name] = StoredArray(
                array.name, array.dims[::-1], array.is_complex, reader, reversed_view=True
            )
    return stored


def text(path: Path, name: str) -> str | None:
    """Return a text variable in the file, or None."""
    for array, source in _arrays(path):
        if array.name == name and array.matlab_class == TEXT_CLASS:
            kind, content = source.element(min(LONGEST_TEXT, 4 * prod(array.dims)))
            source.finish()
            encoding = TEXT_TYPES.get(kind, "latin-1")
            if encoding == "utf-16":
                encoding = "utf-16-le" if source.order == "<" else "utf-16-be"
            return content.decode(encoding, errors="replace")
    return None


def write_images(
    path: Path, images: Sequence[Tensor], provenance: Mapping[str, Any] | None = None
) -> None:
    """Write magnitudes for the official scorer as `img4ranking`, (x, y, slice, frame) in MATLAB.

    Values have single precision. Images of blackblood, T1w and T2w, as stated by the provenance or
    else the file name, have no frame axis. Provenance becomes a text variable.

    Parameters
    ----------
    path : Path
        The output.
    images : sequence over slices of Tensor of shape (frame, y, x)
        Images, complex or real.
    provenance : mapping or None
        JSON values to store in the file.

    Raises
    ------
    OutputError
        If the file cannot be written, or is larger than the format allows (`array-too-large`).
    """
    from scipy.io import savemat  # slow to import, and only needed here

    magnitudes = stack_magnitudes(images)
    if magnitudes.nbytes >= LARGEST:
        raise OutputError(
            "array-too-large",
            f"{path} would contain {magnitudes.nbytes / 2**30:.1f} GiB",
            "A MATLAB 5 variable must be smaller than 2 GiB",
            "Write a .h5 file",
        )

    array = magnitudes.transpose(3, 2, 1, 0)
    base = (provenance or {}).get("acquisition", {}).get("base") or parse_name(path).base
    if is_timeless(base) and array.shape[3] == 1:
        array = array[..., 0]
    content = {"img4ranking": array} | (
        {"provenance": to_json(provenance)} if provenance is not None else {}
    )

    with atomic(path) as temporary, open(temporary, "wb") as handle:
        savemat(handle, content, do_compression=True)


@dataclass(frozen=True)
class MatlabReader:
    """Reads a whole variable on first use, then returns pieces of it."""

    path: Path
    name: str

    @cached_property
    def values(self) -> NDArray[Any]:
        """The array, with axes in the reverse of MATLAB's order."""
        for array, source in _arrays(self.path):
            if array.name == self.name:
                return _numbers(array, source)
        raise _damaged(self.path, "a variable has disappeared since the file was first read")

    def __call__(self, selection: Selection) -> NDArray[Any]:
        """Return the selected piece, in memory."""
        return single_precision(self.values[selection])


@dataclass(frozen=True)
class _Array:
    """The header of a variable."""

    name: str
    dims: tuple[int, ...]
    matlab_class: int
    is_complex: bool


class _Source:
    """The bytes of one top-level element, inflated on request; never more bytes than declared."""

    def __init__(
        self, handle: BinaryIO, path: Path, nbytes: int, order: str, compressed: bool
    ) -> None:
        self.handle, self.path, self.order = handle, path, order
        self.packed = nbytes  # bytes of the element not yet read from the file
        self.left = nbytes if not compressed else 8  # bytes the element may still supply
        self.inflate = zlib.decompressobj() if compressed else None

    def read(self, count: int) -> bytearray:
        if count > self.left:
            raise _damaged(self.path, "a part is longer than the whole")
        self.left -= count

        content = bytearray() if self.inflate else bytearray(self.handle.read(count))
        while len(content) < count:
            if self.inflate is None or self.inflate.eof:
                raise _damaged(self.path, "its data end prematurely")
            content += self._inflated(count - len(content))
        return content

    def element(self, most: int) -> tuple[int, bytearray]:
        """Return the type and content of the next part, which may have at most `most` bytes."""
        head = self.read(8)
        kind, nbytes = struct.unpack(self.order + "II", head)
        short = kind >> 16  # the tag itself can store up to four bytes
        if short > 4 or (short or nbytes) > most:
            raise _damaged(self.path, "a part of a variable is longer than it can be")

        if short:
            return kind & 0xFFFF, head[4 : 4 + short]

        content = self.read(nbytes)
        self.read(min(-nbytes % 8, self.left))
        return kind, content

    def finish(self) -> None:
        """Read the rest, so that the checksum of compressed data is verified."""
        if self.inflate is None:
            return
        while self.left:
            self.read(min(PIECE, self.left))
        while not self.inflate.eof:
            if self._inflated(1):
                raise _damaged(self.path, "its compressed data are longer than declared")

    def _inflated(self, most: int) -> bytes:
        assert self.inflate is not None
        piece = self.inflate.unconsumed_tail
        if not piece:
            piece = self.handle.read(min(PIECE, self.packed))
            self.packed -= len(piece)

        try:
            inflated = self.inflate.decompress(piece, most)
        except zlib.error as error:
            raise _damaged(self.path, "its compressed data are inconsistent") from error

        if not inflated and not piece and not self.inflate.eof:
            raise _damaged(self.path, "its compressed data end prematurely")
        return inflated


def _arrays(path: Path) -> Iterator[tuple[_Array, _Source]]:
    """Yield the variables in turn, each with its source positioned before the numbers."""
    try:
        with open(path, "rb") as handle:
            size = handle.seek(0, 2)
            handle.seek(HEADER - 2)
            order = "<" if handle.read(2) == b"IM" else ">"
            position = HEADER
            while position < size:
                handle.seek(position)
                head = handle.read(8)
                kind, nbytes = struct.unpack(order + "II", head) if len(head) == 8 else (0, 0)
                position += 8 + nbytes
                if position > size:
                    raise _damaged(path, f"it has {size} bytes but should have {position}")
                if kind not in (MATRIX, COMPRESSED):
                    raise _damaged(path, "a part has an unknown type, or the file is cut off")

                source = _Source(handle, path, nbytes, order, kind == COMPRESSED)
                if kind == COMPRESSED:
                    inner, declared = struct.unpack(order + "II", source.read(8))
                    if inner != MATRIX:
                        raise _damaged(path, "a compressed part contains no variable")
                    if is_bomb(declared, nbytes):
                        raise _damaged(path, "it declares more than it can contain")
                    source.left = declared

                array = _header(source, path)
                if array is not None and array.matlab_class == STRUCT_CLASS:
                    yield from _parts(array, source, path)
                elif array is not None:
                    yield array, source
    except OSError as error:
        raise _damaged(path, error.strerror or "an input error") from error


def _header(source: _Source, path: Path) -> _Array | None:
    """Read flags, dimensions and name; None for kinds of variables that are ignored."""
    kind, flags = source.element(8)
    if kind != 6 or len(flags) != 8:
        raise _damaged(path, "a variable has no flags")
    bits = struct.unpack(source.order + "I", flags[:4])[0]
    matlab_class = bits & 0xFF
    if matlab_class not in CLASSES and matlab_class not in (TEXT_CLASS, STRUCT_CLASS):
        return None

    kind, sizes = source.element(4 * 32)
    if kind != 5 or len(sizes) % 4 or not 2 <= len(sizes) // 4 <= 32:
        raise _damaged(path, "a variable has no dimensions")
    dims = struct.unpack(f"{source.order}{len(sizes) // 4}i", sizes)

    kind, name = source.element(1024)
    if kind != 1 or min(dims) < 0:
        raise _damaged(path, "a variable has no valid name or dimensions")

    if 0 not in dims:
        check_size(dims, CLASSES.get(matlab_class, 2), f"A variable of {path}")
    return _Array(
        name.decode("ascii", errors="replace"), dims, matlab_class, bool(bits & COMPLEX_FLAG)
    )


def _parts(struct_: _Array, source: _Source, path: Path) -> Iterator[tuple[_Array, _Source]]:
    """Yield real and imaginary parts in a struct as `struct.field`; nothing from other structs."""
    fields = _fields(source, path)
    if prod(struct_.dims) != 1 or not pairs(fields):
        return

    for field in fields:
        kind, nbytes = struct.unpack(source.order + "II", source.read(8))
        after = source.left - nbytes
        if kind != MATRIX or after < 0:
            raise _damaged(path, "a field of a struct is longer than the struct")
        inner = _header(source, path) if nbytes else None
        if inner is not None and inner.matlab_class in CLASSES:
            yield replace(inner, name=f"{struct_.name}.{field}"), source
        while source.left > after:
            source.read(min(PIECE, source.left - after))


def _fields(source: _Source, path: Path) -> list[str]:
    """Read the names of the fields of a struct."""
    kind, content = source.element(4)
    length = struct.unpack(source.order + "i", content)[0] if (kind, len(content)) == (5, 4) else 0
    kind, names = source.element(LONGEST_NAMES)
    if kind != 1 or length < 1 or len(names) % length:
        raise _damaged(path, "a struct has no valid field names")
    pieces = (names[start : start + length] for start in range(0, len(names), length))
    return [piece.split(b"\0")[0].decode("ascii", errors="replace") for piece in pieces]


def _numbers(array: _Array, source: _Source) -> NDArray[Any]:
    """Read the numbers of a variable with reversed axes: in MATLAB the first axis is fastest."""
    parts = []
    for _ in range(2 if array.is_complex else 1):
        kind, content = source.element(8 * prod(array.dims))
        if kind not in TYPES or len(content) != prod(array.dims) * np.dtype(TYPES[kind]).itemsize:
            raise _damaged(source.path, "the numbers of a variable do not match its dimensions")
        parts.append(np.frombuffer(content, source.order + TYPES[kind]).reshape(array.dims[::-1]))

    source.finish()
    if not array.is_complex:
        return parts[0]

    values = np.empty(parts[0].shape, np.complex64)
    with np.errstate(over="ignore"):
        values.real, values.imag = parts
    return values


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(
        "file-damaged",
        f"{path} is damaged: {reason}",
        "A complete MATLAB file (v5 or v7.3) is needed",
        "Copy or export the file again",
    )
