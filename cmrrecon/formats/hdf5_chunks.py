"""Gzip-compressed HDF5 datasets, their chunks inflated in parallel; HDF5 itself inflates one after another.

libdeflate takes 0.6 of zlib's time. Its binding `deflate` (extra `fast-io`; from 0.9 on it releases the GIL) is as fast as the one in
imagecodecs, faster than isal, MIT-licensed, maintained, and 70 kB instead of 26 MB. Without it, zlib in threads still leaves HDF5 behind.
"""

import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import prod
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from cmrrecon.formats.arrays import COMPLEX, Selection
from cmrrecon.tools.machine import available_cores

try:
    import deflate

    FAILURES: tuple[type[Exception], ...] = (zlib.error, deflate.DeflateError)
except ImportError:
    deflate = None
    FAILURES = (zlib.error,)

MAX_THREADS = 8
# Bytes in a chunk: smaller ones cost more to handle than to inflate, larger ones too much memory.
MIN_CHUNK, MAX_CHUNK = 2**13, 2**28


def is_parallel(dataset: Any) -> bool:
    """Whether `read_parallel` knows how the h5py dataset is stored: numbers in chunks, gzip, shuffle before it or not, nothing else."""
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(index) for index in range(plist.get_nfilters())]
    codes, itemsize = [each[0] for each in filters], dataset.dtype.itemsize
    shuffled = codes == [h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE] and filters[0][2] == (
        itemsize,
    )

    # NumPy must see each number as it lies in the file; HDF5 also knows odd widths and paddings, which it converts.
    as_stored = (
        _number(dataset).kind in "iufc"
        and h5py.h5t.py_create(dataset.dtype) == dataset.id.get_type()
    )

    sized = dataset.chunks is not None and MIN_CHUNK <= prod(dataset.chunks) * itemsize <= MAX_CHUNK
    return as_stored and sized and (shuffled or codes == [h5py.h5z.FILTER_DEFLATE])


def read_parallel(dataset: Any, selection: Selection) -> NDArray[Any] | None:
    """A piece of an h5py dataset that `is_parallel`, bit for bit what h5py and `single_precision` give.

    Memory holds the piece and, for each thread, one chunk.

    Parameters
    ----------
    dataset : the open h5py dataset
    selection : int or slice per axis

    Returns
    -------
    complex64 where complex numbers are stored, else the stored type. None if h5py has to read it: a chunk is missing or was stored
    without the filters, or the selection is empty or has steps.

    Raises
    ------
    ValueError : a chunk does not inflate to what the dataset says
    """
    spans = [_span(each, length) for each, length in zip(selection, dataset.shape, strict=True)]
    if any(not span or span.step != 1 for span in spans):
        return None

    layout = _Layout(_number(dataset), dataset.chunks, dataset.shuffle)
    result = np.empty([len(span) for span in spans], layout.result)

    # One iterator for all threads: a thread that has the processor for longer takes more chunks.
    corners = product(
        *(
            range(span.start - span.start % extent, span.stop, extent)
            for span, extent in zip(spans, layout.chunk, strict=True)
        )
    )

    threads = min(MAX_THREADS, available_cores())
    with ThreadPoolExecutor(threads) as pool:
        take = partial(_take_chunks, dataset.id, layout, corners, spans, result)
        if not all(pool.map(lambda _: take(), range(threads))):
            return None

    return result.reshape(
        [len(span) for each, span in zip(selection, spans, strict=True) if isinstance(each, slice)]
    )


@dataclass(frozen=True)
class _Layout:
    """How numbers lie in chunks: their type, the shape of a chunk, and whether it is shuffled."""

    number: np.dtype[Any]
    chunk: tuple[int, ...]
    shuffled: bool

    @property
    def size(self) -> int:
        """Bytes of an inflated chunk."""
        return prod(self.chunk) * self.number.itemsize

    @property
    def result(self) -> np.dtype[Any]:
        """The type that is read."""
        return np.dtype(np.complex64) if self.number.kind == "c" else self.number.newbyteorder("=")


def _take_chunks(
    stored: Any,
    layout: _Layout,
    corners: Iterator[tuple[int, ...]],
    spans: list[range],
    result: NDArray[Any],
) -> bool:
    """One thread's work: chunks that none has taken yet. False if h5py has to read them."""
    size = layout.size
    buffer = bytearray(size + size // 1000 + 13)  # the most that HDF5 lets gzip make of a chunk

    for corner in corners:
        # By HDF5 itself, not from the offsets it reports: it checks them, and its releases disagree on what they count from.
        try:
            skipped_filters, packed = stored.read_direct_chunk(corner, out=buffer)
        except Exception:  # not there, or an index so damaged that h5py shall say so
            return False
        if skipped_filters:
            return False
        _place(_inflated(packed, size), corner, layout, spans, result)
    return True


def _place(
    inflated: bytes | bytearray,
    corner: tuple[int, ...],
    layout: _Layout,
    spans: list[range],
    result: NDArray[Any],
) -> None:
    """Copy what the selection has of the chunk at this corner."""
    data = np.frombuffer(inflated, np.uint8)
    if layout.shuffled:
        data = np.ascontiguousarray(data.reshape(layout.number.itemsize, -1).T).reshape(-1)

    inside, wanted = [], []
    for span, first, extent in zip(spans, corner, layout.chunk, strict=True):
        start, stop = max(span.start, first), min(span.stop, first + extent)
        inside.append(slice(start - first, stop - first))
        wanted.append(slice(start - span.start, stop - span.start))

    with np.errstate(over="ignore"):
        result[tuple(wanted)] = data.view(layout.number).reshape(layout.chunk)[tuple(inside)]


def _number(dataset: Any) -> np.dtype[Any]:
    dtype: np.dtype[Any] = dataset.dtype
    return COMPLEX.get(dtype, dtype)


def _span(selected: int | slice, length: int) -> range:
    if isinstance(selected, slice):
        return range(length)[selected]
    index = range(length)[selected]
    return range(index, index + 1)


def _inflated(packed: memoryview, size: int) -> bytes | bytearray:
    """Exactly `size` bytes; no more are ever allocated, whatever the stream holds."""
    data: bytes | bytearray
    try:
        if deflate is not None:
            data, complete = deflate.zlib_decompress(packed, size), True
        else:
            stream = zlib.decompressobj()
            data = stream.decompress(packed, size + 1)
            complete = stream.eof
    except FAILURES as error:
        raise ValueError("a chunk cannot be inflated") from error

    if len(data) != size or not complete:
        raise ValueError(f"a chunk does not inflate to {size} bytes")
    return data
