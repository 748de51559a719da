"""Images made earlier, or by other programs, as columns of `cmrrecon compare`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cmrrecon.tools.errors import InputError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from cmrrecon.data import Scan


@dataclass(frozen=True)
class Made:
    """Images of one slice from a file.

    Attributes
    ----------
    path : Path
        The file.
    images : Tensor of shape (frame, y, x)
        Magnitudes.
    """

    path: Path
    images: "Tensor"


def named_files(texts: Sequence[str], used: Collection[str]) -> dict[str, Path]:
    """The files of `--images NAME=FILE`, by name.

    Parameters
    ----------
    texts : sequence of str
        Values of the option.
    used : collection of str
        Names of other columns.

    Raises
    ------
    UsageError
        If a text is not NAME=FILE (`option-value`), or two columns have one name (`name-repeated`).
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
                "It needs a name and a file, NAME=FILE",
                "Write for example --images bart=bart.cfl",
            )
        if name in files or name in used:
            raise UsageError(
                "name-repeated",
                f"Two columns are called {name!r}",
                "Names in a figure are unique",
                "Give the images another name with --images NAME=FILE",
            )

        files[name] = Path(file)
        if not files[name].exists():
            raise InputError(
                "file-missing",
                f"The images {file} do not exist",
                "A file of images was expected",
                "Check --images",
            )
    return files


def read_made(path: Path, scan: "Scan", index: int) -> Made:
    """The images of one slice in a file, checked against the scan.

    Parameters
    ----------
    path : Path
        File of images of the scan, of all slices or of this one.
    scan : Scan
        The scan that they are of.
    index : int
        Number of the slice.

    Raises
    ------
    InputError
        If the images have other frames, pixels or slices than the scan (`shape-mismatch`), lack the
        slice (`slice-missing`), are of another scan (`images-mismatch`), hold NaN or infinity
        (`images-not-finite`) or are zero everywhere (`images-flat`).
    """
    from cmrrecon.data import View
    from cmrrecon.evaluation.references import view_of
    from cmrrecon.evaluation.scoring import read_reconstruction

    images, stamp = read_reconstruction(path, str(path))
    _check_scan(path, scan, stamp)
    images = images[:, _place(path, images.shape[1], scan.shape[1], index, stamp)]

    frames, _, _, y, x = scan.shape
    expected = (frames, *View().size(scan.geometry, (y, x)))
    if tuple(images.shape) != expected:
        raise InputError(
            "shape-mismatch",
            f"{path} has images of shape {tuple(images.shape)} (frame, y, x)"
            + (", in another view" if view_of(stamp) != View() else ""),
            f"Those of the scan are {expected}",
            "Give images of this scan, with all frames and its field of view",
        )

    magnitude = images.abs().float()
    if not bool(magnitude.isfinite().all()):
        raise InputError(
            "images-not-finite",
            f"{path} holds NaN or infinity",
            "All pixels must be finite numbers",
            "Make the images again",
        )
    if not bool(magnitude.any()):
        raise InputError(
            "images-flat",
            f"{path} is zero everywhere in slice {index}",
            "An image must have contrast to be compared",
            "Make the images again",
        )
    return Made(path, magnitude)


def _check_scan(path: Path, scan: "Scan", stamp: dict[str, object] | None) -> None:
    """Refuse images whose provenance names another scan."""
    from cmrrecon.evaluation.references import acquisition_of, disagreement

    if stamp is None or "acquisition" not in stamp:
        return
    other = disagreement(scan.acquisition, acquisition_of(path, stamp))
    if other:
        raise InputError(
            "images-mismatch",
            f"{path} holds images of {other}",
            "Images are compared with those of their own scan",
            "Give images of this scan with --images",
        )


def _place(
    path: Path, stored: int, slices: int, index: int, stamp: dict[str, object] | None
) -> int:
    """The position of a slice among the stored ones.

    A file that does not number its slices holds all of them, or only this one.
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
            f"{path} has {stored} slices and the scan {slices}",
            "A file that does not number its slices holds all of them, or the one compared",
            "Give images of the whole scan, or of this slice alone",
        )

    if index not in numbers:
        raise InputError(
            "slice-missing",
            f"{path} has no slice {index} (it has {', '.join(map(str, numbers))})",
            "Images of the slice that is compared are needed",
            "Choose another slice with --slices",
        )
    return numbers.index(index)
