"""Label maps, which assign each pixel of an image to a region.

They are read from `.npy`, `.npz`, `.mat`, `.h5`, `.png` or NIfTI files. Labels are whole numbers,
with 0 for unlabelled pixels. Axes are (y, x), (slice, y, x) or (frame, slice, y, x), as in images;
a single slice over time may be (frame, y, x). MATLAB and NIfTI list the axes in the opposite order,
(x, y, slice, frame). The affine matrix of a NIfTI file is ignored, as in the challenge's program.
"""

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cmrrecon.data import Acquisition
from cmrrecon.formats import pictures
from cmrrecon.formats.arrays import check_size
from cmrrecon.formats.bombs import is_bomb
from cmrrecon.formats.kinds import FORMATS, HEAD
from cmrrecon.formats.names import parse_name
from cmrrecon.formats.packages import optional
from cmrrecon.formats.variables import choose
from cmrrecon.tools.errors import InputError
from cmrrecon.tools.files import first_bytes

NIFTI = (".nii", ".nii.gz")
SUFFIXES = (".npy", ".npz", ".mat", ".h5", ".png", *NIFTI)
ENDING = "_label"
GREY_MODES = ("1", "L", "P", "I", "I;16")
LARGEST_LABEL = 65535
ROUNDING = 1e-3
MOST_PIXELS = 1 << 24  # of a picture
MOST_EXTRA, PIECE = 1 << 24, 1 << 20  # bytes beside the numbers of a file; of a step
MILLIMETRES = {"meter": 1000.0, "micron": 0.001}  # of the units in a NIfTI header


def read_label_map(path: Path) -> Tensor:
    """Read the labels in a file, keeping its axes.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Tensor of shape (y, x), (slice or frame, y, x) or (frame, slice, y, x), int64
        The labels.

    Raises
    ------
    InputError
        If the file cannot be read (`file-format`, `file-damaged`), or is not an array of whole
        numbers from 0 to 65535 with two to four axes (`labels-values`).
    UsageError
        If the file is NIfTI and nibabel is not installed (`package-missing`).
    """
    values = _nifti(path) if path.name.lower().endswith(NIFTI) else _array(path)
    if not (2 <= values.ndim <= 4 and _are_labels(values)):
        raise InputError(
            "labels-values",
            f"{path} contains an array of shape {values.shape} that is not a label map",
            f"Labels are whole numbers from 0 to {LARGEST_LABEL} with the axes (y, x), "
            "(slice, y, x) or (frame, slice, y, x)",
            "Use a label map, or a labels.csv with boxes",
        )
    return torch.from_numpy(values.astype(np.int64))


def voxel_of(path: Path) -> tuple[float, float, float] | None:
    """Return the size of a voxel (y, x, slice) in mm that a NIfTI file states; None without one.

    Parameters
    ----------
    path : Path
        A label map that `read_label_map` has read.

    Returns
    -------
    (float, float, float) or None
        The sizes; None for other formats, and if the file has no third axis.
    """
    if not path.name.lower().endswith(NIFTI):
        return None

    header = optional("nibabel", "nifti", f"{path} is a NIfTI file").load(path).header
    sizes = [float(size) for size in header.get_zooms()[:3]]
    factor = MILLIMETRES.get(header.get_xyzt_units()[0], 1.0)
    if len(sizes) < 3 or not all(np.isfinite(size) and size > 0 for size in sizes):
        return None
    x, y, z = (factor * size for size in sizes)
    return y, x, z


def lay_over(
    labels: Tensor, shape: tuple[int, ...], numbers: Sequence[int], scan: Sequence[int], name: str
) -> Tensor:
    """Arrange labels to match the images that they belong to.

    Parameters
    ----------
    labels : Tensor of int64
        Labels as returned by `read_label_map`, for all slices of the scan or only for the slices of
        the images. Labels without a slice axis apply to all slices.
    shape : tuple of int
        Shape of the images, (frame, slice, y, x).
    numbers : sequence of int
        Slice numbers of the images.
    scan : sequence of int
        Slice numbers of the whole scan.
    name : str
        Name of the labels in messages.

    Returns
    -------
    Tensor of shape (frame|1, slice, y, x), int64
        The labels of the images' slices.

    Raises
    ------
    InputError
        If the labels do not fit the images (`shape-mismatch`), or if no pixel of these slices is
        labelled (`labels-empty`).
    """
    y, x = shape[2:]
    if labels.shape[-2:] != (y, x):
        swapped = labels.shape[-2:] == (x, y)
        remedy = (
            "The map seems to be transposed: store y before x"
            if swapped
            else "Draw the labels on images of this matrix size"
        )
        raise _misfit(
            labels, shape, name, f"Its last two axes must have {y} and {x} pixels", remedy
        )

    placed = _placed(labels, shape, numbers, scan, name)
    if not bool(placed.any()):
        raise InputError(
            "labels-empty",
            f"The label map {name} is 0 in all slices of the images",
            "At least one pixel must have a label",
            "Use the label map of these slices",
        )
    return placed


