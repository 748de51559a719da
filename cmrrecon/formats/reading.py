"""Files in: scans, masks, images and their provenance."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmrrecon.data import (
    Acquisition,
    CartesianMask,
    MaskSource,
    SamplingMask,
    Scan,
    SpokeMask,
    Trajectory,
)
from cmrrecon.formats import pictures
from cmrrecon.formats.arrays import (
    AXES,
    SliceReader,
    StoredArray,
    check_size,
    default_axes,
    named_axes,
)
from cmrrecon.formats.kinds import HEAD, RawFormat, contents, raw_format
from cmrrecon.formats.names import acquisition_from_json, is_full_folder, mask_path_for, parse_name
from cmrrecon.formats.variables import choose
from cmrrecon.tools.errors import InputError, UsageError
from cmrrecon.tools.files import as_path, first_bytes
from cmrrecon.tools.provenance import from_json

ALWAYS_FULL = (
    "kspace_full",
    "kspace_single_full",
)  # `kspace`, the name of 2025, is also what users call any k-space
LARGEST_MATRIX = 16384  # pixels a side


def read(
    path: str | Path,
    *,
    axes: str | None = None,
    mask: str | Path | None = None,
    dataset: str | None = None,
) -> Scan:
    """A scan from a k-space file: CMRxRecon `.mat` (v7.3 or v5) of 2023 to 2025, our `.h5`, `.npz` or `.npy`, or ISMRMRD raw data.

    Slices are read when asked for (the array as a whole, at first use, from MATLAB 5 and `.npz`). The mask is the
    one given, else None for files that the challenge calls fully sampled by their variable or folder (`full_by_rule`),
    else the one in the file, else the official mask file beside it, else None. Arrays `trajectory` and `matrix` beside
    `kspace` make it non-Cartesian, see `Scan`; all its spokes were measured if no mask says otherwise.

    Parameters
    ----------
    path : the file
    axes : names of the stored axes where they are not the usual ones, such as "x,y,coil", in the order that h5py
        (v7.3, .h5), scipy (v5) or numpy shows the array
    mask : a mask file
    dataset : name of the data set, in files of raw data that hold several

    Raises
    ------
    InputError : the file cannot be read as k-space
    UsageError : `axes-unknown`, `axes-fixed`; `dataset-fixed`, a data set of a file that has none
    """
    path = as_path(path, "file")
    raw = raw_format(path)
    if raw is not None:
        return _raw(path, raw, axes, mask, dataset)
    if dataset is not None:
        raise UsageError(
            "dataset-fixed",
            f"The data set {dataset!r} was named for {path}",
            "Only ISMRMRD files hold data sets with names",
            "Leave out --dataset",
        )
    stored, text = contents(path)
    array, notes = choose(stored, "kspace", path)
    if not array.is_complex:
        found = f"{path} holds real numbers of shape {array.shown_shape}"
        raise InputError(
            "kspace-real", found, "K-space is complex", "Give the k-space file, not images or masks"
        )
    acquisition, along = _acquisition(path, array.name, text), "trajectory" in stored
    names, assumed = _axes(array, axes, acquisition.base, along, str(path))
    reader = SliceReader(array, names)
    frames, _, coils, y, x = reader.shape
    check_size(reader.shape, 0, str(path))
    check_size((frames, coils, y, x), 8, f"A slice of {path}")
    full = _is_full(array, stored, path, acquisition.pattern)
    measured, beside = _mask_for(stored, path, full, mask)
    if along:
        kept: SamplingMask | None = _spokes(measured, y, stored, path)
    else:
        kept = measured
    if kept is None and not full:
        assumed += (
            f"No mask file found for {path}: samples that are non-zero in any coil count as measured",
        )
    scan = Scan(reader.shape, reader, kept, acquisition, str(path), beside, notes + assumed)
    return replace(scan, full_by_rule=full and mask is None and not along)


def _spokes(
    measured: CartesianMask | None, spokes: int, stored: dict[str, StoredArray], path: Path
) -> SpokeMask:
    """The mask of k-space along a trajectory, which has one from the file, beside it, or of all spokes."""
    trajectory = Trajectory(_trajectory(stored, path), _matrix(stored, path))
    if measured is None:
        every = torch.ones((1, spokes, 1), dtype=torch.bool)
        return SpokeMask(every, MaskSource.HEADER, trajectory=trajectory)
    return SpokeMask(measured.samples, measured.source, trajectory=trajectory)


def _axes(
    array: StoredArray, given: str | None, base: str, along: bool, where: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the stored axes, and what had to be assumed."""
    if given is not None:
        return named_axes(given, array, where), ()
    if not array.name and len(array.shape) != 5:
        raise InputError(
            "axes-unknown",
            f"{where} has {len(array.shape)} axes, shape {array.shown_shape}, and no name that says what it is",
            "K-space in .npy has the axes (frame, slice, coil, y, x)",
            "Name the axes with --axes, for example --axes coil,y,x",
        )
    if along and 2 <= len(array.shape) <= len(AXES):
        return AXES[-len(array.shape) :], ()
    return default_axes(array, base, where)


