"""Writes images as NIfTI-1 with nibabel, and reads the provenance from such files.

Axes are (x, y, slice, frame); a single frame has no frame axis. The provenance is a header
extension of the kind "comment".
"""

import gzip
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from torch import Tensor

from cmrrecon.formats.export import PLAIN, Export, Part
from cmrrecon.formats.geometry import geometry_of
from cmrrecon.formats.names import suffix_of
from cmrrecon.formats.packages import optional
from cmrrecon.formats.parts import stack_part
from cmrrecon.formats.placement import Placement, affine_of, placement_of
from cmrrecon.tools.atomic import atomic
from cmrrecon.tools.errors import InputError
from cmrrecon.tools.provenance import NOTICE, to_json

COMMENT = 6  # code of a header extension with text
SCANNER, ALIGNED = 1, 2  # codes of known and of assumed coordinates
MAGIC = b"n+1\0"
MAGIC_AT = 344
COMPRESSION = 3  # the noise of images hardly becomes smaller at higher levels


def sniff(head: bytes) -> bool:
    """Return whether a file that begins with these bytes is NIfTI-1, possibly compressed."""
    if head.startswith(b"\x1f\x8b"):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, MAGIC_AT + 4)
        except zlib.error:
            return False
    return head[MAGIC_AT : MAGIC_AT + 4] == MAGIC


def text(path: Path) -> str | None:
    """Return the provenance stored in a NIfTI file, or None.

    Raises
    ------
    InputError
        If the file is damaged (`file-damaged`).
    UsageError
        If nibabel is not installed (`package-missing`).
    """
    nibabel = optional("nibabel", "nifti", f"{path} is a NIfTI file")

    try:
        header = nibabel.load(path).header
        for extension in header.extensions:
            content = extension.get_content()
            if isinstance(content, bytes):
                content = content.decode("ascii", errors="replace")
            if isinstance(content, str) and content.startswith("{"):
                return content.rstrip("\0")

    # nibabel raises these errors for damaged files; some come from gzip.
    except (
        nibabel.filebasedimages.ImageFileError,
        nibabel.spatialimages.HeaderDataError,
        OSError,
        ValueError,
        EOFError,
        zlib.error,
    ) as error:
        raise InputError(
            "file-damaged",
            f"{path} is damaged",
            "A complete NIfTI file is needed",
            "Make the file again",
        ) from error
    return None


def write_images(
    path: Path,
    images: Sequence[Tensor],
    provenance: Mapping[str, Any] | None = None,
    *,
    export: Export = PLAIN,
    part: Part = "magnitude",
) -> None:
    """Write images as NIfTI-1, with their place in the patient.

    Parameters
    ----------
    path : Path
        The output, `.nii` or `.nii.gz`.
    images : sequence over slices of Tensor of shape (frame, y, x)
        Images, complex or real.
    provenance : mapping or None
        JSON values to store in the file; `geometry` is the geometry of the images.
    export : Export
        The voxel size of images without one.
    part : {"magnitude", "phase", "complex"}
        What to write; the phase is in radians.

    Raises
    ------
    UsageError
        If the slices are not parallel and equally spaced (`slices-not-stacked`), the images have no
        phase (`phase-missing`), or nibabel is not installed (`package-missing`).
    OutputError
        If the file cannot be written.
    """
    nibabel = optional("nibabel", "nifti", "The output is a NIfTI file")
    stack = stack_part(images, part)
    placement = placement_of(
        geometry_of((provenance or {}).get("geometry")), stack.shape, export.voxel_mm
    )
    order, affine = affine_of(placement)

    # From (frame, slice, y, x) to (x, y, slice, frame).
    values = stack[:, order].transpose()
    image = nibabel.Nifti1Image(values[..., 0] if len(stack) == 1 else values, affine)
    _describe(image, affine, placement)
    if provenance is not None:
        content = to_json(provenance).encode()
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(COMMENT, content))

    with atomic(path) as temporary, ExitStack() as stack_of_files:
        file: IO[bytes] = stack_of_files.enter_context(open(temporary, "wb"))
        if suffix_of(path) == ".nii.gz":
            # Without a name and a time, equal images become equal files.
            zipped = gzip.GzipFile("", "wb", COMPRESSION, file, mtime=0)
            file = cast(IO[bytes], stack_of_files.enter_context(zipped))
        image.to_stream(file)


def _describe(image: Any, affine: np.ndarray[Any, Any], placement: Placement) -> None:
    """Set units, times and the meaning of the coordinates in the header."""
    header = image.header
    header["descrip"] = NOTICE.encode()
    code = SCANNER if placement.known else ALIGNED
    image.set_sform(affine, code)

    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    # A quaternion cannot describe a sheared stack.
    skewed = np.abs(axes.T @ axes - np.eye(3)).max() > 1e-3
    image.set_qform(affine, 0 if skewed else code)

    step = placement.step_ms
    header.set_xyzt_units("mm", None if step is None else "sec")
    if image.ndim == 4:
        header.set_zooms((*header.get_zooms()[:3], 0.0 if step is None else step / 1000))
