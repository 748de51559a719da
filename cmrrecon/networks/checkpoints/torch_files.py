"""Tensors from the files of `torch.save`, without executing anything in them.

Such a file is a zip archive of a pickle (`data.pkl`) and the bytes of every storage (`data/0`, ..). A pickle is a program for a small
stack machine that may call any function of any module. It is interpreted here instead: its data (numbers, text, lists, mappings) and
descriptions of tensors are kept; every other class or call becomes an empty `Foreign`. No name in the file is ever looked up, so
there is nothing that could be called. Tensors are read when they are wanted, each checked against the bytes that are there, and
a short file must not ask for much work or memory: all that is done here takes time and space in proportion to its size.
"""

import math
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cmrrecon.tools.errors import InputError

DTYPES = {
    "torch FloatStorage": torch.float32,
    "torch DoubleStorage": torch.float64,
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
    "torch LongStorage": torch.int64,
    "torch IntStorage": torch.int32,
    "torch ShortStorage": torch.int16,
    "torch CharStorage": torch.int8,
    "torch ByteStorage": torch.uint8,
    "torch BoolStorage": torch.bool,
    "torch ComplexFloatStorage": torch.complex64,
    "torch ComplexDoubleStorage": torch.complex128,
}
REBUILD_TENSOR = "torch._utils _rebuild_tensor_v2"
REBUILD_PARAMETER = "torch._utils _rebuild_parameter"
MOST_AXES = 16
# A description of fifty thousand tensors takes less. The objects it describes take up to a hundred times as many bytes.
MOST_PICKLE_BYTES = 16 * 2**20
# Of tensors, parameters, classes. To join or compare longer ones again and again could take for ever.
LONGEST_NAME = 256
# What broken or hostile archives and pickles make the readers raise.
DAMAGES = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OSError,
    EOFError,
    RuntimeError,
)


@dataclass(frozen=True)
class Name:
    """A class or function that a pickle names: "module name"."""

    text: str


class Foreign(dict[Any, Any]):
    """What a class or call of the file became. Mappings of other libraries keep their items, other objects their attributes."""


@dataclass(frozen=True)
class Storage:
    """Where the numbers of a tensor are: a member of the archive."""

    dtype: torch.dtype
    key: str
    length: int


