"""Reads scans from files of any format."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

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
from cmrrecon.formats.names import is_full_folder, mask_path_for, parse_name
from cmrrecon.formats.reading_arrays import read_maps, read_mask
from cmrrecon.formats.steady import files_of, steady
from cmrrecon.formats.stored_facts import acquisition_from_json
from cmrrecon.formats.trajectories import spokes_of
from cmrrecon.formats.variables import choose, refuse_dataset
from cmrrecon.tools.errors import InputError, UsageError
from cmrrecon.tools.files import as_path, first_bytes
from cmrrecon.tools.provenance import from_json
from cmrrecon.tools.unchanged import Unchanged

# Beginning of the note on a missing mask, which is irrelevant if everything was measured.
NO_MASK = "No mask file found"
# `kspace`, the name of 2025, is not listed, because users call any k-space `kspace`.
ALWAYS_FULL = ("kspace_full", "kspace_single_full")


def read(
    path: str | Path,
    *,
    axes: str | None = None,
    mask: str | Path | None = None,
    dataset: str | None = None,
    maps: str | Path | None = None,
) -> Scan:
    """Read a scan from a k-space file.

    The file may be CMRxRecon `.mat` (v7.3 or v5) of 2023 to 2026, cmrrecon's `.h5`, `.npz` or
    `.npy`, BART's `.cfl`, or raw data in a format of `kinds.RAW_FORMATS`: ISMRMRD, Siemens twix,
    fastMRI. Slices are read on request; MATLAB 5 and `.npz` files are read as a whole at the first
    request.

    If `mask` is None, files that the challenge calls fully sampled, by their variable or folder,
    have no mask (`full_by_rule`). For other files, the mask comes from the file itself, or else
    from the official mask file next to it. If the file has arrays `trajectory` and `matrix`, the
    scan is non-Cartesian, see `Scan`; without a mask, all of its spokes count as measured.

    Parameters
    ----------
    path : str or Path
        The file.
    axes : str or None
        Names of the stored axes, such as `coil,y,x`, if they differ from the official layouts; in
        the order in which h5py (v7.3, .h5), SciPy (v5) or NumPy shows the array.
    mask : str, Path or None
        A mask file.
    dataset : str or None
        Name of the data set, for raw data files with several of them.
    maps : str, Path or None
        A file of coil maps, for `Scan.maps`.

    Returns
    -------
    Scan
        The scan.

    Raises
    ------
    InputError
        If the file cannot be read as k-space, or the coil maps do not fit it (`maps-axes`). Slices
        that are read after a file has changed are refused (`input-changed`).
    UsageError
        If the axes cannot be used (`axes-unknown`, `axes-fixed`), or if a data set is named
        although the format has no named data sets (`dataset-fixed`).
    """
    path = as_path(path, "file")
    before = Unchanged.of(files_of(path))
    raw = raw_format(path)
    if raw is None or raw.read_dataset is None:
        refuse_dataset(dataset, path)
    scan = _arrays(path, axes, mask) if raw is None else _raw(path, raw, axes, mask, dataset)
    return steady(scan if maps is None else _with_maps(scan, maps), before)


def _arrays(path: Path, axes: str | None, mask: str | Path | None) -> Scan:
    """Read the scan in a file of named arrays."""
    stored, text = contents(path, "kspace")
    array, notes = choose(stored, "kspace", path)
    _require_complex(array, path)
    acquisition = _acquisition(path, array.name, text)
    non_cartesian = "trajectory" in stored

    names, assumed = _axes(array, axes, acquisition.base, non_cartesian, str(path))
    reader = SliceReader(array, names)
    frames, _, coils, y, x = reader.shape
    check_size(reader.shape, 0, str(path))
    check_size((frames, coils, y, x), 8, f"A slice of {path}")

    full = _is_full(array, stored, path, acquisition.pattern)
    measured, mask_file = _mask_for(stored, path, full, mask)
    acquisition = _sampled_as(acquisition, mask_file)
    kept: SamplingMask | None = measured
    if non_cartesian:
        kept, of_unit = spokes_of(measured, y, stored, path)
        assumed += of_unit
    if kept is None and not full:
        assumed += (
            f"{NO_MASK} for {path}: samples that are non-zero in any coil count as measured.",
        )

    # In cmrrecon's own files, the centre of k-space was checked when they were written.
    ours = text("acquisition") is not None
    centred = reader if non_cartesian or ours else CentredReader(reader, str(path))
    scan = Scan(
        reader.shape,
        centred,
        kept,
        acquisition=acquisition,
        path=str(path),
        mask_path=mask_file,
        notes=notes + assumed,
        full_by_rule=full and mask is None and not non_cartesian,
    )

    if ours:
        scan = with_companions(scan, stored, path, own_mask=not mask_file)
    geometry = geometry_from_json(text("geometry") or "")
    return with_table(scan) if geometry is None else replace(scan, geometry=geometry)


def _require_complex(array: StoredArray, path: Path) -> None:
    if not array.is_complex:
        raise InputError(
            "kspace-real",
            f"{path} contains real numbers of shape {array.shown_shape}",
            "K-space must be complex",
            "Use the k-space file, not images or masks",
        )


def _axes(
    array: StoredArray, given: str | None, base: str, non_cartesian: bool, label: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the stored axes, and notes on what had to be assumed."""
    if given is not None:
        return named_axes(given, array, label), ()
    if not array.name and len(array.shape) != 5:
        raise InputError(
            "axes-unknown",
            f"{label} is an unnamed array of shape {array.shown_shape}",
            "K-space in .npy must have the axes (frame, slice, coil, y, x)",
            "Name the axes with --axes, for example --axes coil,y,x",
        )
    if non_cartesian and 2 <= len(array.shape) <= len(AXES):
        return AXES[-len(array.shape) :], ()
    return default_axes(array, base, label)


