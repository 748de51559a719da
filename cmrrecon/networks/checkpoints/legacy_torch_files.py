"""Open untrusted files that `torch.save` wrote before PyTorch 1.6.

Such a file is a sequence of five pickles: a magic number, the version of the format, facts about
the computer, the checkpoint, and the keys of the storages. The storages follow in that order, each
as the number of its elements (8 bytes) and their bytes. They are checked against the size of the
file before memory is allocated.
"""

import io
import os
from collections.abc import Mapping
from typing import Any, BinaryIO

from cmrrecon.networks.checkpoints.pickles import Storage, interpret_next

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
# So many bytes at the start of a file are enough to recognise the format.
START = 32
COUNT_BYTES = 8


def is_legacy(start: bytes) -> bool:
    """Return whether a file that starts with these bytes has this format."""
    return start.startswith(b"\x80") and MAGIC.to_bytes(10, "little") in start


def contents(file: BinaryIO, most_pickle_bytes: int) -> tuple[Any, Mapping[str, tuple[int, int]]]:
    """Read the description in a legacy file, and find its storages.

    Parameters
    ----------
    file : BinaryIO
        The file.
    most_pickle_bytes : int
        The largest number of bytes that its pickles may have together.

    Returns
    -------
    top : any
        The checkpoint as plain data, `TensorRecord` and `Foreign`.
    places : mapping of str to tuple of int
        The first byte and the number of bytes of each storage.

    Raises
    ------
    ValueError
        If the file is damaged. Other errors in `torch_files.DAMAGES` mean the same.
    """
    file.seek(0)
    stream = io.BytesIO(file.read(most_pickle_bytes))
    magic, version, computer = (interpret_next(stream)[0] for _ in range(3))
    if magic != MAGIC or version != VERSION:
        raise ValueError("its version of the format is unknown")
    if not isinstance(computer, dict) or computer.get("little_endian") is not True:
        raise ValueError("its numbers are big-endian")

    top, storages = interpret_next(stream)
    keys, _ = interpret_next(stream)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("its list of storages has other entries")
    return top, _places(file, stream.tell(), keys, storages)


def storage_bytes(file: BinaryIO, place: tuple[int, int]) -> bytearray:
    """Read the bytes of a storage at its place in the file."""
    start, size = place
    file.seek(start)
    return bytearray(file.read(size))


def _places(
    file: BinaryIO, position: int, keys: list[str], storages: Mapping[str, Storage]
) -> dict[str, tuple[int, int]]:
    """Find the storages with these keys, which follow each other from this position."""
    file_bytes = file.seek(0, os.SEEK_END)
    places = {}
    for key in keys:
        if key not in storages:
            raise ValueError("it has a storage of unknown type")
        file.seek(position)
        start = position + COUNT_BYTES
        count = int.from_bytes(file.read(COUNT_BYTES), "little")

        position = start + count * storages[key].dtype.itemsize
        if position > file_bytes:
            raise ValueError("it ends within a storage")
        places[key] = start, position - start

    return places
