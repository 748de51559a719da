"""Toy format: 16-byte magic, one JSON line, complex64."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from cmrrecon.data import Scan
from cmrrecon.formats.arrays import Selection, StoredArray, check_size
from cmrrecon.formats.names import acquisition_to_json
from cmrrecon.tools.atomic import atomic
from cmrrecon.tools.errors import InputError
from cmrrecon.tools.provenance import to_json

MAGIC = b"TOYKSPACE\x00\x00\x00\x00\x00\x00\x01"
LONGEST = 1 << 20


def sniff(head: bytes) -> bool:
    return head.startswith(MAGIC)


@dataclass(frozen=True)
class ToyReader:
    path: Path
    start: int
    shape: tuple[int, ...]

    def __call__(self, selection: Selection) -> np.ndarray:
        try:
            stored = np.memmap(self.path, "<c8", "r", self.start, self.shape)
            return np.array(stored[selection])
        except (OSError, ValueError) as error:
            raise damaged(self.path) from error


def damaged(path: Path) -> InputError:
    return InputError("file-damaged", f"{path} is damaged", "A whole file is needed", "Copy it again")


def header(path: Path) -> tuple[dict[str, Any], int]:
    try:
        with open(path, "rb") as handle:
            handle.read(16)
            line = handle.readline(LONGEST)
            found = json.loads(line)
            start = handle.tell()
        shape = tuple(found["shape"])
        if not all(type(n) is int and n >= 0 for n in shape):
            raise damaged(path)
        check_size(shape, 0, str(path))
        if path.stat().st_size != start + prod(shape) * 8:
            raise damaged(path)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged(path) from error
    return found, start


def variables(path: Path) -> dict[str, StoredArray]:
    found, start = header(path)
    shape = tuple(found["shape"])
    return {"kspace": StoredArray("kspace", shape, True, ToyReader(path, start, shape))}


def text(path: Path, name: str) -> str | None:
    value = header(path)[0].get(name)
    return value if isinstance(value, str) else None


def write_scan(path: Path, scan: Scan, provenance: Mapping[str, Any] | None = None) -> None:
    head = {"shape": list(scan.shape), "acquisition": acquisition_to_json(scan.acquisition)}
    if provenance is not None:
        head["provenance"] = to_json(provenance)
    slices = [scan.read_slice(i).cpu().numpy() for i in range(scan.shape[1])]
    with atomic(path) as temporary:
        body = np.ascontiguousarray(np.stack(slices, 1), "<c8").tobytes()
        temporary.write_bytes(MAGIC + json.dumps(head).encode() + b"\n" + body)
