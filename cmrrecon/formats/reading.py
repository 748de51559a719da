"""Files in: scans, masks, images and coil maps."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from cmrrecon.data import (
    Acquisition,
    CartesianMask,
    MaskSource,
    SamplingMask,
    Scan,
    SpokeMask,
)
from cmrrecon.formats import hdf5_access
from cmrrecon.formats.arrays import (
    AXES,
    SliceReader,
    StoredArray,
    check_size,
    default_axes,
    named_axes,
)
from cmrrecon.formats.companions import with_companions
from cmrrecon.formats.corner import CentredReader
from cmrrecon.formats.geometry import geometry_from_json
from cmrrecon.formats.info_table import with_table
from cmrrecon.formats.kinds import HEAD, RawFormat, contents, raw_format
from cmrrecon.formats.masks import mask_of
from cmrrecon.formats.names import acquisition_from_json, is_full_folder, mask_path_for, parse_name
from cmrrecon.formats.trajectories import spokes_of
from cmrrecon.formats.variables import choose, refuse_dataset
from cmrrecon.tools.errors import InputError, UsageError
from cmrrecon.tools.files import as_path, first_bytes
from cmrrecon.tools.provenance import from_json

# How the note begins that a mask was missed; of no interest where everything was measured.
NO_MASK = "No mask file found"
ALWAYS_FULL = (
    "kspace_full",
    "kspace_single_full",
)  # `kspace`, the name of 2025, is also what users call any k-space


def read(
    path: str | Path,
    *,
    axes: str | None = None,
    mask: str | Path | None = None,
    dataset: str | None = None,
    maps: str | Path | None = None,
) -> Scan:
    """A scan from a k-space file: CMRxRecon `.mat` (v7.3 or v5) of 2023 to 2026, our `.h5`, `.npz`
    or `.npy`, BART's `.cfl`, or raw data in a format of `kinds.RAW_FORMATS`: ISMRMRD, Siemens twix,
    fastMRI.

    Slices are read when asked for (the array as a whole, at first use, from MATLAB 5 and `.npz`).
    The mask is the one given, else None for files that the challenge calls fully sampled by their
    variable or folder (`full_by_rule`), else the one in the file, else the official mask file
    beside it, else None. Arrays `trajectory` and `matrix` beside `kspace` make it non-Cartesian,
    see `Scan`; all its spokes were measured if no mask says otherwise.

    Parameters
    ----------
    path : the file
    axes : names of the stored axes where they are not the usual ones, such as "x,y,coil", in the order that h5py
        (v7.3, .h5), scipy (v5) or numpy shows the array
    mask : a mask file
    dataset : name of the data set, in files of raw data that hold several
    maps : a file of coil maps, for `Scan.maps`

    Raises
    ------
    InputError : the file cannot be read as k-space; `maps-axes`, the coil maps are not of this
        k-space
    UsageError : `axes-unknown`, `axes-fixed`; `dataset-fixed`, a data set of a file that has none
    """
    path = as_path(path, "file")
    raw = raw_format(path)
    if raw is None or raw.read_dataset is None:
        refuse_dataset(dataset, path)
    scan = _arrays(path, axes, mask) if raw is None else _raw(path, raw, axes, mask, dataset)
    return scan if maps is None else _with_maps(scan, maps)


def _arrays(path: Path, axes: str | None, mask: str | Path | None) -> Scan:
    """The scan in a file of named arrays."""
    stored, text = contents(path, "kspace")
    array, notes = choose(stored, "kspace", path)
    _require_complex(array, path)
    acquisition, along = _acquisition(path, array.name, text), "trajectory" in stored
    names, assumed = _axes(array, axes, acquisition.base, along, str(path))
    reader = SliceReader(array, names)
    frames, _, coils, y, x = reader.shape
    check_size(reader.shape, 0, str(path))
    check_size((frames, coils, y, x), 8, f"A slice of {path}")
    full = _is_full(array, stored, path, acquisition.pattern)
    measured, beside = _mask_for(stored, path, full, mask)
    kept: SamplingMask | None = measured
    if along:
        kept, of_unit = spokes_of(measured, y, stored, path)
        assumed += of_unit
    if kept is None and not full:
        assumed += (
            f"{NO_MASK} for {path}: samples that are non-zero in any coil count as measured",
        )
    # Ours was looked at when it was made.
    ours = text("acquisition") is not None
    centred = reader if along or ours else CentredReader(reader, str(path))
    scan = Scan(
        reader.shape,
        centred,
        kept,
        acquisition=acquisition,
        path=str(path),
        mask_path=beside,
        notes=notes + assumed,
        full_by_rule=full and mask is None and not along,
    )
    if ours:
        scan = with_companions(scan, stored, path, own_mask=not beside)
    geometry = geometry_from_json(text("geometry") or "")
    return with_table(scan) if geometry is None else replace(scan, geometry=geometry)


def _require_complex(array: StoredArray, path: Path) -> None:
    if not array.is_complex:
        raise InputError(
            "kspace-real",
            f"{path} holds real numbers of shape {array.shown_shape}",
            "K-space is complex",
            "Give the k-space file, not images or masks",
        )


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
    """The mask of a scan, None where the k-space must say it, and the file it lies in if that is
    another one."""
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
    return (mask_of(stored["mask"], path) if "mask" in stored else None), ""


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
    by_name = raw.read_dataset
    scan = raw.read(path) if dataset is None or by_name is None else by_name(path, dataset)
    if hdf5_access.sniff(first_bytes(path, HEAD)):  # ours may be among them
        scan = _with_own_texts(scan, path)
    if mask is None:
        return scan
    given = read_mask(mask)
    if isinstance(scan.mask, SpokeMask):
        return replace(
            scan,
            mask=replace(scan.mask.chosen(given.samples), source=MaskSource.FILE),
            mask_path=str(mask),
        )
    return replace(scan, mask=raw.fit(given, scan.shape[0]), mask_path=str(mask))


def _with_own_texts(scan: Scan, path: Path) -> Scan:
    """The scan of a raw file with what it says if it is ours, where the format demands more than is
    known."""
    known, where = (hdf5_access.text(path, name) for name in ("acquisition", "geometry"))
    return replace(
        scan,
        acquisition=_completed(scan.acquisition, known),
        geometry=scan.geometry if where is None else geometry_from_json(where),
    )


def _with_maps(scan: Scan, path: str | Path) -> Scan:
    """The scan with the coil maps of a file."""
    maps = read_maps(path)
    slices, coils = scan.shape[1:3]
    if maps.shape[0] not in (1, slices) or maps.shape[1:] != (coils, *scan.image_shape):
        raise InputError(
            "maps-axes",
            f"{path} holds coil maps of shape {tuple(maps.shape)}",
            f"For {scan.path} they are (slice 1 or {slices}, coil {coils}, y, x) = images {scan.image_shape}",
            "Give the coil maps that belong to this k-space",
        )
    return replace(scan, maps=maps.expand(slices, -1, -1, -1).__getitem__, maps_path=str(path))


def _acquisition(path: Path, variable: str, text: Callable[[str], str | None]) -> Acquisition:
    """What our own files store of the acquisition; what they do not know, and all of others, from the names."""
    named = parse_name(path, variable if path.suffix.lower() == ".mat" else "")
    own = text("acquisition")
    if own is None and (stamp := text("provenance")) is not None:
        try:
            own = json.dumps(from_json(stamp).get("acquisition"))
        except InputError:  # of another program
            own = None
    return _completed(named, own)


def _completed(named: Acquisition, own: str | None) -> Acquisition:
    """What names tell, replaced by what a file of ours says in JSON."""
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
    array, _ = choose(contents(path, "mask")[0], "mask", path)
    return mask_of(array, path)


def read_images(path: str | Path) -> Tensor:
    """Images (frame, slice, y, x) complex64 or float32: ours, `img4ranking` of a submission, or `*_truth.npz`.

    Fewer axes: a MATLAB array lacks the last ones, (x, y, slice) or (x, y); a NumPy array of three axes is one
    slice, (frame, y, x).

    Raises
    ------
    InputError : the file cannot be read as images
    """
    path = as_path(path, "file")
    array, _ = choose(contents(path, "image")[0], "image", path)
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


def read_maps(path: str | Path) -> Tensor:
    """Coil maps (slice, coil, y, x) complex64 as stored: `.cfl`, or a variable `maps`, `coilmap` or
    `sensitivities`.

    An array of three axes is one slice, (coil, y, x). `coilmap` is that of 4-D flow, (coil, SPE,
    PE, FE), with slices along FE.

    Raises
    ------
    InputError : the file cannot be read as coil maps
    """
    path = as_path(path, "file")
    array, _ = choose(contents(path, "maps")[0], "maps", path)
    if not 3 <= len(array.shape) <= 4 or not array.is_complex:
        numbers = "complex" if array.is_complex else "real"
        raise InputError(
            "maps-axes",
            f"{path} has {numbers} numbers of shape {array.shown_shape} as coil maps",
            "Coil maps are complex and have the axes (slice, coil, y, x) or (coil, y, x)",
            "Store them like that",
        )
    values = torch.from_numpy(array.load(str(path)))
    if not bool(values.isfinite().all()) or not bool(values.any()):
        raise InputError(
            "maps-values",
            f"{path} holds NaN, infinity, or nothing but zeros as coil maps",
            "Coil maps are finite, and not zero everywhere",
            "Make them again, or leave them out: maps are then estimated",
        )
    if array.name == "coilmap":
        return values.reshape((-1, *values.shape)[-4:]).movedim(-1, 0).contiguous()
    return values.reshape((-1, *values.shape[-3:]))
