"""Finds out from a file's content whether it is a scan, a mask or images."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from cmrrecon.data import CartesianMask, Scan
from cmrrecon.formats import (
    cfl,
    fastmri,
    flow4d,
    hdf5,
    hdf5_access,
    ismrmrd,
    matlab5,
    numpy_files,
    twix,
    vendors,
)
from cmrrecon.formats.arrays import StoredArray
from cmrrecon.formats.complex_parts import joined
from cmrrecon.formats.variables import Kind, choose, matching
from cmrrecon.tools.errors import InputError
from cmrrecon.tools.files import first_bytes

SUFFIXES = (".mat", ".h5", ".npz", ".npy", ".cfl", ".mrd")  # of files with arrays
RAW_SUFFIXES = (".dat",)  # also used by other files, so their content is checked
HEAD = 8192  # bytes; enough to reach the HDF5 signature after the largest user block

Variables = Callable[[Path], dict[str, StoredArray]]
Text = Callable[[Path, str], str | None]
# Functions of each format: sniff, variables, text.
FORMATS: tuple[tuple[Callable[[bytes], bool], Variables, Text], ...] = (
    (hdf5_access.sniff, hdf5.variables, hdf5_access.text),
    (matlab5.sniff, matlab5.variables, matlab5.text),
    (numpy_files.sniff_npy, numpy_files.npy_variables, numpy_files.npy_text),
    (numpy_files.sniff_npz, numpy_files.npz_variables, numpy_files.npz_text),
)


@dataclass(frozen=True)
class RawFormat:
    """A format that stores a whole scan in its own layout, not as named arrays.

    Attributes
    ----------
    name : str
        Name of the format in messages.
    sniff : callable
        Takes a path and the first `HEAD` bytes; returns whether the file has this format.
    read : callable
        Takes a path; returns a Scan.
    read_dataset : callable or None
        Takes a path and the name of a data set; returns a Scan. None if data sets have no names.
    fit : callable
        Takes a mask from a file and the number of frames; returns the mask of all frames.
    """

    name: str
    sniff: Callable[[Path, bytes], bool]
    read: Callable[[Path], Scan]
    read_dataset: Callable[[Path, str], Scan] | None = None
    fit: Callable[[CartesianMask, int], CartesianMask] = lambda mask, frames: mask


RAW_FORMATS = (
    RawFormat("ISMRMRD", ismrmrd.sniff, ismrmrd.read, ismrmrd.read),
    RawFormat("fastMRI", fastmri.sniff, fastmri.read),
    RawFormat("Siemens twix", twix.sniff, twix.read),
    RawFormat("4-D flow", flow4d.sniff, flow4d.read, fit=flow4d.for_all_velocities),
)


def kind(path: str | Path) -> Literal["scan", "mask", "images", "times"]:
    """Return what a file contains, by the names of its variables; a `.csv` contains times.

    A single array without a known name is a scan if it is complex and either has five axes or is in
    a MATLAB file; otherwise it is images.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    {"scan", "mask", "images", "times"}
        The kind of content.

    Raises
    ------
    InputError
        If the file cannot be read, or contains none of these.
    """
    path = Path(path)
    if path.suffix.lower() == ".csv":
        return "times"
    if raw_format(path) is not None:
        return "scan"

    stored, _ = contents(path)
    if matching(stored, "kspace"):
        return "scan"
    if matching(stored, "image"):
        return "images"
    if matching(stored, "mask"):
        return "mask"

    array, _ = choose(stored, "kspace", path)
    return "scan" if array.is_complex and (array.name or len(array.shape) == 5) else "images"


def is_scan(path: str | Path) -> bool:
    """Return whether to read a file found in a folder as a scan.

    The result is True for damaged files, so that they are reported.
    """
    return _is(path, "scan")


def is_images(path: str | Path) -> bool:
    """Return whether to read a file found in a folder as images.

    The result is True for damaged files, so that they are reported.
    """
    return _is(path, "images")


def _is(path: str | Path, wanted: str) -> bool:
    suffix = Path(path).suffix.lower()
    if suffix in RAW_SUFFIXES:
        return wanted == "scan" and _is_raw(Path(path))
    if suffix not in SUFFIXES:
        return False
    try:
        return kind(path) == wanted
    except InputError as error:
        return error.code != "variable-kind"  # labels and coil maps are known content, not damage


def _is_raw(path: Path) -> bool:
    try:
        return raw_format(path) is not None
    except InputError:
        return False


def contents(
    path: Path, wanted: Kind | None = None
) -> tuple[dict[str, StoredArray], Callable[[str], str | None]]:
    """Return the arrays of a file, and a function to read its texts.

    Parameters
    ----------
    path : Path
        The file.
    wanted : {"kspace", "mask", "image", "maps", "label"} or None
        How to read the array of a cfl file, which has no name; None decides by its dimensions.

    Returns
    -------
    arrays : dict of str to StoredArray
        The arrays by name.
    text : callable
        Takes a name such as `geometry`; returns the text in the file, or None.

    Raises
    ------
    InputError
        If the file cannot be read, or has an unknown format (`file-format`).
    """
    if cfl.sniff(path):
        return cfl.variables(path, wanted), partial(cfl.text, path)

    head = first_bytes(path, HEAD)
    for sniff, variables, text in FORMATS:
        if sniff(head):
            return joined(variables(path)), partial(text, path)

    raise InputError(
        "file-format",
        f"The content of {path} is neither HDF5 (.h5, .mat v7.3), MATLAB 5 (.mat), .npy, .npz, "
        ".cfl nor twix (.dat)",
        "A complete file in one of these formats is needed",
        "Copy or export the file again (in MATLAB, use save -v7.3)",
    )


def raw_format(path: Path) -> RawFormat | None:
    """Return the raw format of a file; None if the file is not raw data.

    Raises
    ------
    InputError
        If the file cannot be read, or contains raw data in a vendor format that is not supported
        (`vendor-format`).
    """
    head = first_bytes(path, HEAD)
    found = next((format for format in RAW_FORMATS if format.sniff(path, head)), None)
    if found is None:
        vendors.refuse(path, head)
    return found
