"""ISMRMRD raw data (Inati et al., Magn Reson Med 2017;77:411), what the vendors' converters write: HDF5 files of single readouts.

A group, usually `dataset`, holds `data`, a table of readouts (`head`, trajectory `traj`, samples `data`), and the header `xml`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmrrecon.data import CartesianMask, MaskSource, Scan, SpokeMask, Trajectory, simplest
from cmrrecon.data.trajectory import EXCESS as TRAJECTORY_EXCESS
from cmrrecon.formats.arrays import check_size
from cmrrecon.formats.hdf5_access import opened
from cmrrecon.formats.hdf5_heap import Heap, stored_rows
from cmrrecon.formats.names import parse_name
from cmrrecon.tools.errors import InputError

LONGEST_HEADER = 2**22  # bytes
# Flags, numbered from 1, of readouts that are no image data: noise, navigation, phase correction, feedback, dummies, surface coil
# correction, phase stabilisation. A parallel calibration (20) is image data only if it is flagged so (21).
NO_IMAGE = sum(1 << flag - 1 for flag in (19, 23, 24, 26, 27, 28, 29, 30, 31))
CALIBRATION, CALIBRATION_AND_IMAGE, REVERSE = (1 << flag - 1 for flag in (20, 21, 22))
HEAD = (
    "flags",
    "number_of_samples",
    "active_channels",
    "discard_pre",
    "discard_post",
    "center_sample",
    "trajectory_dimensions",
)
COUNTERS = (
    "kspace_encode_step_1",
    "kspace_encode_step_2",
    "average",
    "slice",
    "contrast",
    "phase",
    "repetition",
    "set",
)
PATTERNS = {"radial": "radial", "goldenangle": "radial", "spiral": "spiral"}

Table = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Header:
    """What is used of the XML header.

    Attributes
    ----------
    encoded : (y, x) of the encoded k-space
    image : (y, x) of images without the oversampling, with the pixels of the encoded space
    centre : the kspace_encode_step_1 at the centre of k-space
    trajectory : `cartesian`, `radial`, `goldenangle`, `spiral`, ...
    """

    encoded: tuple[int, int]
    image: tuple[int, int]
    centre: int
    trajectory: str


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
        return simplest(mask, MaskSource.HEADER)


def sniff(path: Path) -> bool:
    """Whether an HDF5 file holds raw data of this kind."""
    with opened(path) as file:
        return _group(file) is not None


def read(path: Path) -> Scan:
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
        rows = stored_rows(group["data"], handle)
        table = {name: _whole(rows["head"][name]) for name in (*HEAD, "encoding_space_ref")}
        table |= {name: _whole(rows["head"]["idx"][name]) for name in COUNTERS}
        table |= {name: rows[name] for name in ("traj", "data")}
        itemsize = {name: _float_size(group["data"].dtype[name]) for name in ("traj", "data")}
    header = _header(document, path)
    table, notes = _image_data(table, path)
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


def _whole(values: NDArray[Any]) -> NDArray[np.int64]:
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise ValueError("a counter is no whole number")
    return values.astype(np.int64)


def _float_size(dtype: np.dtype[Any]) -> int:
    """Bytes of an item of variable length: a float32, or two of them for a complex number."""
    item = h5py.check_vlen_dtype(dtype)
    parts = (
        [item] if item is not None and item.names is None else [item[name] for name in item.names]
    )
    if any(part != np.dtype("<f4") for part in parts) or len(parts) > 2:
        raise ValueError("samples are no float32")
    return 4 * len(parts)


@contextmanager
def _heap(path: Path, base: int) -> Iterator[Heap]:
    """The heap of a file; what is wrong in it becomes an InputError."""
    with opened(path), open(path, "rb") as handle:
        yield Heap(handle, base)


def _header(document: bytes, path: Path) -> Header:
    """The header's sizes. Documents that define entities or name others are refused unread."""
    text = document[:LONGEST_HEADER].decode("utf-8", errors="replace").rstrip("\0")
    try:
        if len(document) > LONGEST_HEADER or "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise ValueError("it is too long, or has a document type of its own")
        root = ElementTree.fromstring(text)
        encoded_y, encoded_x = (
            int(_number(root, f"encodedSpace/matrixSize/{axis}")) for axis in "yx"
        )
        image = tuple(_side(root, axis, n) for axis, n in (("y", encoded_y), ("x", encoded_x)))
        centre = _number(root, "encodingLimits/kspace_encoding_step_1/center")
        centre = encoded_y // 2 if np.isnan(centre) else int(centre)
    # ParseError is a SyntaxError; numbers that are missing, infinite or no numbers raise the others.
    except (SyntaxError, ValueError, OverflowError) as error:
        raise InputError(
            "header-damaged",
            f"The XML header of {path} cannot be used",
            "An ISMRMRD header gives the matrix of the encoded space",
            "Convert the scanner's file again",
        ) from error
    if not all(1 <= n < 2**16 for n in (encoded_y, encoded_x)):
        raise _misfit(
            "header-damaged",
            path,
            f"has an encoded matrix of {encoded_y} x {encoded_x} (y, x)",
            "Both must be from 1 to 65535",
        )
    kind = root.findtext("{*}encoding/{*}trajectory") or ""
    return Header((encoded_y, encoded_x), (image[0], image[1]), centre, kind.strip())


