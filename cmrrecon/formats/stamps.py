"""Reads the metadata that cmrrecon adds to its files: provenance and geometry."""

from pathlib import Path
from typing import Any

from cmrrecon.data import Geometry
from cmrrecon.formats import dicom, figures, nifti, pictures
from cmrrecon.formats.export import DICOM
from cmrrecon.formats.geometry import geometry_of
from cmrrecon.formats.kinds import HEAD, contents
from cmrrecon.tools.files import as_path, first_bytes
from cmrrecon.tools.provenance import from_json


def read_geometry(path: str | Path) -> Geometry | None:
    """Read the geometry from an image file written by cmrrecon; None if there is none.

    Raises
    ------
    InputError
        If the file or its provenance cannot be read.
    """
    return geometry_of((read_provenance(path) or {}).get("geometry"))


def read_provenance(path: str | Path) -> dict[str, Any] | None:
    """Read the provenance from a file written by cmrrecon; None if there is none.

    The provenance of a .npy file is stored next to it. DICOM may be a folder of images.

    Raises
    ------
    InputError
        If the file or its provenance cannot be read.
    """
    path = as_path(path, "file")
    text = _text(path)
    return from_json(text) if text is not None else None


def _text(path: Path) -> str | None:
    """Return the provenance as text."""
    if path.is_dir() and path.suffix.lower() == DICOM:
        return dicom.text(path)
    head = first_bytes(path, HEAD)
    for format_ in (pictures, figures, nifti, dicom):
        if format_.sniff(head):
            text: str | None = format_.text(path)
            return text
    return contents(path)[1]("provenance")
