"""ISMRMRD raw data (Inati et al., Magn Reson Med 2017;77:411), what the vendors' converters write: HDF5 files of single readouts.

A group, usually `dataset`, holds `data`, a table of readouts (`head`, trajectory `traj`, samples `data`), and the header `xml`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmrrecon.data import (
    CartesianMask,
    MaskSource,
    SamplingMask,
    Scan,
    SpokeMask,
    Trajectory,
)
from cmrrecon.data.trajectory import EXCESS as TRAJECTORY_EXCESS
from cmrrecon.formats.arrays import check_size
from cmrrecon.formats.hdf5_access import opened
from cmrrecon.formats.hdf5_access import sniff as is_hdf5
from cmrrecon.formats.hdf5_heap import Heap, stored_rows
from cmrrecon.formats.ismrmrd_header import REMEDY, Header, read_header
from cmrrecon.formats.ismrmrd_table import (
    Table,
    cartesian_lines,
    image_data,
    in_order,
    part,
    read_table,
    shared_sizes,
)
from cmrrecon.formats.names import parse_name
from cmrrecon.tools.errors import InputError

PATTERNS = {"radial": "radial", "goldenangle": "radial", "spiral": "spiral"}


@dataclass(frozen=True)
class Readouts:
    """Puts the readouts of one slice at a time in place: (frame, coil, y, x), zero where there is none.

    Attributes
    ----------
    path, base : the file, and where its HDF5 part begins
    shape : (frame, slice, coil, y, x)
    table : for each readout its frame, slice and row, whether it runs backwards, and the references to its samples and trajectory
    stored, kept : number of samples in the file, and which of them are used
    first : column of the first
    itemsize : bytes of an item of the stored samples
    """

    path: Path
    base: int
    shape: tuple[int, int, int, int, int]
    table: Table
    stored: int
    kept: slice
    first: int
    itemsize: int

    def __call__(self, index: int) -> Tensor:
        """K-space of slice `index` (0-based)."""
        frames, _, coils, y, x = self.shape
        kspace = np.zeros((frames, coils, y, x), np.complex64)
        with _heap(self.path, self.base) as heap:
            for i in np.flatnonzero(self.table["slice"] == index):
                samples = np.frombuffer(
                    heap.read(self.table["data"][i], self.itemsize), "<c8"
                ).reshape(coils, self.stored)[:, self.kept]
                line = samples[:, ::-1] if self.table["reverse"][i] else samples
                kspace[
                    self.table["frame"][i],
                    :,
                    self.table["row"][i],
                    self.first : self.first + line.shape[1],
                ] = line
        return torch.from_numpy(kspace)

    def mask(self) -> CartesianMask | None:
        """Which lines were measured; None if that differs between slices."""
        frames, slices, _, y, x = self.shape
        places = np.sort(self.table["frame"] * y + self.table["row"])
        if len(places) % slices or not (places.reshape(-1, slices) == places[::slices, None]).all():
            return None
        lines = np.zeros(frames * y, bool)
        lines[places] = True
        mask = torch.zeros((frames, y, x), dtype=torch.bool)
        mask[..., self.first : self.first + len(range(self.stored)[self.kept])] = torch.from_numpy(
            lines
        ).reshape(frames, y, 1)
        return SamplingMask.of(mask, MaskSource.HEADER)


def sniff(path: Path, head: bytes) -> bool:
    """Whether a file that begins with `head` holds raw data of this kind, and no array at its top."""
    if not is_hdf5(head):
        return False
    with opened(path) as file:
        return _group(file) is not None and not any(
            file.get(name, getclass=True) is h5py.Dataset for name in file
        )


def read(path: Path, dataset: str | None = None) -> Scan:
    """The image data of the first measurement: along its trajectory if there is one, else Cartesian with readout oversampling.

    Frames are cardiac phases, or repetitions where there is a single phase; of all other counters but the slice the first value
    is read. What the header tells of the patient is not looked at.

    Raises
    ------
    InputError : the file is damaged, its data are not two-dimensional, or they do not fit its header
    """
    with opened(path) as file, open(path, "rb") as handle:
        group = file[_group(file)]
        base = file.userblock_size
        document = Heap(handle, base).read(stored_rows(group["xml"], handle)[0], 1)
        table, itemsize = read_table(group, handle)
    header = read_header(document, path)
    table, notes = image_data(table, path)
    along = bool(table["trajectory_dimensions"].any())
    readouts = _placed(table, header, along, path, base, itemsize["data"])
    check_size(readouts.shape, 0, str(path))
    check_size((readouts.shape[0], *readouts.shape[2:]), 8, f"A slice of {path}")
    scan = Scan(readouts.shape, readouts, readouts.mask(), parse_name(path), str(path), notes=notes)
    if not along:
        return scan
    check_size((readouts.shape[2], *header.image), 8, f"The images of {path}")
    trajectory, assumed = _trajectory(readouts, header, itemsize["traj"])
    facts = replace(
        scan.acquisition, pattern=PATTERNS.get(header.trajectory, scan.acquisition.pattern)
    )
    mask = _spokes(readouts, Trajectory(trajectory, header.image))
    return replace(scan, acquisition=facts, notes=(*notes, assumed), mask=mask)


def _spokes(readouts: Readouts, trajectory: Trajectory) -> SpokeMask:
    """Which spokes were measured; where that differs between slices, what is non-zero in them."""
    known = readouts.mask()
    if known is not None:
        return SpokeMask(known.samples, known.source, trajectory=trajectory)
    every = torch.ones((1, readouts.shape[3], 1), dtype=torch.bool)
    return SpokeMask(every, MaskSource.NON_ZERO, trajectory=trajectory)


def _group(file: Any) -> str | None:
    """The first group with a table of readouts and a header."""
    for name in file:
        places = (name, f"{name}/data", f"{name}/xml")
        if all(isinstance(file.get(place, getlink=True), h5py.HardLink) for place in places):
            data, xml = (file[place] for place in places[1:])
            tables = isinstance(data, h5py.Dataset) and isinstance(xml, h5py.Dataset)
            if tables and {"head", "traj", "data"} <= set(data.dtype.names or ()):
                return str(name)
    return None


@contextmanager
def _heap(path: Path, base: int) -> Iterator[Heap]:
    """The heap of a file; what is wrong in it becomes an InputError."""
    with opened(path), open(path, "rb") as handle:
        yield Heap(handle, base)


def _placed(
    table: Table, header: Header, along: bool, path: Path, base: int, itemsize: int
) -> Readouts:
    """The readouts with their `row`: the line of Cartesian k-space, else the number of the spoke in its frame."""
    stored, coils, kept = shared_sizes(table, along, path)
    table, frames, slices = in_order(table, path)
    group = table["frame"] * slices + table["slice"]
    if along:
        lengths = np.bincount(group)
        row = np.arange(len(group)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        shape = (frames, slices, coils, int(lengths.max()), kept.stop - kept.start)
        return Readouts(path, base, shape, table | {"row": row}, stored, kept, 0, itemsize)
    y, x = header.encoded
    row, first = cartesian_lines(table, header, kept, path)
    once = np.unique(group * y + row, return_index=True)[1]  # of repeated lines the first
    table = part(table | {"row": row}, once)
    return Readouts(path, base, (frames, slices, coils, y, x), table, stored, kept, first, itemsize)


def _trajectory(readouts: Readouts, header: Header, itemsize: int) -> tuple[Tensor, str]:
    """The trajectory (frame|1, spoke, sample, 2) in cycles per field of view, last axis (y, x), and what was assumed of its unit."""
    path, positions = readouts.path, _positions(readouts, itemsize)
    reach, matrix = float(np.abs(positions).max()), np.array(header.image, np.float32)
    if reach <= TRAJECTORY_EXCESS / 2:
        scaled, unit = positions * matrix, "parts of k-space from -0.5 to 0.5"
    elif bool((np.abs(positions).max((0, 1, 2)) <= TRAJECTORY_EXCESS / 2 * matrix).all()):
        scaled, unit = positions, "cycles per field of view"
    else:
        raise InputError(
            "trajectory-units",
            f"{path} has a trajectory that reaches {reach:.4g}",
            f"It must reach 0.5, or half of the matrix {header.image} (y, x)",
            REMEDY,
        )
    return (
        torch.from_numpy(scaled),
        f"{path}: the trajectory reaches {reach:.4g} and was taken as {unit}, for images of {header.image} (y, x).",
    )


def _positions(readouts: Readouts, itemsize: int) -> NDArray[np.float32]:
    """The trajectory of all slices (frame|1, spoke, sample, 2) in the file's unit, last axis (y, x)."""
    frames, _, _, spokes, samples = readouts.shape
    table, path = readouts.table, readouts.path
    positions = np.zeros((frames, spokes, samples, 2), np.float32)
    with _heap(path, readouts.base) as heap:
        for i in np.argsort(table["slice"], kind="stable"):
            values = np.frombuffer(heap.read(table["traj"][i], itemsize), "<f4").reshape(
                readouts.stored, -1
            )[readouts.kept, 1::-1]
            place = positions[table["frame"][i], table["row"][i]]
            if table["slice"][i] == 0:
                place[:] = values
            elif not np.array_equal(place, values, equal_nan=True):
                raise InputError(
                    "trajectory-differs",
                    f"{path} has slices with trajectories of their own",
                    "All slices must have the same trajectory",
                    REMEDY,
                )
    return positions[:1] if (positions == positions[:1]).all() else positions
