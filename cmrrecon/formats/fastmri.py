"""fastMRI k-space: HDF5 with `kspace` and the XML header of the original ISMRMRD file.

`kspace` is (slice, coil, x, y), or (slice, x, y) for a single coil: the readout comes before the
phase encode. In files of the test sets, `mask` (y,) marks the lines that are kept. K-space is
zero-padded along y to the encoded matrix; the limits in the header state which lines were measured.
`reconstruction_rss` and `reconstruction_esc` are not read.

References
----------
Zbontar et al., arXiv:1811.08839.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from cmrrecon.data import CartesianMask, Geometry, MaskSource, SamplingMask, Scan
from cmrrecon.formats import hdf5_access
from cmrrecon.formats.arrays import SliceReader, StoredArray, check_size
from cmrrecon.formats.hdf5_access import opened
from cmrrecon.formats.hdf5_heap import Heap, stored_rows
from cmrrecon.formats.ismrmrd_header import LONGEST, read_header
from cmrrecon.formats.masks import zeros_and_ones
from cmrrecon.formats.names import parse_name
from cmrrecon.formats.readouts import Encoding
from cmrrecon.tools.errors import InputError

HEADER = "ismrmrd_header"
OWN = (HEADER, "reconstruction_rss", "reconstruction_esc")
AXES = {4: ("slice", "coil", "x", "y"), 3: ("slice", "x", "y")}
REMEDY = "Use the file as published by fastMRI"


def sniff(path: Path, head: bytes) -> bool:
    """Return whether a file that begins with `head` has fastMRI's layout, even without a header."""
    if not hdf5_access.sniff(head):
        return False
    with opened(path) as file:
        return "kspace" in file and any(name in file for name in OWN)


def read(path: Path) -> Scan:
    """Read a scan of one frame, with slices in the order of the file.

    Raises
    ------
    InputError
        If the header is missing or damaged (`header-missing`, `header-damaged`), the k-space does
        not fit it (`kspace-axes`, `shape-mismatch`), the mask is wrong (`mask-shape`,
        `mask-values`), or the file is damaged (`file-damaged`).
    """
    stored = hdf5_access.variables(path)
    header = read_header(_document(path), path)
    encoding = header.encodings[0]

    kspace = _kspace(stored, path)
    reader = SliceReader(kspace, AXES[len(kspace.shape)])
    check_size(reader.shape, 0, str(path))
    check_size((1, *reader.shape[2:]), 8, f"A slice of {path}")
    _check_matrix(reader.shape[3:], encoding, path)
    mask, notes = _mask(stored, encoding, path)

    facts = replace(
        parse_name(path),
        acceleration=_first(hdf5_access.numbers(path, "acceleration")),
        acs=_first(hdf5_access.numbers(path, "num_low_frequency")),
        field_strength=header.field_strength,
        sequence=header.sequence,
    )

    geometry = _geometry(encoding) if encoding.matrix == reader.shape[3:] else None
    return Scan(
        reader.shape,
        reader,
        mask,
        acquisition=facts,
        path=str(path),
        notes=notes,
        geometry=geometry,
    )


def _geometry(encoding: Encoding) -> Geometry:
    """Return the sizes from the header, which has no positions."""
    sides = encoding.field_of_view_mm
    matrix = encoding.matrix
    return Geometry(
        voxel_mm=None if sides is None else (sides[0] / matrix[0], sides[1] / matrix[1], sides[2]),
        field_of_view=encoding.image,
        recon_matrix=encoding.recon_matrix,
    )


def _first(values: tuple[int, ...]) -> int | None:
    return values[0] if values else None


