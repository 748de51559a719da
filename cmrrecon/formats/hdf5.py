"""cmrrecon's own .h5 format for scans and images, written slice by slice.

A scan has `kspace` and optionally `mask` and `image`. The layout is

- root attributes `cmrrecon_format` (1), and `acquisition`, `geometry` and `provenance` (JSON);
- `kspace` (frame, slice, coil, y, x) complex64;
- `mask` (frame|1, y, x|1) uint8;
- `image` (frame, slice, y, x) complex64 or float32; in a scan, these are reference images.

Non-Cartesian k-space (frame, slice, coil, spoke, sample) additionally has a dataset `trajectory`
(frame|1, spoke, sample, 2) float32, positions (y, x) in cycles per field of view, and a root
attribute `matrix` (y, x). Noise, separate calibration, coil maps and averages are described in
`companions`.

Each chunk is one frame of one slice, uncompressed for speed; all parts of the file have checksums.
Complex numbers are compounds with the fields `real` and `imag`, which MATLAB and Octave understand.
Files with h5py's fields `r` and `i`, written by early versions of cmrrecon, can be read as well.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cmrrecon.data import Scan, SpokeMask
from cmrrecon.formats import hdf5_access
from cmrrecon.formats.arrays import COMPLEX_SINGLE, StoredArray
from cmrrecon.formats.companions import companions_of
from cmrrecon.formats.geometry import geometry_to_json
from cmrrecon.formats.hdf5_output import Hdf5Output, created
from cmrrecon.formats.stored_facts import acquisition_to_json
from cmrrecon.formats.tensors import image_array
from cmrrecon.tools.atomic import atomic
from cmrrecon.tools.errors import InputError

FORMAT = 1
# This version of the HDF5 file format adds a checksum to every structure.
OPTIONS = {"libver": ("v110", "v110")}


def variables(path: Path) -> dict[str, StoredArray]:
    """Return the numeric arrays at the root of an HDF5 file, including the attribute `matrix`.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    dict of str to StoredArray
        The arrays by name, see `hdf5_access.variables`.

    Raises
    ------
    InputError
        As in `hdf5_access.variables`, or if the file has a newer version of this layout
        (`file-version`).
    """
    version = hdf5_access.numbers(path, "cmrrecon_format")
    if version > (FORMAT,):
        raise InputError(
            "file-version",
            f"{path} has layout version {version[0]} of cmrrecon's .h5 format",
            f"This version of cmrrecon reads layouts up to {FORMAT}",
            "Update cmrrecon",
        )

    stored = hdf5_access.variables(path)
    matrix = (
        np.array(hdf5_access.numbers(path, "matrix")) if "trajectory" in stored else np.array([])
    )
    return stored | (
        {"matrix": StoredArray("matrix", matrix.shape, False, matrix.__getitem__)}
        if matrix.size
        else {}
    )


def write_scan(
    path: Path,
    scan: Scan,
    provenance: Mapping[str, Any] | None = None,
    images: Sequence[Tensor] | None = None,
) -> None:
    """Write a scan, optionally with reference images.

    Parameters
    ----------
    path : Path
        The output.
    scan : Scan
        The scan, read slice by slice.
    provenance : mapping or None
        JSON values to store with it.
    images : sequence over slices of Tensor of shape (frame, y, x), or None
        Reference images, complex or real.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    with atomic(path) as temporary, created(temporary, **OPTIONS) as output:
        with output.storing():
            _write_head(output, provenance)
            output.set_text("acquisition", acquisition_to_json(scan.acquisition))
            if scan.geometry is not None:
                output.set_text("geometry", geometry_to_json(scan.geometry))

            coils, y, x = scan.shape[2:]
            kspace = output.file.create_dataset(
                "kspace", scan.shape, COMPLEX_SINGLE, chunks=(1, 1, coils, y, x), fletcher32=True
            )

            if scan.mask is not None:
                mask = scan.mask.samples.cpu().numpy().astype("u1")
                output.file.create_dataset("mask", data=mask, chunks=mask.shape, fletcher32=True)
            if isinstance(scan.mask, SpokeMask):
                trajectory = scan.mask.trajectory.positions.cpu().numpy()
                output.file.create_dataset(
                    "trajectory",
                    data=trajectory,
                    chunks=(1, *trajectory.shape[1:]),
                    fletcher32=True,
                )
                output.file.attrs["matrix"] = scan.mask.trajectory.matrix

            for name, values in companions_of(scan).items():
                output.file.create_dataset(
                    name, data=_as_stored(values), chunks=(1, *values.shape[1:]), fletcher32=True
                )

        for index in range(scan.shape[1]):
            series = _as_stored(scan.read_slice(index).cpu().numpy())
            with output.storing():
                kspace[:, index] = series

        if images is not None:
            _write_images(output, images)


def write_images(
    path: Path, images: Sequence[Tensor], provenance: Mapping[str, Any] | None = None
) -> None:
    """Write images, a sequence over slices of (frame, y, x), complex or real, one slice at a time.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    with atomic(path) as temporary, created(temporary, **OPTIONS) as output:
        with output.storing():
            _write_head(output, provenance)
        _write_images(output, images)


def _as_stored(values: NDArray[Any]) -> NDArray[Any]:
    """Convert complex numbers to compounds; leave other numbers unchanged."""
    if values.dtype.kind != "c":
        return values
    return np.ascontiguousarray(values, np.complex64).view(COMPLEX_SINGLE)


def _write_head(output: Hdf5Output, provenance: Mapping[str, Any] | None) -> None:
    output.file.attrs["cmrrecon_format"] = FORMAT
    output.set_provenance(provenance)


def _write_images(output: Hdf5Output, images: Sequence[Tensor]) -> None:
    dataset = None
    for index in range(len(images)):
        image = _as_stored(image_array(images[index]))
        frames, y, x = image.shape
        with output.storing():
            if dataset is None:
                shape = (frames, len(images), y, x)
                dataset = output.file.create_dataset(
                    "image", shape, image.dtype, chunks=(1, 1, y, x), fletcher32=True
                )
            dataset[:, index] = image