def _is_full(
    array: StoredArray, stored: dict[str, StoredArray], path: Path, pattern: str | None
) -> bool:
    """Return whether k-space counts as complete, by variable, folder or unmasked spokes."""
    if "mask" in stored:
        return pattern is None and array.name in ALWAYS_FULL
    in_full_folder = array.name == "kspace" and is_full_folder(path)
    return "trajectory" in stored or (
        pattern is None and (array.name in ALWAYS_FULL or in_full_folder)
    )


def _mask_for(
    stored: dict[str, StoredArray], path: Path, full: bool, given: str | Path | None
) -> tuple[CartesianMask | None, str]:
    """Return the mask of a scan, and the path of the mask file if it is separate.

    The mask is None if none is stored; what was measured is then found from the k-space.
    """
    mask_file = (
        Path(given)
        if given is not None
        else None
        if full or "mask" in stored
        else mask_path_for(path)
    )

    if mask_file is not None:
        return read_mask(mask_file), str(mask_file)
    if full:
        return None, ""
    return (mask_of(stored["mask"], path) if "mask" in stored else None), ""


def _sampled_as(known: Acquisition, mask_file: str) -> Acquisition:
    """Add pattern and R from the name of a mask file if the scan's own names lack them."""
    named = parse_name(mask_file) if mask_file else known
    if known.pattern is not None or named.pattern is None:
        return known
    return replace(known, pattern=named.pattern, acceleration=named.acceleration)


def _raw(
    path: Path, raw: RawFormat, axes: str | None, mask: str | Path | None, dataset: str | None
) -> Scan:
    """Read the scan in a file of raw data."""
    if axes is not None:
        raise UsageError(
            "axes-fixed",
            f"The axes {axes!r} were given for {path}",
            f"{raw.name} raw data state their own axes",
            "Omit --axes",
        )

    by_name = raw.read_dataset
    scan = raw.read(path) if dataset is None or by_name is None else by_name(path, dataset)
    if hdf5_access.sniff(first_bytes(path, HEAD)):  # cmrrecon may have written the file
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
    """Replace neutral values of a raw format by the JSON texts that cmrrecon adds to it."""
    known, geometry = (hdf5_access.text(path, name) for name in ("acquisition", "geometry"))
    return replace(
        scan,
        acquisition=_completed(scan.acquisition, known),
        geometry=scan.geometry if geometry is None else geometry_from_json(geometry),
    )


def _with_maps(scan: Scan, path: str | Path) -> Scan:
    """Add the coil maps in a file to a scan."""
    maps = read_maps(path)
    slices, coils = scan.shape[1:3]
    if maps.shape[0] not in (1, slices) or maps.shape[1:] != (coils, *scan.image_shape):
        raise InputError(
            "maps-axes",
            f"{path} contains coil maps of shape {tuple(maps.shape)}",
            f"For {scan.path} they must be (slice 1 or {slices}, coil {coils}, y, x), "
            f"where (y, x) are the images' {scan.image_shape}",
            "Use the coil maps that belong to this k-space",
        )
    return replace(scan, maps=maps.expand(slices, -1, -1, -1).__getitem__, maps_path=str(path))


def _acquisition(path: Path, variable: str, text: Callable[[str], str | None]) -> Acquisition:
    """Return the facts stated in the file, completed by facts from its names."""
    named = parse_name(path, variable if path.suffix.lower() == ".mat" else "")
    own = text("acquisition")

    if own is None and (stamp := text("provenance")) is not None:
        try:
            own = json.dumps(from_json(stamp).get("acquisition"))
        except InputError:  # written by another program
            own = None
    return _completed(named, own)


def _completed(named: Acquisition, own: str | None) -> Acquisition:
    """Override facts from names by the facts that the file states in JSON."""
    stored = asdict(acquisition_from_json(own)) if own else {}
    known = {
        key: value
        for key, value in stored.items()
        if value is not None and (key, value) != ("base", Acquisition.base)
    }
    return replace(named, **known)
