"""Reading HDF5 files (MATLAB v7.3 and our own .h5) that may be damaged or hostile, piece by piece."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from cmrrecon.formats.arrays import Selection, StoredArray, single_precision
from cmrrecon.formats.complex_parts import pairs
from cmrrecon.formats.hdf5_chunks import is_parallel, read_parallel
from cmrrecon.tools.errors import InputError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
FILTERS = (
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_SHUFFLE,
    h5py.h5z.FILTER_FLETCHER32,
    h5py.h5z.FILTER_SZIP,
    h5py.h5z.FILTER_LZF,
)
MOST_NUMBERS = 16  # in an attribute
MOST_FIELDS = 64  # of a struct that is looked into


def sniff(head: bytes) -> bool:
    """Whether the first bytes of a file are HDF5, after the user block of 512 bytes (or a power of two times that) if any."""
    offsets = [0] + [512 * 2**n for n in range(4)]
    return any(head[offset : offset + len(SIGNATURE)] == SIGNATURE for offset in offsets)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The open h5py file, read-only; whatever HDF5 finds wrong in it becomes an InputError.

    No file locking: read-only and network file systems refuse it, and our own writers replace files whole.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    # A damaged file makes h5py raise nearly anything, depending on which byte is wrong.
    except (
        OSError,
        RuntimeError,
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        OverflowError,
        SystemError,
    ) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> InputError:
    """The message for a file that HDF5 cannot read; says so if it was cut off."""
    cut = re.search(r"eof = (\d+), .*stored_eof = (\d+)", str(error))
    found = (
        f"it has {cut[1]} bytes and says it should have {cut[2]}"
        if cut
        else "its structure or its data do not agree with themselves"
    )

    return InputError(
        "file-damaged",
        f"{path} is damaged: {found}",
        "A complete HDF5 file (.h5, or .mat v7.3) is needed",
        "Copy or export the file again",
    )


def variables(path: Path) -> dict[str, StoredArray]:
    """The numeric arrays at the top of the file, and real and imaginary parts in a struct; nothing
    of their content is read.

    Raises
    ------
    InputError : the file is damaged, or its data lie elsewhere (links, external storage, virtual datasets) or need a foreign filter
    """
    stored: dict[str, StoredArray] = {}
    with opened(path) as file:
        for name in file:
            if name.startswith("#"):  # MATLAB's own
                continue
            if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                raise _refused(path, "a link in place of data")
            item = file[name]
            if isinstance(item, h5py.Group):
                stored |= _parts(path, name, item)
            elif _holds_numbers(item):
                stored[name] = _stored(path, name, item)
    return stored


def _stored(path: Path, name: str, item: Any) -> StoredArray:
    """A dataset of numbers; `name` is its place, with dots for slashes."""
    _check_storage(item, path)
    is_complex = bool(item.dtype.names) or item.dtype.kind == "c"
    reader = Hdf5Reader(path, item.name, item.shape)
    return StoredArray(name, item.shape, is_complex, reader, item.chunks, lean=is_parallel(item))


def _parts(path: Path, name: str, group: Any) -> dict[str, StoredArray]:
    """The real and imaginary parts in a struct of MATLAB, named `struct.field`; nothing of other
    groups."""
    if len(group) > MOST_FIELDS:
        return {}

    wanted = [
        field
        for pair in pairs(group).values()
        for field in pair
        if isinstance(group.get(field, getlink=True), h5py.HardLink)
    ]

    return {
        f"{name}.{field}": _stored(path, f"{name}.{field}", group[field])
        for field in wanted
        if _holds_numbers(group[field])
    }


def text(path: Path, name: str) -> str | None:
    """A text attribute of the file itself, of fixed length as our writers make it; None if there is none.

    Text of variable length lies in a heap without a checksum, where damage can make HDF5 search for ever: not read.
    """
    with opened(path) as file:
        if name not in file.attrs or file.attrs.get_id(name).dtype.kind != "S":
            return None
        return bytes(file.attrs[name]).decode("utf-8", errors="replace")


def numbers(path: Path, name: str) -> tuple[int, ...]:
    """An attribute of the file itself that holds a whole number or a few; empty if there is none."""
    with opened(path) as file:
        if (
            name not in file.attrs
            or file.attrs.get_id(name).dtype.kind not in "iu"
            or prod(file.attrs.get_id(name).shape) > MOST_NUMBERS
        ):
            return ()
        return tuple(int(value) for value in np.atleast_1d(file.attrs[name]))


@dataclass(frozen=True)
class Hdf5Reader:
    """Reads a piece of one dataset. Opens the file each time: nothing is held open, worker processes can share it."""

    path: Path
    name: str
    shape: tuple[int, ...]

    def __call__(self, selection: Selection) -> NDArray[Any]:
        """The selected piece, in memory."""
        with opened(self.path) as file:
            dataset = file[self.name]
            if dataset.shape != self.shape:
                raise ValueError("the dataset has changed since the file was first read")
            values = read_parallel(dataset, selection) if is_parallel(dataset) else None
            return single_precision(dataset[selection]) if values is None else values


def _holds_numbers(item: Any) -> bool:
    return isinstance(item, h5py.Dataset) and bool(item.ndim) and _is_numeric(item.dtype)


def _is_numeric(dtype: np.dtype[Any]) -> bool:
    if dtype.names:
        return set(dtype.names) == {"real", "imag"} and all(
            dtype[name].kind in "fiu" and not dtype[name].shape for name in dtype.names
        )
    return dtype.kind in "fiubc"


def _check_storage(dataset: Any, path: Path) -> None:
    plist = dataset.id.get_create_plist()
    if dataset.is_virtual or plist.get_external_count():
        raise _refused(path, "data that lie in another file")
    if any(plist.get_filter(index)[0] not in FILTERS for index in range(plist.get_nfilters())):
        raise _refused(path, "data packed with a filter that is not part of HDF5")


def _refused(path: Path, found: str) -> InputError:
    return InputError(
        "storage-foreign",
        f"{path} has {found}",
        "All data must lie in the file itself, plain or gzip-compressed",
        "Export the file again",
    )
