"""Writes files; the suffix of the file name selects the format."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from cmrrecon.data import Geometry, Scan, SpokeMask
from cmrrecon.formats import (
    cfl,
    dicom,
    hdf5,
    ismrmrd_output,
    matlab,
    matlab5,
    nifti,
    numpy_files,
    pictures,
)
from cmrrecon.formats.export import DICOM, NIFTI, PLAIN, Export, Part, beside_path
from cmrrecon.formats.names import suffix_of
from cmrrecon.formats.placement import affine_of, placement_of
from cmrrecon.tools.arrays import as_tensor
from cmrrecon.tools.errors import UsageError
from cmrrecon.tools.files import as_path

SCAN_WRITERS: dict[str, Callable[..., None]] = {
    ".mat": matlab.write_scan,
    ".h5": hdf5.write_scan,
    ".npz": numpy_files.write_scan,
    ".npy": numpy_files.write_scan,
    ".cfl": cfl.write_scan,
    ".mrd": ismrmrd_output.write_scan,
}
IMAGE_WRITERS: dict[str, Callable[..., None]] = {
    ".h5": hdf5.write_images,
    ".mat": matlab5.write_images,
    ".npz": numpy_files.write_images,
    ".npy": numpy_files.write_images,
    ".cfl": cfl.write_images,
    ".png": pictures.write_png,
    ".gif": pictures.write_gif,
    ".nii": nifti.write_images,
    ".nii.gz": nifti.write_images,
    ".dcm": dicom.write_images,
}
PLACED = (*NIFTI, DICOM)


def write(
    path: str | Path, content: Scan | Tensor | Any, provenance: Mapping[str, Any] | None = None
) -> None:
    """Write a scan or images; the suffix selects the format.

    To write a `Result`, use `Result.save`.

    Parameters
    ----------
    path : str or Path
        `.mat`, `.h5`, `.npz`, `.npy` or `.cfl`; for a scan also `.mrd` (ISMRMRD); for images also
        `.png`, `.gif`, `.nii`, `.nii.gz` (NIfTI) and `.dcm` (a folder of DICOM images).
    content : Scan, or Tensor or ndarray of shape (frame, slice, y, x)
        The scan, or real or complex images.
    provenance : mapping or None
        JSON values to store in the file.

    Raises
    ------
    UsageError
        If the suffix is unknown (`output-format`), or the images are not an array with four axes
        (`array-type`, `images-axes`).
    OutputError
        If the file cannot be written.
    """
    target = as_path(path, "output")
    if isinstance(content, Scan):
        write_scan(target, content, provenance)
        return

    images = as_tensor(content, "content", "of images (frame, slice, y, x), or a Scan,")
    if images.ndim != 4:
        raise UsageError(
            "images-axes",
            f"The images have shape {tuple(images.shape)}",
            "There must be four axes (frame, slice, y, x)",
            "Add the missing axes of length 1, in that order",
        )
    write_images(target, images.unbind(1), provenance)


def write_scan(
    path: str | Path,
    scan: Scan,
    provenance: Mapping[str, Any] | None = None,
    *,
    variable: str | None = None,
    images: Sequence[Tensor] | None = None,
) -> None:
    """Write a scan, slice by slice if the format allows.

    The formats are `.mat` (v7.3, official layout), `.h5`, `.npz`, `.npy`, `.cfl` and `.mrd`
    (ISMRMRD). `.mat`, `.npy` and `.cfl` do not store the mask.

    Parameters
    ----------
    path : str or Path
        The output.
    scan : Scan
        The scan.
    provenance : mapping or None
        JSON values to store in the file.
    variable : str or None
        Name of the k-space variable in a `.mat` file; None for the official name.
    images : sequence over slices of Tensor of shape (frame, y, x), or None
        Reference images to store in a `.h5` file; they are read after the last slice of k-space.

    Raises
    ------
    OutputError
        If the file cannot be written.
    UsageError
        If the suffix is unknown (`output-format`).
    """
    path = Path(path)
    write = _by_suffix(path, SCAN_WRITERS, "a scan")
    if write is matlab.write_scan:
        write = partial(write, variable=variable)

    if isinstance(scan.mask, SpokeMask):
        _by_suffix(
            path,
            {suffix: SCAN_WRITERS[suffix] for suffix in (".h5", ".npz")},
            "k-space along a trajectory",
        )

    if images is not None:
        write = partial(
            _by_suffix(path, {".h5": hdf5.write_scan}, "a scan with images"), images=images
        )

    write(path, scan, provenance)


def write_mask(
    path: str | Path, mask: Tensor, x: int, provenance: Mapping[str, Any] | None = None
) -> None:
    """Write a mask as an official `.mat` (v7.3) file or as `.cfl`.

    Parameters
    ----------
    path : str or Path
        The output.
    mask : Tensor of shape (frame|1, y, x|1), bool
        The measured samples.
    x : int
        Number of readout samples.
    provenance : mapping or None
        JSON values to store in the file.

    Raises
    ------
    OutputError
        If the file cannot be written.
    UsageError
        If the suffix is unknown (`output-format`).
    """
    path = Path(path)
    writers = {".mat": matlab.write_mask, ".cfl": cfl.write_mask}
    _by_suffix(path, writers, "a mask")(path, mask, x, provenance)


def write_maps(
    path: str | Path, maps: Sequence[Tensor] | Tensor, provenance: Mapping[str, Any] | None = None
) -> None:
    """Write coil maps, a sequence over slices of (coil, y, x) complex64, as `.cfl`.

    `Result.maps` is such a sequence.

    Raises
    ------
    OutputError
        If the file cannot be written.
    UsageError
        If the suffix is unknown (`output-format`).
    """
    path = Path(path)
    _by_suffix(path, {".cfl": cfl.write_maps}, "coil maps")(path, maps, provenance)


def write_truth(
    path: str | Path, image: Tensor, maps: Tensor, provenance: Mapping[str, Any] | None = None
) -> None:
    """Write the noise-free truth of a simulated scan as `.npz`.

    Parameters
    ----------
    path : str or Path
        The output.
    image : Tensor of shape (frame, slice, y, x), complex64
        The true images.
    maps : Tensor of shape (coil, y, x), complex64
        The true coil maps.
    provenance : mapping or None
        JSON values to store in the file.

    Raises
    ------
    OutputError
        If the file cannot be written.
    UsageError
        If the suffix is unknown (`output-format`).
    """
    path = Path(path)
    _by_suffix(path, {".npz": numpy_files.write_truth}, "a truth")(path, image, maps, provenance)


def check_suffix(path: str | Path, what: Literal["a scan", "images"]) -> None:
    """Refuse an output name with an unknown suffix before any work is done.

    Parameters
    ----------
    path : str or Path
        The output.
    what : {"a scan", "images"}
        The content to be written.

    Raises
    ------
    UsageError
        If the suffix is unknown for this content (`output-format`).
    """
    _by_suffix(Path(path), SCAN_WRITERS if what == "a scan" else IMAGE_WRITERS, what)


def write_images(
    path: str | Path,
    images: Sequence[Tensor] | Tensor,
    provenance: Mapping[str, Any] | None = None,
    *,
    export: Export = PLAIN,
    part: Part = "magnitude",
) -> None:
    """Write images in the format that the suffix selects.

    The formats are `.h5`, `.mat` (`img4ranking`), `.npz`, `.npy`, `.cfl`, `.png`, `.gif`, `.nii`,
    `.nii.gz` (NIfTI) and `.dcm` (DICOM).

    Parameters
    ----------
    path : str or Path
        The output.
    images : sequence over slices of Tensor of shape (frame, y, x)
        Images, complex or real, read slice by slice. A tensor (slice, frame, y, x) is such a
        sequence.
    provenance : mapping or None
        JSON values to store in the file, or next to it for .npy. NIfTI and DICOM place the images
        by its `geometry`.
    export : Export
        Options of NIfTI and DICOM files.
    part : {"magnitude", "phase", "complex"}
        What to write to NIfTI and DICOM files; other formats have a fixed content.

    Raises
    ------
    OutputError
        If the file cannot be written.
    UsageError
        If the suffix is unknown (`output-format`), or the format cannot hold these images
        (`slices-not-stacked`, `phase-missing`).
    NumericalError
        If images with NaN or infinity are to be written as DICOM (`result-not-finite`).
    """
    path = Path(path)
    write = _by_suffix(path, IMAGE_WRITERS, "images")
    if suffix_of(path) in PLACED:
        write = partial(write, export=export, part=part)
    write(path, images, provenance)


def check_export(
    path: Path, geometry: Geometry | None, shape: tuple[int, ...], export: Export
) -> None:
    """Refuse an output that could not be written in the end, before any work is done.

    Parameters
    ----------
    path : Path
        The output.
    geometry : Geometry or None
        Geometry of the images.
    shape : tuple of int
        Shape of the images, (frame, slice, y, x).
    export : Export
        Options of NIfTI and DICOM files.

    Raises
    ------
    UsageError
        If the options do not fit (see `Export.check`), or a NIfTI file cannot hold these slices
        (`slices-not-stacked`).
    OutputError
        If a folder with files of other programs would be replaced (`output-foreign`).
    """
    check_suffix(path, "images")
    export.check(path)
    if suffix_of(path) in NIFTI:
        affine_of(placement_of(geometry, shape, export.voxel_mm))
    if suffix_of(path) == DICOM:
        beside = [] if export.also is None else [beside_path(path, export.also)]
        for folder in (path, *beside):
            dicom.check_replaceable(folder)


def _by_suffix(
    path: Path, writers: Mapping[str, Callable[..., None]], what: str
) -> Callable[..., None]:
    """Return the writer for the suffix of a path."""
    suffix = suffix_of(path)
    writer = writers.get(suffix)
    if writer is None:
        raise UsageError(
            "output-format",
            f"The suffix {suffix or '(none)'} of {path.name} is not supported for {what}",
            f"Supported suffixes are {', '.join(writers)}",
            "Use a file name with one of these suffixes",
        )
    return writer
