"""Inflates gzip-compressed HDF5 datasets in parallel; HDF5 itself inflates one chunk at a time.

libdeflate takes 0.6 of zlib's time. Its binding `deflate` (extra `fast-io`; it releases the GIL
from version 0.9 on) is as fast as the binding in imagecodecs and faster than isal. It is
MIT-licensed, maintained, and takes 70 kB instead of 26 MB. Even without it, zlib in threads is
faster than HDF5.
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
# Limits for the bytes of a chunk: smaller chunks take longer to handle than to inflate, larger
# chunks need too much memory.
MIN_CHUNK, MAX_CHUNK = 2**13, 2**28


def is_parallel(dataset: Any) -> bool:
    """Return whether `read_parallel` can read an h5py dataset.

    The dataset must consist of chunks of numbers, compressed with gzip (with or without a preceding
    shuffle) and no other filter.
    """
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(index) for index in range(plist.get_nfilters())]
    codes, itemsize = [each[0] for each in filters], dataset.dtype.itemsize
    shuffled = codes == [h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE] and filters[0][2] == (
        itemsize,
    )

    # The stored type must exist in NumPy. HDF5 also allows unusual widths and paddings, which only
    # HDF5 can convert.
    as_stored = (
        _number(dataset).kind in "iufc"
        and h5py.h5t.py_create(dataset.dtype) == dataset.id.get_type()
    )

    sized = dataset.chunks is not None and MIN_CHUNK <= prod(dataset.chunks) * itemsize <= MAX_CHUNK
    return as_stored and sized and (shuffled or codes == [h5py.h5z.FILTER_DEFLATE])


def read_parallel(dataset: Any, selection: Selection) -> NDArray[Any] | None:
    """Read a piece of an h5py dataset that passes `is_parallel`.

    The result is identical, bit for bit, to what h5py and `single_precision` return. Only the piece
    and one chunk for each thread are in memory.

    Parameters
    ----------
    dataset : h5py.Dataset
        The open dataset.
    selection : tuple of int or slice
        One entry per axis.

    Returns
    -------
    ndarray or None
        Complex64 if complex numbers are stored, otherwise the stored type. None if h5py has to read
        the piece because a chunk is missing or was stored without the filters, or because the
        selection is empty or has a step.

    Raises
    ------
    ValueError
        If the inflated chunk does not have the size that the dataset declares.
    """
    spans = [_span(each, length) for each, length in zip(selection, dataset.shape, strict=True)]
    if any(not span or span.step != 1 for span in spans):
        return None

    layout = _Layout(_number(dataset), dataset.chunks, dataset.shuffle)
    result = np.empty([len(span) for span in spans], layout.result)

    # All threads share one iterator, so faster threads read more chunks.
    corners = product(
        *(
            range(span.start - span.start % extent, span.stop, extent)
            for span, extent in zip(spans, layout.chunk, strict=True)
        )
    )

    threads = min(MAX_THREADS, available_cores())
    with ThreadPoolExecutor(threads) as pool:
        read_chunks = partial(_read_chunks, dataset.id, layout, corners, spans, result)
        if not all(pool.map(lambda _: read_chunks(), range(threads))):
            return None

    return result.reshape(
        [len(span) for each, span in zip(selection, spans, strict=True) if isinstance(each, slice)]
    )


@dataclass(frozen=True)
class _Layout:
    """How numbers are stored in chunks.

    Attributes
    ----------
    number : dtype
        Type of a number in the file.
    chunk : tuple of int
        Shape of a chunk.
    shuffled : bool
        Whether the bytes of a chunk are shuffled.
    """

    number: np.dtype[Any]
    chunk: tuple[int, ...]
    shuffled: bool

    @property
    def size(self) -> int:
        """Size of an inflated chunk in bytes."""
        return prod(self.chunk) * self.number.itemsize

    @property
    def result(self) -> np.dtype[Any]:
        """Type of the numbers in the result."""
        return np.dtype(np.complex64) if self.number.kind == "c" else self.number.newbyteorder("=")


def _read_chunks(
    stored: Any,
    layout: _Layout,
    corners: Iterator[tuple[int, ...]],
    spans: list[range],
    result: NDArray[Any],
) -> bool:
    """Read chunks in one thread until none are left; return False if h5py has to read them."""
    size = layout.size
    buffer = bytearray(size + size // 1000 + 13)  # HDF5's upper limit for a compressed chunk

    for corner in corners:
        # HDF5 reads the chunk, because the offsets that it reports cannot be used: HDF5 releases
        # disagree about where these offsets start counting.
        try:
            skipped_filters, packed = stored.read_direct_chunk(corner, out=buffer)
        except Exception:  # missing, or a damaged index: leave the error message to h5py
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
    """Copy the selected part of the chunk at `corner` into the result."""
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
    """Return the type of the stored numbers; compounds {real, imag} count as complex."""
    dtype: np.dtype[Any] = dataset.dtype
    return COMPLEX.get(dtype, dtype)


def _span(selected: int | slice, length: int) -> range:
    """Return the range of indices that a selection covers along an axis of this length."""
    if isinstance(selected, slice):
        return range(length)[selected]
    index = range(length)[selected]
    return range(index, index + 1)


def _inflated(packed: memoryview, size: int) -> bytes | bytearray:
    """Inflate a chunk to exactly `size` bytes; longer streams allocate no more than that."""
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
