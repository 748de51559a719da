"""Reconstructions to score: their images, with the known facts about their scan."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from cmrrecon import formats
from cmrrecon.data import Acquisition, View
from cmrrecon.evaluation.references import acquisition_of, slices_of, view_of
from cmrrecon.tools.errors import InputError


@dataclass(frozen=True)
class Reconstruction:
    """Images to score, with the known facts about their scan.

    Attributes
    ----------
    images : Tensor of shape (frame, slice, y, x)
        Real or complex images.
    facts : Acquisition or None
        Facts about the scan, if any are known.
    slices : tuple of int or None
        Slice numbers within the scan. None: all slices.
    name : str
        Name in messages.
    view : View or None
        View of the encoded images. None: unknown, so the default view is assumed.
    """

    images: Tensor
    facts: Acquisition | None = None
    slices: tuple[int, ...] | None = None
    name: str = "The reconstruction"
    view: View | None = None


def open_reconstruction(path: Path, name: str) -> tuple[Reconstruction, dict[str, Any] | None]:
    """Read the images in a file, with the known facts about their scan.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        Name of the file in messages.

    Returns
    -------
    made : Reconstruction
        The images (frame, slice, y, x) and the facts.
    stamp : dict or None
        The provenance, if there is any.

    Raises
    ------
    InputError
        If the file cannot be read as images, or contains their uncertainty (`variable-kind`).
    """
    images, stamp = formats.read_images(path), formats.read_provenance(path)
    if stamp is not None and "quantity" in stamp:
        raise InputError(
            "variable-kind",
            f"{name} contains the {stamp['quantity']} of images",
            "A reconstruction was expected",
            "Use the file with the images themselves",
        )

    numbers = tuple(slices_of(stamp, images.shape[1]))
    made = Reconstruction(images, acquisition_of(path, stamp), numbers, name, view_of(stamp))
    return made, stamp


def is_uncertainty(path: Path) -> bool:
    """Return whether a file contains uncertainties; damaged files are reported later."""
    try:
        return "quantity" in (formats.read_provenance(path) or {})
    except InputError:
        return False


def of_result(images: Tensor, stamp: Mapping[str, Any] | None) -> Reconstruction:
    """Combine images with the facts about the scan in their provenance."""
    if stamp is None:
        return Reconstruction(images)
    facts = acquisition_of(Path(), stamp) if "acquisition" in stamp else None
    numbers = tuple(slices_of(stamp, images.shape[1]))
    return Reconstruction(images, facts, numbers, view=view_of(stamp))
