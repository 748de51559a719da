"""Tensors from the files of `torch.save`, which are not trusted.

Such a file is a zip archive of a pickle (`data.pkl`, see `pickles`) and the bytes of every storage
(`data/0`, ..). Tensors are read when they are wanted, each checked against the bytes that are
there, so that a short file cannot ask for much memory.
"""

import math
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cmrrecon.networks.checkpoints.pickles import TensorRecord, interpret
from cmrrecon.tools.errors import InputError

# A description of fifty thousand tensors takes less. The objects it describes take up to a hundred times as many bytes.
MOST_PICKLE_BYTES = 16 * 2**20
# What broken or hostile archives and pickles make the readers raise.
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
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state dict in a checkpoint, and what stands beside it.

    Parameters
    ----------
    path : a file of `torch.save`, of a state dict or of a mapping that has one as "state_dict" (PyTorch Lightning)
    accept : is given the shapes of the tensors before any is read, and raises if they are not wanted

    Returns
    -------
    tensors : name to Tensor on the CPU
    beside : the other entries of the mapping, as far as they are plain data

    Raises
    ------
    InputError : it is no such file, or damaged
    """
    try:
        tensors, top, state = _read(path, accept)
    except DAMAGES as error:
        raise InputError(
            "checkpoint-damaged",
            f"{path} is no checkpoint that can be read, or it is damaged ({str(error) or type(error).__name__:.100})",
            "A whole file of torch.save is needed",
            "Fetch or make the file again",
        ) from error

    if not tensors and isinstance(top, dict) and "parts" in top:
        raise InputError(
            "checkpoint-format",
            f"{path} is the state of a training run",
            "It is there to go on training",
            "Give the best.safetensors that lies beside it",
        )

    if not tensors:
        raise InputError(
            "checkpoint-format",
            f"{path} holds no state dict",
            "A checkpoint of a network is a mapping of names to tensors",
            "Give the file of the trained weights",
        )

    return tensors, {
        key: value for key, value in top.items() if key != "state_dict"
    } if state is not top else {}


def _read(
    path: Path, accept: Callable[[dict[str, tuple[int, ...]]], object]
) -> tuple[dict[str, Tensor], Any, Any]:
    """The tensors, what the pickle describes, and the mapping in it that they stand in."""
    with zipfile.ZipFile(path) as archive:
        archive_bytes = path.stat().st_size
        members = _members(archive, archive_bytes)
        if members["data.pkl"].file_size > MOST_PICKLE_BYTES:
            raise ValueError("its description of tensors is too long")

        top = interpret(archive.read(members["data.pkl"]))
        if members.get("byteorder") and archive.read(members["byteorder"]) != b"little":
            raise ValueError("its numbers are big-endian")
        state = top.get("state_dict", top) if isinstance(top, Mapping) else {}
        records = {
            key: value
            for key, value in state.items()
            if isinstance(key, str) and isinstance(value, TensorRecord)
        }

        if records:
            accept({key: record.shape for key, record in records.items()})
        if (
            sum(
                math.prod(record.shape) * record.storage.dtype.itemsize
                for record in records.values()
            )
            > archive_bytes
        ):
            raise ValueError("its tensors are larger than the file")

        return _tensors(archive, members, records), top, state


def _members(archive: zipfile.ZipFile, archive_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """The members of the archive by their name within its one folder; torch never compresses, so they cannot be larger than the file."""
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
    archive: zipfile.ZipFile,
    members: Mapping[str, zipfile.ZipInfo],
    records: Mapping[str, TensorRecord],
) -> dict[str, Tensor]:
    """The tensors, each in memory of its own, so that none keeps a large storage alive. Every storage is read once."""
    storages: dict[str, list[str]] = {}
    for key, record in records.items():
        storages.setdefault(record.storage.key, []).append(key)
    tensors: dict[str, Tensor] = {}

    for storage, keys in storages.items():
        data = bytearray(archive.read(members[f"data/{storage}"]))
        tensors.update(
            (key, _view(data, records[key]).clone(memory_format=torch.contiguous_format))
            for key in keys
        )

    return tensors


def _view(data: bytearray, record: TensorRecord) -> Tensor:
    """The tensor within the bytes of its storage."""
    storage = record.storage
    if storage.length * storage.dtype.itemsize > len(data):
        raise ValueError("a tensor is larger than its bytes")
    reach = record.offset + sum(
        (n - 1) * step for n, step in zip(record.shape, record.stride, strict=True)
    )

    if math.prod(record.shape) == 0:
        return torch.empty(record.shape, dtype=storage.dtype)
    # Repeated elements (steps of zero) could ask for any amount of memory.
    if reach >= storage.length or math.prod(record.shape) > storage.length:
        raise ValueError("a tensor reaches beyond its storage")

    numbers = torch.frombuffer(data, dtype=storage.dtype, count=storage.length)
    return numbers.as_strided(record.shape, record.stride, record.offset)
