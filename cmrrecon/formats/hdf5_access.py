"""Reads HDF5 files (MATLAB v7.3, cmrrecon's .h5) piece by piece, even damaged or hostile ones."""

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
from cmrrecon.formats.bombs import MOST_PACKED, is_bomb
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
MOST_NUMBERS = 16  # per attribute
MOST_FIELDS = 64  # per struct; larger structs are ignored


def sniff(head: bytes) -> bool:
    """Return whether a file that begins with these bytes is HDF5.

    A user block of 512, 1024, 2048 or 4096 bytes may precede the signature.
    """
    offsets = [0] + [512 * 2**n for n in range(4)]
    return any(head[offset : offset + len(SIGNATURE)] == SIGNATURE for offset in offsets)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a file read-only with h5py; any fault that HDF5 finds becomes an InputError.

    Files are not locked, because read-only and network file systems refuse locks. cmrrecon itself
    replaces files only as a whole.

    Yields
    ------
    h5py.File
        The open file.

    Raises
    ------
    InputError
        If the file is damaged (`file-damaged`).
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    # The exception that h5py raises for a damaged file depends on which byte is wrong.
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
    """Return the error for a file that HDF5 cannot read; it states whether the file was cut off."""
    cut = re.search(r"eof = (\d+), .*stored_eof = (\d+)", str(error))
    found = (
        f"it has {cut[1]} bytes but should have {cut[2]}"
        if cut
        else "its structure or data are inconsistent"
    )

    return InputError(
        "file-damaged",
        f"{path} is damaged: {found}",
        "A complete HDF5 file (.h5, or .mat v7.3) is needed",
        "Copy or export the file again",
    )


def variables(path: Path) -> dict[str, StoredArray]:
    """Return the numeric arrays at the root of a file, and real and imaginary parts in structs.

    No data are read.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    dict of str to StoredArray
        The arrays by name.

    Raises
    ------
    InputError
        If the file is damaged (`file-damaged`), or if its data are stored outside it (links,
        external storage, virtual datasets) or need a filter that is not part of HDF5
        (`storage-foreign`).
    """
    stored: dict[str, StoredArray] = {}
    with opened(path) as file:
        for name in file:
            if name.startswith("#"):  # used by MATLAB internally
                continue
            if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                raise _refused(path, "a link instead of data")
            item = file[name]
            if isinstance(item, h5py.Group):
                stored |= _parts(path, name, item)
            elif _holds_numbers(item):
                stored[name] = _stored(path, name, item)
    return stored


def _stored(path: Path, name: str, item: Any) -> StoredArray:
    """Return a numeric dataset; `name` is its path in the file, with dots instead of slashes."""
    _check_storage(item, path)
    if item.chunks is not None and is_bomb(item.nbytes, item.id.get_storage_size()):
        raise InputError(
            "array-too-large",
            f"{name} in {path} declares {item.nbytes / 2**30:.1f} GiB in a file of "
            f"{path.stat().st_size / 2**20:.1f} MiB",
            f"Compressed data may grow {MOST_PACKED}-fold",
            "Check that this is the right file, or export it again",
        )
    is_complex = bool(item.dtype.names) or item.dtype.kind == "c"
    reader = Hdf5Reader(path, item.name, item.shape)
    return StoredArray(name, item.shape, is_complex, reader, item.chunks, lean=is_parallel(item))


def _parts(path: Path, name: str, group: Any) -> dict[str, StoredArray]:
    """Return the real and imaginary parts in a MATLAB struct as `struct.field`, or nothing."""
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
    """Return a text attribute of fixed length, as cmrrecon writes it; None if there is none.

    Text of variable length is not read: it is stored in a heap without a checksum, and a damaged
    heap can send HDF5 into an endless search.
    """
    with opened(path) as file:
        if name not in file.attrs or file.attrs.get_id(name).dtype.kind != "S":
            return None
        return bytes(file.attrs[name]).decode("utf-8", errors="replace")


def numbers(path: Path, name: str) -> tuple[int, ...]:
    """Return an attribute that is one or a few whole numbers; empty if there is none."""
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
    """Reads a piece of one dataset.

    The file is opened for each piece and closed again, so that worker processes can share the
    reader.

    Attributes
    ----------
    path : Path
        The file.
    name : str
        Path of the dataset in the file.
    shape : tuple of int
        Shape of the dataset.
    """

    path: Path
    name: str
    shape: tuple[int, ...]

    def __call__(self, selection: Selection) -> NDArray[Any]:
        """Return the selected piece, in memory."""
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
    """Refuse data that are stored outside the file or compressed with a foreign filter."""
    plist = dataset.id.get_create_plist()
    if dataset.is_virtual or plist.get_external_count():
        raise _refused(path, "data that are stored in another file")
    if any(plist.get_filter(index)[0] not in FILTERS for index in range(plist.get_nfilters())):
        raise _refused(path, "data compressed with a filter that is not part of HDF5")


def _refused(path: Path, found: str) -> InputError:
    return InputError(
        "storage-foreign",
        f"{path} has {found}",
        "All data must be in the file itself, uncompressed or compressed with gzip",
        "Export the file again",
    )