@dataclass(frozen=True)
class TensorRecord:
    """A tensor that was not read yet: a view of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def read(path: Path, accept: Callable[[dict[str, tuple[int, ...]]], object]) -> tuple[dict[str, Tensor], dict[str, Any]]:
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
        with zipfile.ZipFile(path) as archive:
            archive_bytes = path.stat().st_size
            members = _members(archive, archive_bytes)
            if members["data.pkl"].file_size > MOST_PICKLE_BYTES:
                raise ValueError("its description of tensors is too long")
            top = interpret(archive.read(members["data.pkl"]))
            if members.get("byteorder") and archive.read(members["byteorder"]) != b"little":
                raise ValueError("its numbers are big-endian")
            state = top.get("state_dict", top) if isinstance(top, Mapping) else {}
            records = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, TensorRecord)}
            if records:
                accept({key: record.shape for key, record in records.items()})
            if sum(math.prod(record.shape) * record.storage.dtype.itemsize for record in records.values()) > archive_bytes:
                raise ValueError("its tensors are larger than the file")
            tensors = _tensors(archive, members, records)
    except DAMAGES as error:
        raise InputError(
            "todo",
            f"{path} is no checkpoint that can be read, or it is damaged ({str(error) or type(error).__name__:.100})",
            "A whole file of torch.save is needed",
            "Fetch or make the file again",
        ) from error
    if not tensors and isinstance(top, dict) and "parts" in top:
        raise InputError(
            "todo",
            f"{path} is the state of a training run",
            "It is there to go on training",
            "Give the best.safetensors that lies beside it",
        )
    if not tensors:
        raise InputError(
            "todo",
            f"{path} holds no state dict",
            "A checkpoint of a network is a mapping of names to tensors",
            "Give the file of the trained weights",
        )
    return tensors, {key: value for key, value in top.items() if key != "state_dict"} if state is not top else {}


def _members(archive: zipfile.ZipFile, archive_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """The members of the archive by their name within its one folder; torch never compresses, so they cannot be larger than the file."""
    entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size for entry in entries):
        raise ValueError("its members are compressed")
    if sum(entry.file_size for entry in entries) > archive_bytes:
        raise ValueError("its members are larger than the file")
    return {entry.filename.partition("/")[2]: entry for entry in entries}


def _tensors(archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], records: Mapping[str, TensorRecord]) -> dict[str, Tensor]:
    """The tensors, each in memory of its own, so that none keeps a large storage alive. Every storage is read once."""
    storages: dict[str, list[str]] = {}
    for key, record in records.items():
        storages.setdefault(record.storage.key, []).append(key)
    tensors: dict[str, Tensor] = {}
    for storage, keys in storages.items():
        data = bytearray(archive.read(members[f"data/{storage}"]))
        tensors.update((key, _view(data, records[key]).clone(memory_format=torch.contiguous_format)) for key in keys)
    return tensors


def _view(data: bytearray, record: TensorRecord) -> Tensor:
    """The tensor within the bytes of its storage."""
    storage = record.storage
    if storage.length * storage.dtype.itemsize > len(data):
        raise ValueError("a tensor is larger than its bytes")
    reach = record.offset + sum((n - 1) * step for n, step in zip(record.shape, record.stride, strict=True))
    if math.prod(record.shape) == 0:
        return torch.empty(record.shape, dtype=storage.dtype)
    # Repeated elements (steps of zero) could ask for any amount of memory.
    if reach >= storage.length or math.prod(record.shape) > storage.length:
        raise ValueError("a tensor reaches beyond its storage")
    numbers = torch.frombuffer(data, dtype=storage.dtype, count=storage.length)
    return numbers.as_strided(record.shape, record.stride, record.offset)


def interpret(pickle: bytes) -> Any:
    """What a pickle describes, made of plain data, `TensorRecord` and `Foreign`.

    Raises
    ------
    ValueError, LookupError, TypeError, AttributeError : it is no whole pickle
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}
    copied = 0

    def since_mark() -> list[Any]:
        start = marks.pop()
        values = stack[start:]
        del stack[start:]
        return values

    argument: Any
    for opcode, argument, _ in pickletools.genops(pickle):
        match opcode.name:
            case "STOP":
                return stack.pop()
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                marks.append(len(stack))
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode.name])
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_SET":
                stack.append(Foreign())
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(opcode.name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case "LIST":
                stack.append(since_mark())
            case "FROZENSET":
                since_mark()
                stack.append(Foreign())
            case "DICT":
                values = since_mark()
                stack.append({})
                _set_items(stack[-1], values)
            case "APPEND" | "APPENDS" | "ADDITEMS":
                values = [stack.pop()] if opcode.name == "APPEND" else since_mark()
                if type(stack[-1]) is list:
                    stack[-1].extend(values)
            case "SETITEM" | "SETITEMS":
                values = [stack.pop(-2), stack.pop()] if opcode.name == "SETITEM" else since_mark()
                _set_items(stack[-1], values)
            case "GLOBAL":
                stack.append(Name(argument))
            case "STACK_GLOBAL":
                module, name = stack.pop(-2), stack.pop()
                # The text of nested tuples can be of any length.
                if not _is_name(module) or not _is_name(name):
                    raise ValueError("the pickle names a class by what is no name")
                stack.append(Name(f"{module} {name}"))
            case "BINPERSID":
                stack.append(_storage(stack.pop()))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(_called(function, arguments))
            case "NEWOBJ" | "NEWOBJ_EX" | "OBJ" | "INST":
                if opcode.name in ("OBJ", "INST"):
                    since_mark()
                else:
                    del stack[-2 if opcode.name == "NEWOBJ" else -3 :]
                stack.append(Foreign())
            case "BUILD":
                state = stack.pop()
                # An object of attributes is made of nothing else; what a mapping has beside its items is of no use.
                if isinstance(stack[-1], Foreign) and not stack[-1] and isinstance(state, dict):
                    copied += len(state)
                    if copied > len(pickle):
                        raise ValueError("the pickle gives many objects the same attributes")
                    stack[-1].update(state)
            case "POP":
                stack.pop()
            case "POP_MARK":
                since_mark()
            case "DUP":
                stack.append(stack[-1])
            case _ if opcode.proto and opcode.arg is not None and opcode.stack_before == [] and len(opcode.stack_after) == 1:
                # Numbers, text and bytes stand in the opcode itself. Protocol 0, with numbers of any length, cannot describe tensors.
                stack.append(argument)
            case _:
                raise ValueError(f"the pickle uses {opcode.name}")
    raise ValueError("the pickle has no end")


def _set_items(target: Any, values: list[Any]) -> None:
    """Put keys and values into a mapping. Keys are names: hashing nested tuples or long numbers can take for ever."""
    if isinstance(target, dict):
        target.update((key, value) for key, value in zip(values[::2], values[1::2], strict=True) if _is_name(key))


def _storage(identity: Any) -> Any:
    """("storage", type, key, device, length), whatever else it may be."""
    kind, name, key, _, length = identity
    if kind != "storage" or not isinstance(name, Name) or name.text not in DTYPES or not _is_name(key) or not _is_count(length):
        return Foreign()
    return Storage(DTYPES[name.text], key, length)


def _called(function: Any, arguments: Any) -> Any:
    """What a call stands for: a tensor, an ordered mapping, or nothing we know."""
    match function, arguments:
        case Name("collections OrderedDict"), tuple():
            return {}
        case Name(text), (Storage() as storage, offset, tuple() as shape, tuple() as stride, *_) if text == REBUILD_TENSOR:
            fits = _is_count(offset) and len(shape) == len(stride) <= MOST_AXES and all(map(_is_count, shape + stride))
            return TensorRecord(storage, offset, shape, stride) if fits else Foreign()
        case Name(text), (TensorRecord() as record, *_) if text == REBUILD_PARAMETER:
            return record
        case _:
            return Foreign()


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_NAME


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62