def _number(root: ElementTree.Element, place: str) -> float:
    """A number in the first encoding; NaN where there is none."""
    return float(
        root.findtext("/".join(f"{{*}}{part}" for part in ("encoding", *place.split("/")))) or "nan"
    )


def _side(root: ElementTree.Element, axis: str, encoded: int) -> int:
    """Pixels of the image: those of the encoded space, as many as the reconstructed field of view holds, if it is known."""
    whole, part = (
        _number(root, f"{space}/fieldOfView_mm/{axis}") for space in ("encodedSpace", "reconSpace")
    )
    return (
        max(1, min(round(encoded * part / whole), encoded)) if whole > 0 and part > 0 else encoded
    )


def _image_data(table: Table, path: Path) -> tuple[Table, tuple[str, ...]]:
    """The readouts that are read, with their `frame`, `slice` (both from 0) and `reverse`, and what was left out."""
    flags, notes = table["flags"], []
    calibration = ((flags & CALIBRATION) != 0) & ((flags & CALIBRATION_AND_IMAGE) == 0)
    table = _part(
        table, ((flags & NO_IMAGE) == 0) & ~calibration & (table["encoding_space_ref"] == 0)
    )
    if not len(table["flags"]):
        raise _misfit(
            "readouts-missing",
            path,
            "holds no image data",
            "At least one readout must be of the image",
        )
    if len(np.unique(table["kspace_encode_step_2"])) > 1:
        raise _misfit(
            "kspace-3d",
            path,
            "holds three-dimensional k-space",
            "Slices must be encoded one by one",
        )
    moving = "phase" if len(np.unique(table["phase"])) > 1 else "repetition"
    for name in ("contrast", "set", "average", "repetition"):
        values = np.unique(table[name])
        if len(values) > 1 and name != moving:
            table = _part(table, table[name] == values[0])
            notes.append(
                f"{path} has {len(values)} values of the counter {name}; the first was taken."
            )
    if moving == "repetition" and len(np.unique(table[moving])) > 1:
        notes.append(f"{path}: repetitions were taken as frames.")
    numbered = {
        "frame": np.unique(table[moving], return_inverse=True)[1],
        "slice": np.unique(table["slice"], return_inverse=True)[1],
    }
    return table | numbered | {
        "reverse": ((table["flags"] & REVERSE) != 0) & (table["trajectory_dimensions"] == 0)
    }, tuple(notes)


def _part(table: Table, chosen: NDArray[Any]) -> Table:
    return {name: values[chosen] for name, values in table.items()}


