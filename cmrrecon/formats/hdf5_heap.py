"""Finds variable-length data in HDF5 files without using HDF5's own heap code.

HDF5 (2.0, under h5py) rejects most damaged heaps. Some, however, make it search in an endless loop,
in compiled code that neither a time limit nor Ctrl-C can stop. Here every step moves forward, and
all steps together cover no more than the length of the file. A piece must have exactly the size
that its row declares. Heaps have no checksum, so damaged values in them go unnoticed.

A row refers to each piece by its length, the address of a collection and the index in that
collection. A collection is a header followed by objects, each with its index and size (HDF5 file
format specification, III.E).
"""

import struct
from dataclasses import dataclass, field
from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import NDArray

REFERENCE = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])
SIZES = (8, 8)  # bytes of an address and of a length in the file
COLLECTION = struct.Struct("<4sB3xQ")  # signature, version, size including this header
OBJECT = struct.Struct("<HH4xQ")  # index, references, size excluding this header


def stored_rows(dataset: Any, handle: IO[bytes]) -> NDArray[Any]:
    """Return the rows of a one-dimensional (or scalar) h5py dataset as stored in the file.

    Parameters
    ----------
    dataset : h5py.Dataset
        The dataset.
    handle : binary file
        The same file, open for reading bytes.

    Returns
    -------
    ndarray of shape (n,)
        The rows; data of variable length appear as `REFERENCE` records.

    Raises
    ------
    ValueError
        If the dataset has an unexpected storage layout, or if rows are missing.
    """
    plist = dataset.id.get_create_plist()
    dtype = _stored_dtype(dataset.id.get_type())
    count = int(np.prod(dataset.shape))
    if (
        dataset.file.id.get_create_plist().get_sizes() != SIZES
        or plist.get_nfilters()
        or plist.get_external_count()
        or dataset.ndim > 1
    ):
        raise ValueError("rows are compressed or stored in another file")

    if dataset.chunks is None:
        offset = dataset.id.get_offset()
        if offset is None:
            raise ValueError("rows are missing")
        handle.seek(offset)
        raw = handle.read(count * dtype.itemsize)
    else:
        (length,) = dataset.chunks
        if dataset.id.get_num_chunks() < -(-count // length):
            raise ValueError("rows are missing")
        raw = b"".join(
            dataset.id.read_direct_chunk((first,))[1] for first in range(0, count, length)
        )

    return np.frombuffer(raw, dtype, count)


def _stored_dtype(kind: Any) -> np.dtype[Any]:
    """Return the NumPy type for the bytes of an HDF5 type in the file."""
    if isinstance(kind, h5py.h5t.TypeVlenID) or (
        isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str()
    ):
        return REFERENCE

    if isinstance(kind, h5py.h5t.TypeCompoundID):
        members = range(kind.get_nmembers())
        return np.dtype(
            {
                "names": [kind.get_member_name(i).decode() for i in members],
                "formats": [_stored_dtype(kind.get_member_type(i)) for i in members],
                "offsets": [kind.get_member_offset(i) for i in members],
                "itemsize": kind.get_size(),
            }
        )

    dtype: np.dtype[Any] = kind.dtype
    if dtype.hasobject:
        raise ValueError("rows contain something other than data")
    return dtype


@dataclass
class Heap:
    """The pieces of variable length in a file.

    Attributes
    ----------
    handle : binary file
        The file, open for reading bytes.
    base : int
        Offset in bytes at which the HDF5 part of the file begins.
    """

    handle: IO[bytes]
    base: int
    _found: dict[int, dict[int, tuple[int, int]]] = field(default_factory=dict)
    _searched: int = 0

    def read(self, reference: Any, itemsize: int) -> bytes:
        """Return the bytes of one piece, which may be empty.

        Parameters
        ----------
        reference : record of type `REFERENCE`
            Length and location of the piece.
        itemsize : int
            Bytes per item.

        Returns
        -------
        bytes
            The piece.

        Raises
        ------
        ValueError
            If the reference or the heap is damaged.
        """
        length, address, index = (int(reference[name]) for name in ("length", "address", "index"))
        return self._piece(length, address, index, itemsize)

    def read_all(self, references: NDArray[Any], itemsize: int) -> bytes:
        """Return the concatenated bytes of several pieces; errors are the same as in `read`."""
        lengths, addresses, indices = (
            references[name].tolist() for name in ("length", "address", "index")
        )
        places = zip(lengths, addresses, indices, strict=True)
        return b"".join(self._piece(*place, itemsize) for place in places)

    def _piece(self, length: int, address: int, index: int, itemsize: int) -> bytes:
        if not length:
            return b""
        if address not in self._found:
            self._found[address] = self._collection(address)

        offset, size = self._found[address].get(index, (0, 0))
        if size != length * itemsize:
            raise ValueError("a piece of variable length is not where it should be")
        return self._bytes_at(offset, size)

    def _collection(self, address: int) -> dict[int, tuple[int, int]]:
        """Locate the objects of a collection: index -> offset and size."""
        end = self.handle.seek(0, 2)
        start = self.base + address
        signature, version, size = COLLECTION.unpack(self._bytes_at(start, COLLECTION.size))

        # Collections do not overlap, so their total length cannot exceed the file's.
        self._searched += size
        if signature != b"GCOL" or version != 1 or start + size > end or self._searched > end:
            raise ValueError("a collection of the heap is damaged")

        objects: dict[int, tuple[int, int]] = {}
        offset = start + COLLECTION.size
        while offset + OBJECT.size <= start + size:
            index, _, length = OBJECT.unpack(self._bytes_at(offset, OBJECT.size))
            offset += OBJECT.size
            if index == 0 or offset + length > start + size:
                break
            objects[index] = (offset, length)
            offset += -(-length // 8) * 8
        return objects

    def _bytes_at(self, offset: int, size: int) -> bytes:
        self.handle.seek(offset)
        data = self.handle.read(size)
        if len(data) != size:
            raise ValueError("the file ends too early")
        return data
