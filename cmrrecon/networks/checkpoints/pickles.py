"""Read the description in a torch pickle, without executing anything in it.

A pickle is a program for a small stack machine that may call any function of any module. Here
Python's own unpickler reads it, but every operation that looks up, calls, builds or hashes
something is replaced. No name is ever imported, and only the three functions of this module can be
called. Data (numbers, text, lists, mappings) and descriptions of tensors are kept; every other
object becomes an inert `Foreign`.

The libraries are not sufficient. `torch.load(weights_only=True)` refuses a whole file because of a
single unknown class, such as one in Lightning's hyper-parameters. Like `pickle.Unpickler`, it can
run forever or exhaust the memory on a short file. Here time and memory stay proportional to the
size of the pickle. The base class is the unpickler written in Python, because the unpickler in C
builds mappings and sets itself.
"""

import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

DTYPES = {
    "Float": torch.float32, "Double": torch.float64,
    "Half": torch.float16, "BFloat16": torch.bfloat16,
    "Long": torch.int64, "Int": torch.int32, "Short": torch.int16,
    "Char": torch.int8, "Byte": torch.uint8, "Bool": torch.bool,
    "ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128,
}  # fmt: skip
MOST_AXES = 16
# The maximum length of the names of tensors, parameters and classes. Joining or comparing longer
# names repeatedly could take forever.
LONGEST_NAME = 256
# The allowed operations. Protocol 0, which writes numbers of any length as text, cannot describe
# tensors and is left out.
OPERATIONS = """
    PROTO FRAME STOP MARK POP POP_MARK DUP MEMOIZE BINPUT LONG_BINPUT BINGET LONG_BINGET
    NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 LONG4 BINFLOAT
    BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS
    EMPTY_SET ADDITEMS FROZENSET GLOBAL STACK_GLOBAL BINPERSID REDUCE NEWOBJ NEWOBJ_EX BUILD
"""


class Foreign(dict[Any, Any]):
    """An inert stand-in for an object in the file.

    Mappings of other libraries keep their items; other objects keep their attributes.
    """


@dataclass(frozen=True)
class Storage:
    """The member of the archive with the numbers of a tensor."""

    dtype: torch.dtype
    key: str
    length: int


@dataclass(frozen=True)
class TensorRecord:
    """A tensor that has not been read yet: a view of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def interpret(data: bytes) -> Any:
    """Return the content of a pickle as plain data, `TensorRecord` and `Foreign`.

    An incomplete or hostile pickle raises one of the errors in `torch_files.DAMAGES`.
    """
    return interpret_next(io.BytesIO(data))[0]


def interpret_next(stream: io.BytesIO) -> tuple[Any, dict[str, Storage]]:
    """Return the content of the next pickle of a stream, and the storages it names by their keys.

    The stream is left at the first byte after the pickle. Errors are those of `interpret`.
    """
    reader = _Reader(stream)
    return reader.load(), reader.storages


class _Reader(pickle._Unpickler):
    """Python's unpickler, changed so that it never imports, calls or hashes what the file names."""

    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.attributes_left = len(stream.getbuffer()) - stream.tell()
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for a known class or function, or None."""
        if not _is_name(module) or not _is_name(name):
            raise ValueError("the pickle has a class with an invalid name")
        return KNOWN.get((module, name))

    def persistent_load(self, identity: Any) -> Any:
        """Return the storage of ("storage", type, key, device, length), else a `Foreign`.

        Legacy files add None. Otherwise the storage is a view of another, which torch no longer
        writes.
        """
        match identity:
            case ("storage", torch.dtype() as dtype, str() as key, _, int() as length, *view):
                if _is_name(key) and _is_count(length) and view in ([], [None]):
                    storage = Storage(dtype, key, length)
                    if self.storages.setdefault(key, storage).dtype != dtype:
                        raise ValueError("a storage has two types of numbers")
                    return storage
        return Foreign()

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.append(function(arguments) if callable(function) else Foreign())

    def load_newobj(self) -> None:
        del self.stack[-2:]
        self.append(Foreign())

    def load_newobj_ex(self) -> None:
        del self.stack[-3:]
        self.append(Foreign())

    def load_empty_set(self) -> None:
        self.append(Foreign())

    def load_frozenset(self) -> None:
        self.pop_mark()
        self.append(Foreign())

    def load_append(self) -> None:
        self._extend([self.stack.pop()])

    def load_appends(self) -> None:
        self._extend(self.pop_mark())

    load_additems = load_appends

    def load_setitem(self) -> None:
        self._set_items([self.stack.pop(-2), self.stack.pop()])

    def load_setitems(self) -> None:
        self._set_items(self.pop_mark())

    def load_build(self) -> None:
        """Set the attributes of an object, unless it already has items."""
        attributes, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Foreign) and not target and isinstance(attributes, dict):
            self.attributes_left -= len(attributes)
            if self.attributes_left < 0:
                raise ValueError("the pickle shares attributes between many objects")
            target.update(attributes)

    def _extend(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is list:
            self.stack[-1].extend(values)

    def _set_items(self, values: list[Any]) -> None:
        """Put keys and values into a mapping.

        Only names are kept as keys, because hashing nested tuples or long numbers can run forever.
        """
        if isinstance(self.stack[-1], dict):
            pairs = zip(values[::2], values[1::2], strict=True)
            self.stack[-1].update((key, value) for key, value in pairs if _is_name(key))


def _allowed(operation: str) -> tuple[int, Any]:
    """Return the code of an operation and the method that performs it."""
    (code,) = getattr(pickle, operation)
    return code, getattr(_Reader, pickle._Unpickler.dispatch[code].__name__)


_Reader.dispatch = dict(map(_allowed, OPERATIONS.split()))


def _ordered_mapping(arguments: Any) -> dict[Any, Any]:
    return {}


def _tensor(arguments: Any) -> TensorRecord | Foreign:
    match arguments:
        case (Storage() as storage, offset, tuple() as shape, tuple() as stride, *_):
            fits = len(shape) == len(stride) <= MOST_AXES
            if fits and all(map(_is_count, (offset, *shape, *stride))):
                return TensorRecord(storage, offset, shape, stride)
    return Foreign()


def _parameter(arguments: Any) -> TensorRecord | Foreign:
    match arguments:
        case (TensorRecord() as record, *_):
            return record
    return Foreign()


KNOWN: dict[tuple[str, str], Any] = {
    **{("torch", f"{kind}Storage"): dtype for kind, dtype in DTYPES.items()},
    ("collections", "OrderedDict"): _ordered_mapping,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_NAME


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62
