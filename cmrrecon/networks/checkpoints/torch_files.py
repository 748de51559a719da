"""Read tensors from untrusted files of `torch.save`.

Such a file is a zip archive with a pickle (`data.pkl`, see `pickles`) and the bytes of every
storage (`data/0`, ...), or a file of PyTorch before version 1.6 (`legacy_torch_files`). Each tensor
is checked against the bytes in the file before memory is allocated, so that a short file cannot
exhaust the memory.
"""

import math
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cmrrecon.networks.checkpoints import legacy_torch_files
from cmrrecon.networks.checkpoints.pickles import TensorRecord, interpret
from cmrrecon.networks.checkpoints.state_dicts import Found, find
from cmrrecon.tools.errors import InputError

# The longest accepted description; fifty thousand tensors need less. The objects that it describes
# can need a hundred times as many bytes.
MOST_PICKLE_BYTES = 16 * 2**20
# Errors that broken or hostile archives and pickles cause.
DAMAGES = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    pickle.UnpicklingError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OSError,
    EOFError,
    RuntimeError,
)


def read(
    path: Path, accept: Callable[[dict[str, tuple[int, ...]]], object]
) -> tuple[dict[str, Tensor], Mapping[str, Any], str]:
    """Read the state dict in a checkpoint, and the entries next to it.

    Parameters
    ----------
    path : Path
        A file written by `torch.save`. It contains a state dict, or a mapping in which `find`
        finds one (PyTorch Lightning, common training scripts).
    accept : callable
        Receives the shapes of the tensors before any is read, and raises to refuse them.

    Returns
    -------
    tensors : dict of str to Tensor
        The tensors by name, on the CPU.
    others : mapping of str to any
        The other entries of the mapping, if they are plain data.
    copy : str
        Which of several copies of the weights was read; empty if there is only one.

    Raises
    ------
    InputError
        If the file is damaged (`checkpoint-damaged`) or contains no weights (`checkpoint-format`).
    """
    try:
        tensors, top, found = _read(path, accept)
    except DAMAGES as error:
        raise _damaged(path, error) from error
    if not tensors:
        raise _without_weights(path, top)
    return tensors, found.beside, found.copy


def shapes_of(path: Path) -> tuple[dict[str, tuple[int, ...]], str]:
    """Return the shapes of the tensors that `read` returns, and which copy they are.

    Errors are those of `read`.
    """
    try:
        with _opened(path) as (top, _):
            found = find(top)
    except DAMAGES as error:
        raise _damaged(path, error) from error
    if not found.records:
        raise _without_weights(path, top)
    return {key: record.shape for key, record in found.records.items()}, found.copy


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        "checkpoint-damaged",
        f"{path} is damaged or not a checkpoint ({str(error) or type(error).__name__:.100})",
        "A complete file written by torch.save is needed",
        "Download or create the file again",
    )


def _without_weights(path: Path, top: Any) -> InputError:
    """Return the error for a file whose content has no state dict."""
    if isinstance(top, dict) and "parts" in top:
        return InputError(
            "checkpoint-format",
            f"{path} is the state of a training run",
            "It is for continuing the training",
            "Give the best.safetensors next to it",
        )
    return InputError(
        "checkpoint-format",
        f"{path} contains no state dict",
        "A checkpoint of a network maps names to tensors",
        "Give the file with the trained weights",
    )


def _read(
    path: Path, accept: Callable[[dict[str, tuple[int, ...]]], object]
) -> tuple[dict[str, Tensor], Any, Found]:
    """Return the tensors, the description in the pickle, and the state dict in it."""
    with _opened(path) as (top, bytes_of):
        found = find(top)
        records = found.records
        if records:
            accept({key: record.shape for key, record in records.items()})

        sizes = (
            math.prod(record.shape) * record.storage.dtype.itemsize for record in records.values()
        )
        if sum(sizes) > path.stat().st_size:
            raise ValueError("its tensors are larger than the file")
        return _tensors(bytes_of, records), top, found


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Callable[[str], bytearray]]]:
    """Open a file; yield its description and a function that returns the bytes of a storage."""
    with open(path, "rb") as file:
        if legacy_torch_files.is_legacy(file.read(legacy_torch_files.START)):
            top, places = legacy_torch_files.contents(file, MOST_PICKLE_BYTES)
            yield top, lambda key: legacy_torch_files.storage_bytes(file, places[key])
            return

    with zipfile.ZipFile(path) as archive:
        members = _members(archive, path.stat().st_size)
        if members["data.pkl"].file_size > MOST_PICKLE_BYTES:
            raise ValueError("its description of tensors is too long")

        top = interpret(archive.read(members["data.pkl"]))
        if members.get("byteorder") and archive.read(members["byteorder"]) != b"little":
            raise ValueError("its numbers are big-endian")
        yield top, lambda key: bytearray(archive.read(members[f"data/{key}"]))


def _members(archive: zipfile.ZipFile, archive_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """Return the members of the archive by their names in its only folder.

    Torch does not compress them, so together they cannot be larger than the file.
    """
    entries = archive.infolist()
    if any(
        entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size
        for entry in entries
    ):
        raise ValueError("its members are compressed")
    if sum(entry.file_size for entry in entries) > archive_bytes:
        raise ValueError("its members are larger than the file")
    return {entry.filename.partition("/")[2]: entry for entry in entries}


def _tensors(
    bytes_of: Callable[[str], bytearray], records: Mapping[str, TensorRecord]
) -> dict[str, Tensor]:
    """Read the tensors into separate memory, so that none keeps a large storage alive.

    Every storage is read once.
    """
    storages: dict[str, list[str]] = {}
    for key, record in records.items():
        storages.setdefault(record.storage.key, []).append(key)

    tensors: dict[str, Tensor] = {}
    for storage, keys in storages.items():
        data = bytes_of(storage)
        tensors.update(
            (key, _view(data, records[key]).clone(memory_format=torch.contiguous_format))
            for key in keys
        )

    return tensors


def _view(data: bytearray, record: TensorRecord) -> Tensor:
    """Return the tensor as a view of the bytes of its storage."""
    storage = record.storage
    if storage.length * storage.dtype.itemsize > len(data):
        raise ValueError("a tensor is larger than its bytes")
    reach = record.offset + sum(
        (n - 1) * step for n, step in zip(record.shape, record.stride, strict=True)
    )

    if math.prod(record.shape) == 0:
        return torch.empty(record.shape, dtype=storage.dtype)
    # A stride of zero repeats elements and could request any amount of memory.
    if reach >= storage.length or math.prod(record.shape) > storage.length:
        raise ValueError("a tensor reaches beyond its storage")

    numbers = torch.frombuffer(data, dtype=storage.dtype, count=storage.length)
    return numbers.as_strided(record.shape, record.stride, record.offset)
