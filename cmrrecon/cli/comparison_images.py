"""Read images that were made earlier or by other programs, for columns of `cmrrecon compare`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cmrrecon.tools.errors import InputError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from cmrrecon.data import Scan


@dataclass(frozen=True)
class FileImages:
    """Images of one slice, read from a file.

    Attributes
    ----------
    path : Path
        The file.
    magnitude : Tensor of shape (frame, y, x)
        Magnitude images.
    """

    path: Path
    magnitude: "Tensor"


def named_files(texts: Sequence[str], used: Collection[str]) -> dict[str, Path]:
    """Return the files of `--images NAME=FILE` by name.

    Parameters
    ----------
    texts : sequence of str
        Values of the option.
    used : collection of str
        Names of the other columns.

    Raises
    ------
    UsageError
        If a text is not NAME=FILE (`option-value`), or two columns share a name
        (`name-repeated`).
    InputError
        If a file does not exist (`file-missing`).
    """
    files: dict[str, Path] = {}

    for text in texts:
        name, equals, file = (part.strip() for part in text.partition("="))
        if not (name and equals and file):
            raise UsageError(
                "option-value",
                f"--images was given {text!r}",
                "It needs a name and a file, as NAME=FILE",
                "For example, write --images bart=bart.cfl",
            )
        if name in files or name in used:
            raise UsageError(
                "name-repeated",
                f"Two columns are called {name!r}",
                "Each column of a figure needs its own name",
                "Choose another name for the images with --images NAME=FILE",
            )

        files[name] = Path(file)
        if not files[name].exists():
            raise InputError(
                "file-missing",
                f"The image file {file} does not exist",
                "--images needs an existing file",
                "Check the path",
            )
    return files


def read_file_images(path: Path, scan: "Scan", index: int) -> FileImages:
    """Read the images of one slice from a file and check them against the scan.

    Parameters
    ----------
    path : Path
        File with images of all slices or of this slice only.
    scan : Scan
        The scan that the images must belong to.
    index : int
        Number of the slice.

    Raises
    ------
    InputError
        If the images do not match the shape of the scan (`shape-mismatch`), lack the slice
        (`slice-missing`), belong to another scan (`images-mismatch`), contain NaN or infinity
        (`images-not-finite`) or are zero everywhere (`images-flat`).
    """
    from cmrrecon.data import View
    from cmrrecon.evaluation.reconstructions import open_reconstruction

    made, stamp = open_reconstruction(path, str(path))
    images = made.images
    _check_scan(path, scan, stamp)
    images = images[:, _position(path, images.shape[1], scan.shape[1], index, stamp)]

    frames, _, _, y, x = scan.shape
    expected = (frames, *View().size(scan.geometry, (y, x)))
    if tuple(images.shape) != expected:
        raise InputError(
            "shape-mismatch",
            f"{path} has images of shape {tuple(images.shape)} (frame, y, x)"
            + (", in another view" if made.view != View() else ""),
            f"Images of this scan have shape {expected}",
            "Use images of this scan with all frames and the same field of view",
        )

    magnitude = images.abs().float()
    if not bool(magnitude.isfinite().all()):
        raise InputError(
            "images-not-finite",
            f"{path} contains NaN or infinity",
            "All pixel values must be finite",
            "Make the images again",
        )
    if not bool(magnitude.any()):
        raise InputError(
            "images-flat",
            f"{path} is zero everywhere in slice {index}",
            "A comparison needs images with contrast",
            "Make the images again",
        )
    return FileImages(path, magnitude)


def _check_scan(path: Path, scan: "Scan", stamp: dict[str, object] | None) -> None:
    """Refuse images whose provenance names another scan."""
    from cmrrecon.evaluation.references import acquisition_of, disagreement

    if stamp is None or "acquisition" not in stamp:
        return
    other = disagreement(scan.acquisition, acquisition_of(path, stamp))
    if other:
        raise InputError(
            "images-mismatch",
            f"{path} contains images of {other}",
            "All columns of a comparison must show the same scan",
            "Use images of this scan with --images",
        )


def _position(
    path: Path, stored: int, slices: int, index: int, stamp: dict[str, object] | None
) -> int:
    """Return the position of a slice in the file.

    A file without slice numbers must contain all slices or only this one.
    """
    from cmrrecon.evaluation.references import slices_of

    config = (stamp or {}).get("config")
    if isinstance(config, dict) and isinstance(config.get("slices"), list):
        numbers = slices_of(stamp, stored)
    elif stored == slices:
        numbers = list(range(slices))
    elif stored == 1:
        numbers = [index]
    else:
        raise InputError(
            "shape-mismatch",
            f"{path} has {stored} slices, but the scan has {slices}",
            "A file without slice numbers must contain all slices or only the one compared",
            "Use images of the whole scan, or of this slice only",
        )

    if index not in numbers:
        raise InputError(
            "slice-missing",
            f"{path} has no slice {index}, only {', '.join(map(str, numbers))}",
            "The file must contain the slice that is compared",
            "Choose another slice with --slices",
        )
    return numbers.index(index)