def _is_full(
    array: StoredArray, stored: dict[str, StoredArray], path: Path, pattern: str | None
) -> bool:
    """Whether a file counts as fully sampled: by its variable, its folder, or as spokes without a mask."""
    if "mask" in stored:
        return pattern is None and array.name in ALWAYS_FULL
    in_full_folder = array.name == "kspace" and is_full_folder(path)
    return "trajectory" in stored or (
        pattern is None and (array.name in ALWAYS_FULL or in_full_folder)
    )


def _mask_for(
    stored: dict[str, StoredArray], path: Path, full: bool, given: str | Path | None
) -> tuple[CartesianMask | None, str]:
    """The mask of a scan, None where the k-space must say it, and the file it lies in if that is another one."""
    beside = (
        Path(given)
        if given is not None
        else None
        if full or "mask" in stored
        else mask_path_for(path)
    )
    if beside is not None:
        return read_mask(beside), str(beside)
    if full:
        return None, ""
    return (_mask(stored["mask"], path) if "mask" in stored else None), ""


def _trajectory(stored: dict[str, StoredArray], path: Path) -> Tensor:
    """(frame|1, spoke, sample, 2) float32; the axis of frames may be left out. Scans check whether it fits."""
    array = stored["trajectory"]
    if array.is_complex or not 3 <= len(array.shape) <= 4:
        raise InputError(
            "trajectory-shape",
            f"{path} has a trajectory of shape {array.shown_shape}",
            "It has real numbers and the axes (frame, spoke, sample, 2) or (spoke, sample, 2)",
            "Store it like that",
        )
    return torch.from_numpy(array.load(str(path))).float().reshape(-1, *array.shape[-3:])


def _matrix(stored: dict[str, StoredArray], path: Path) -> tuple[int, int]:
    """The size (y, x) of the images of non-Cartesian k-space."""
    array = stored.get("matrix")
    values = (
        []
        if array is None or array.is_complex or prod(array.shape) != 2
        else array.load(str(path)).reshape(2).tolist()
    )
    if not values or any(not 1 <= n <= LARGEST_MATRIX or n != int(n) for n in values):
        raise InputError(
            "matrix-missing",
            f"{path} has a trajectory but no matrix that fits it",
            f"`matrix` holds two whole numbers, the pixels (y, x) of the images, from 1 to {LARGEST_MATRIX}",
            "Store it: in .npz as an array, in .h5 as an attribute of the file",
        )
    return int(values[0]), int(values[1])