def _placed(
    labels: Tensor, shape: tuple[int, ...], numbers: Sequence[int], scan: Sequence[int], name: str
) -> Tensor:
    """Arrange the labels as (frame|1, slice, y, x), as in `lay_over`."""
    frames, slices = shape[:2]
    if labels.ndim == 2:
        return labels.expand(1, slices, *labels.shape)

    over_time = (
        labels.ndim == 3
        and slices == 1
        and len(labels) == frames
        and len(labels) not in (1, len(scan))
    )

    stack = labels if labels.ndim == 4 else labels[:, None] if over_time else labels[None]
    if len(stack) not in (1, frames) or stack.shape[1] not in (slices, len(scan)):
        expected = (
            f"It must have {slices} or {len(scan)} slices, and no frame axis or as many frames as "
            "the images"
        )
        raise _misfit(
            labels, shape, name, expected, "Store the labels of each slice once, as (slice, y, x)"
        )
    return stack[:, [scan.index(z) for z in numbers]] if stack.shape[1] == len(scan) else stack


def _misfit(
    labels: Tensor, shape: tuple[int, ...], name: str, expected: str, remedy: str
) -> InputError:
    found = (
        f"The label map {name} has shape {tuple(labels.shape)}, but the images have "
        f"{tuple(shape)} (frame, slice, y, x)"
    )
    return InputError("shape-mismatch", found, expected, remedy)


def scan_of(path: Path) -> Acquisition:
    """Identify the scan of a label map from its path, such as `.../P001/T1map_label.nii.gz`."""
    # The official labels are in the folder tree of single-coil data but also apply to multi-coil
    # data.
    return replace(parse_name(path.with_name(bare_name(path))), coil=None)


def bare_name(path: Path) -> str:
    """Return the name of a label map without suffix and without `_label`."""
    return _stem(path).removesuffix(ENDING)


def is_label_map(path: Path) -> bool:
    """Return whether a file is named like a label map, `<base>_label`."""
    return path.name.lower().endswith(SUFFIXES) and _stem(path).endswith(ENDING) and path.is_file()


def _are_labels(values: NDArray[Any]) -> bool:
    """Return whether an array contains only labels; NaN is not a label."""
    return values.dtype.kind in "biuf" and bool(
        ((values >= 0) & (values <= LARGEST_LABEL) & (np.floor(values) == values)).all()
    )


def _stem(path: Path) -> str:
    """Return the file name without its suffix; `.nii.gz` counts as one suffix."""
    return path.with_suffix("").stem if path.name.lower().endswith(NIFTI[1]) else path.stem


def _array(path: Path) -> NDArray[Any]:
    """Read the array in a picture or a file of arrays, slowest axis first."""
    head = first_bytes(path, HEAD)
    if pictures.sniff(head):
        return _picture(path)
    for sniff, variables, _ in FORMATS:
        if sniff(head):
            stored, _ = choose(variables(path), "label", path)
            return stored.load(str(path))
    raise _no_label_map("file-format", path)


def _picture(path: Path) -> NDArray[Any]:
    """Read the pixels (y, x) of a grey-scale picture."""
    try:
        pictures.check_chunks(path)
        with Image.open(path) as picture:
            if picture.mode not in GREY_MODES:
                raise InputError(
                    "labels-values",
                    f"{path} is a colour picture ({picture.mode})",
                    "A picture of labels must have one channel",
                    "Save the label numbers as grey values",
                )
            if picture.width * picture.height > MOST_PIXELS:
                raise ValueError("it declares more pixels than a label map has")
            return np.asarray(picture)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise _no_label_map("file-damaged", path) from error


def _nifti(path: Path) -> NDArray[Any]:
    """Read the array in a NIfTI file, transposed so that the slowest axis is first."""
    nibabel = optional("nibabel", "nifti", f"{path} is a NIfTI file")
    try:
        first_bytes(path, HEAD)
        image = nibabel.load(path)
        check_size(image.shape, 8, str(path))
        declared = prod(image.shape) * image.get_data_dtype().itemsize
        if is_bomb(declared, path.stat().st_size):
            raise ValueError("it declares more than it can contain")

        values = _rounded(np.asarray(image.dataobj).T)
        if path.name.lower().endswith(NIFTI[1]):
            _check_end(path, declared)
        return values
    # nibabel raises these errors for damaged files; some come from gzip.
    except (
        nibabel.filebasedimages.ImageFileError,
        nibabel.spatialimages.HeaderDataError,
        OSError,
        ValueError,
        EOFError,
        zlib.error,
    ) as error:
        raise _no_label_map("file-damaged", path) from error


def _check_end(path: Path, declared: int) -> None:
    """Read a gzip file to its end, where the checksum is; nibabel stops after the numbers."""
    with gzip.open(path) as file:
        left = declared + MOST_EXTRA
        while piece := file.read(PIECE):
            left -= len(piece)
            if left < 0:
                raise ValueError("it is longer than it declares")


def _rounded(values: NDArray[Any]) -> NDArray[Any]:
    """Round values that are all within `ROUNDING` of integers: a header slope leaves 1.00000002."""
    if not np.issubdtype(values.dtype, np.floating):
        return values

    nearest = np.rint(values)
    return nearest if np.all(np.abs(values - nearest) <= ROUNDING) else values


def _no_label_map(code: str, path: Path) -> InputError:
    return InputError(
        code,
        f"{path} cannot be read as a label map",
        f"A complete file of one of these formats is needed: {', '.join(SUFFIXES)}, or labels.csv",
        "Copy or save the file again",
    )