def _placed(
    table: Table, header: Header, along: bool, path: Path, base: int, itemsize: int
) -> Readouts:
    """The readouts with their `row`: the line of Cartesian k-space, else the number of the spoke in its frame."""
    stored, coils, kept = _shared_sizes(table, along, path)
    table, frames, slices = _in_order(table, path)
    group = table["frame"] * slices + table["slice"]
    if along:
        lengths = np.bincount(group)
        row = np.arange(len(group)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        shape = (frames, slices, coils, int(lengths.max()), kept.stop - kept.start)
        return Readouts(path, base, shape, table | {"row": row}, stored, kept, 0, itemsize)
    y, x = header.encoded
    row, first = _lines(table, header, kept, path)
    once = np.unique(group * y + row, return_index=True)[1]  # of repeated lines the first
    table = _part(table | {"row": row}, once)
    return Readouts(path, base, (frames, slices, coils, y, x), table, stored, kept, first, itemsize)


def _shared_sizes(table: Table, along: bool, path: Path) -> tuple[int, int, slice]:
    """How many samples a readout has, how many coils, and which samples are used; the same in all readouts."""
    same: tuple[str, ...] = (
        "number_of_samples",
        "active_channels",
        "discard_pre",
        "discard_post",
        "trajectory_dimensions",
    )
    same += () if along else ("center_sample",)
    for name in same:
        if len(np.unique(table[name])) > 1:
            found = f"has readouts that differ in {name}"
            raise _misfit("readouts-differ", path, found, "All readouts of the image must be alike")
    stored, coils, before, after, dimensions = (int(table[name][0]) for name in same[:5])
    count = stored - before - after
    if count < 1 or coils < 1 or (along and dimensions < 2):
        found = f"has readouts of {count} samples, {coils} coils and {dimensions} trajectory axes"
        raise _misfit("readouts-empty", path, found, "There must be some, and two axes")
    return stored, coils, slice(before, stored - after)


def _in_order(table: Table, path: Path) -> tuple[Table, int, int]:
    """The readouts by frame and slice, each in the order they were measured in, and how many frames and slices there are."""
    frames, slices = (int(table[name].max()) + 1 for name in ("frame", "slice"))
    table = _part(table, np.lexsort((table["slice"], table["frame"])))  # stable
    if len(np.unique(table["frame"] * slices + table["slice"])) < frames * slices:
        found = f"lacks some of its {frames} frames in some of its {slices} slices"
        raise _misfit("frame-missing", path, found, "All slices must have all frames")
    return table, frames, slices


def _lines(table: Table, header: Header, kept: slice, path: Path) -> tuple[NDArray[Any], int]:
    """The line of each Cartesian readout, and the column of its first used sample."""
    y, x = header.encoded
    count = kept.stop - kept.start
    row = table["kspace_encode_step_1"] - header.centre + y // 2
    first = 0 if count == x else x // 2 - (int(table["center_sample"][0]) - kept.start)
    if row.min() < 0 or row.max() >= y or first < 0 or first + count > x:
        found = f"has lines {row.min()} to {row.max()} and samples {first} to {first + count - 1}"
        raise _misfit("shape-mismatch", path, found, f"The encoded matrix is {y} x {x} (y, x)")
    return row, first


def _trajectory(readouts: Readouts, header: Header, itemsize: int) -> tuple[Tensor, str]:
    """The trajectory (frame|1, spoke, sample, 2) in cycles per field of view, last axis (y, x), and what was assumed of its unit."""
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
                raise _misfit(
                    "trajectory-differs",
                    path,
                    "has slices with trajectories of their own",
                    "All slices must have the same trajectory",
                )
    if frames > 1 and (positions == positions[:1]).all():
        positions = positions[:1]
    reach, matrix = float(np.abs(positions).max()), np.array(header.image, np.float32)
    if reach <= TRAJECTORY_EXCESS / 2:
        scaled, unit = positions * matrix, "parts of k-space from -0.5 to 0.5"
    elif bool((np.abs(positions).max((0, 1, 2)) <= TRAJECTORY_EXCESS / 2 * matrix).all()):
        scaled, unit = positions, "cycles per field of view"
    else:
        raise _misfit(
            "trajectory-units",
            path,
            f"has a trajectory that reaches {reach:.4g}",
            f"It must reach 0.5, or half of the matrix {header.image} (y, x)",
        )
    return (
        torch.from_numpy(scaled),
        f"{path}: the trajectory reaches {reach:.4g} and was taken as {unit}, for images of {header.image} (y, x).",
    )


def _misfit(code: str, path: Path, found: str, expected: str) -> InputError:
    return InputError(
        code, f"{path} {found}", expected, "Check how the file was converted from the scanner's"
    )