def _document(path: Path) -> bytes:
    """Return the XML header, whether stored with variable or fixed length."""
    with opened(path) as file, open(path, "rb") as handle:
        item = file.get(HEADER) if _is_own(file) else None
        if not isinstance(item, h5py.Dataset) or item.size != 1:
            raise InputError(
                "header-missing",
                f"{path} is laid out like a fastMRI file but has no `{HEADER}`",
                "The header must state the encoded matrix and the measured lines",
                REMEDY,
            )

        row: Any = stored_rows(item, handle)[0]
        if item.dtype.kind == "S":
            return bytes(row)
        if not 0 < int(row["length"]) <= LONGEST:
            raise ValueError("the header is empty or too long")
        return Heap(handle, file.userblock_size).read(row, 1)


def _is_own(file: Any) -> bool:
    """Return whether the header is stored in the file itself, not behind a link."""
    return isinstance(file.get(HEADER, getlink=True), h5py.HardLink)


def _kspace(stored: dict[str, StoredArray], path: Path) -> StoredArray:
    """Return the k-space after checking its type and axes."""
    array = stored.get("kspace")
    if array is None or not array.is_complex or len(array.shape) not in AXES:
        shape = "is not an array" if array is None else f"has shape {array.shape}"
        raise InputError(
            "kspace-axes",
            f"{path} is a fastMRI file whose `kspace` {shape}",
            "K-space must be complex, (slice, coil, readout, phase encode) or "
            "(slice, readout, phase encode)",
            "Use a file of the brain or knee data set",
        )
    return array


def _check_matrix(found: tuple[int, ...], encoding: Encoding, path: Path) -> None:
    """Refuse k-space (y, x) whose axes are swapped relative to the header."""
    y, x = encoding.matrix
    if y != x and tuple(found) == (x, y):
        raise InputError(
            "shape-mismatch",
            f"{path} stores k-space of {found[1]} x {found[0]} (readout, phase encode)",
            f"The header declares {x} x {y}: the two axes are swapped",
            REMEDY,
        )


def _mask(
    stored: dict[str, StoredArray], encoding: Encoding, path: Path
) -> tuple[CartesianMask, tuple[str, ...]]:
    """Return the measured lines: all lines in `mask` outside the zero padding."""
    lines, notes = _measured(stored["kspace"], encoding, path)
    source = MaskSource.HEADER
    if "mask" in stored:
        lines = lines & _stored_mask(stored["mask"], len(lines), path)
        source = MaskSource.FILE
    return SamplingMask.of(torch.from_numpy(lines)[None, :, None], source), notes


def _measured(
    kspace: StoredArray, encoding: Encoding, path: Path
) -> tuple[NDArray[np.bool], tuple[str, ...]]:
    """Find the measured lines (y,) from the header's limits and the data.

    The padding contains only zeros. If there are no limits, or if they contradict the data, all
    lines from the first to the last non-zero line of the middle slice count as measured.
    """
    y = kspace.shape[-1]

    middle = kspace.read((kspace.shape[0] // 2,))
    filled = np.flatnonzero((middle != 0).reshape(-1, y).any(0))
    first, last = (filled[0], filled[-1]) if len(filled) else (0, y - 1)
    by_data = _between(first, last, y)
    if encoding.limits is None or encoding.matrix[0] != y:
        return by_data, ()

    centre = y // 2 if encoding.centre is None else encoding.centre
    start, end = (line - centre + y // 2 for line in encoding.limits)
    by_header = _between(start, end, y)
    if not by_header[filled].all():
        return by_data, (f"{path}: the header's limits were ignored; data lie outside them.",)
    return by_header, ()


def _between(first: int, last: int, y: int) -> NDArray[np.bool]:
    """Return a mask (y,) of the lines from `first` to `last`, both included."""
    lines = np.arange(y)
    return (first <= lines) & (lines <= last)


def _stored_mask(array: StoredArray, y: int, path: Path) -> NDArray[np.bool]:
    """Return the mask (y,) stored in the file."""
    if array.is_complex or array.shape != (y,):
        raise InputError(
            "mask-shape",
            f"{path} has {y} phase encodes but a mask of shape {array.shape}",
            f"The mask must be {y} real numbers",
            REMEDY,
        )
    return zeros_and_ones(array, f"The mask of {path}", REMEDY)