def _raw(
    path: Path, raw: RawFormat, axes: str | None, mask: str | Path | None, dataset: str | None
) -> Scan:
    """The scan in a file of raw data."""
    if axes is not None:
        raise UsageError(
            "axes-fixed",
            f"The axes {axes!r} were named for {path}",
            f"{raw.name} raw data name their axes themselves",
            "Leave out --axes",
        )
    scan = raw.read(path, dataset)
    if mask is None:
        return scan
    given = read_mask(mask)
    if isinstance(scan.mask, SpokeMask):
        return replace(
            scan,
            mask=replace(scan.mask.chosen(given.samples), source=MaskSource.FILE),
            mask_path=str(mask),
        )
    return replace(scan, mask=given, mask_path=str(mask))


def _acquisition(path: Path, variable: str, text: Callable[[str], str | None]) -> Acquisition:
    """What our own files store of the acquisition; what they do not know, and all of others, from the names."""
    named = parse_name(path, variable if path.suffix.lower() == ".mat" else "")
    own = text("acquisition")
    if own is None and (stamp := text("provenance")) is not None:
        try:
            own = json.dumps(from_json(stamp).get("acquisition"))
        except InputError:  # of another program
            own = None
    stored = asdict(acquisition_from_json(own)) if own else {}
    known = {
        key: value
        for key, value in stored.items()
        if value is not None and (key, value) != ("base", Acquisition.base)
    }
    return replace(named, **known)


def read_mask(path: str | Path) -> CartesianMask:
    """A sampling mask; axes along which it does not change are 1 long.

    Raises
    ------
    InputError : the file cannot be read, or holds anything but zeros and ones
    """
    path = as_path(path, "file")
    array, _ = choose(contents(path)[0], "mask", path)
    return _mask(array, path)


def read_images(path: str | Path) -> Tensor:
    """Images (frame, slice, y, x) complex64 or float32: ours, `img4ranking` of a submission, or `*_truth.npz`.

    Fewer axes: a MATLAB array lacks the last ones, (x, y, slice) or (x, y); a NumPy array of three axes is one
    slice, (frame, y, x).

    Raises
    ------
    InputError : the file cannot be read as images
    """
    path = as_path(path, "file")
    array, _ = choose(contents(path)[0], "image", path)
    if not 2 <= len(array.shape) <= 4:
        raise InputError(
            "images-axes",
            f"{path} has images of shape {array.shown_shape}",
            "Two to four axes are needed",
            "Give a file of images (frame, slice, y, x)",
        )
    values = torch.from_numpy(array.load(str(path)))
    values = values if values.is_complex() else values.float()
    if values.ndim == 3 and path.suffix.lower() in (".npy", ".npz"):
        return values[:, None]
    return values.reshape((1,) * (4 - values.ndim) + tuple(values.shape))


def read_provenance(path: str | Path) -> dict[str, Any] | None:
    """The provenance in a file that cmrrecon wrote (or beside it, for .npy); None if there is none.

    Raises
    ------
    InputError : the file or its provenance cannot be read
    """
    path = as_path(path, "file")
    text = (
        pictures.text(path)
        if pictures.sniff(first_bytes(path, HEAD))
        else contents(path)[1]("provenance")
    )
    return from_json(text) if text is not None else None


def _mask(array: StoredArray, path: Path) -> CartesianMask:
    if len(array.shape) not in (2, 3) or array.is_complex:
        numbers = "complex" if array.is_complex else "real"
        raise InputError(
            "mask-shape",
            f"{path} holds {numbers} numbers of shape {array.shown_shape}",
            "A mask has real numbers and two axes (y, x) or three (frame, y, x)",
            "Give the mask file",
        )
    values = array.load(str(path))
    mask = values != 0
    if not np.array_equal(mask, values) or not mask.any():
        raise InputError(
            "mask-values",
            f"{path} is not a mask",
            "A mask holds zeros and at least one 1, nothing else",
            "Give the mask file",
        )
    return SamplingMask.of(torch.from_numpy(mask).reshape((-1, *mask.shape[-2:])), MaskSource.FILE)
