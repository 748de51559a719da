"""One reconstruction scored against its reference: matched, cropped and compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cmrrecon import formats
from cmrrecon.data import Acquisition, View
from cmrrecon.evaluation.protocols import canonical_protocol, check_options, score, year_of
from cmrrecon.evaluation.ranking import AXES
from cmrrecon.evaluation.references import (
    Reference,
    acquisition_of,
    candidates_in,
    cropped,
    open_reference,
    reference_for,
    slices_of,
    view_of,
)
from cmrrecon.evaluation.scores import Scores
from cmrrecon.tools.errors import InputError, UsageError

Array = npt.NDArray[Any]
DTYPES = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")
# Stands for a file in messages about images that were never written.
IN_MEMORY = Path("The reference")


@runtime_checkable
class Reconstructed(Protocol):
    """What a reconstruction returns: images (frame, slice, y, x) and their provenance."""

    @property
    def images(self) -> Tensor:
        """Images (frame, slice, y, x)."""

    @property
    def provenance(self) -> Mapping[str, Any] | None:
        """How they were made, as files store it."""


@runtime_checkable
class Truth(Protocol):
    """What a simulation returns: the true image (frame, slice, y, x)."""

    @property
    def image(self) -> Tensor:
        """The noise-free image."""


@dataclass(frozen=True)
class Reconstruction:
    """Images to score, with what is known of their scan.

    Attributes
    ----------
    images : Tensor (frame, slice, y, x), real or complex
    facts : of the scan; None where nothing is known
    slices : the scan's slice numbers that these are; None: all of them
    name : in messages
    view : what of the encoded images is shown; None: not known, as by default
    """

    images: Tensor
    facts: Acquisition | None = None
    slices: tuple[int, ...] | None = None
    name: str = "The reconstruction"
    view: View | None = None


def evaluate(
    reconstruction: Tensor | Array | str | Path | Reconstructed,
    reference: Tensor | Array | str | Path | Truth,
    *,
    protocol: str | int = "fullfov",
    order: str = "official",
    crop: bool = True,
    heart: tuple[int, int, int, int] | None = None,
    exclude_saturated: bool = False,
    base: str | None = None,
    slices: Sequence[int] | None = None,
    allow_partial: bool = False,
) -> Scores:
    """Score one reconstruction against its reference, as `cmrrecon evaluate` scores a file.

    Parameters
    ----------
    reconstruction : Tensor or NumPy array, path, or result of a reconstruction
        Images (frame, slice, y, x), float or complex, of which the magnitude counts; or an image
        file; or an object with `images` and `provenance`. Files and results say which scan and
        which slices they are of.
    reference : Tensor or NumPy array, path, or simulated scan
        Images (frame, slice, y, x); or a file of truth images or of fully sampled k-space, whose
        root sum of squares is taken; or a folder, in which the file of the same scan is searched
        (`fullfov` prefers a noise-free truth, the challenges k-space); or an object with `image`.
    protocol : str or int
        `fullfov`, `cmrxrecon2023`, `cmrxrecon2024`, `cmrxrecon2025`, or the year of a challenge.
    order : {"official", "textbook"}
        Of the challenges: as their program calls it, or the reference always first.
    crop : bool
        Of the challenges: score the part that `ranking_crop` chooses. Images that have its shape
        already are taken as they are.
    heart : tuple of int, optional
        Of `fullfov`: box (y0, y1, x0, x1) of the heart PSNR; None is the central half of y and
        third of x.
    exclude_saturated : bool
        Of `fullfov`: leave out reference pixels of at least 0.99 times the maximum.
    base : str, optional
        Base name of the scan, such as `cine_sax`, which tells how a challenge crops it and whether
        it has a time axis. None: as the reconstruction says, else as the reference's file name.
    slices : sequence of int, optional
        The scan's slice numbers that the reconstruction holds. None: as the reconstruction says;
        an array holds those of the reference.
    allow_partial : bool
        Take reference k-space without its edges too: partial Fourier, low resolution, asymmetric
        echoes. Aliased k-space is never taken.

    Returns
    -------
    Scores
        PSNR in dB, SSIM, NMSE and the rule that made them, on the CPU.

    Raises
    ------
    InputError
        `file-missing`; `variable-kind`, the file holds no reconstruction; `images-dtype`, neither
        float nor complex; `images-axes`, not four axes; `array-empty`; `shape-mismatch`, different
        images; `images-not-finite` and `images-flat`, no meaningful score; `reference-missing`,
        `reference-ambiguous` and `reference-mismatch`, no file, several, or one of another scan;
        `kspace-undersampled` and `kspace-partial`, of the reference; `slice-missing`, in the
        reference or for the crop.
    UsageError
        `unknown-protocol`; `option-value`, the order; `box-outside`, the heart box;
        `options-conflict`, an option of `fullfov` with a challenge; `option-needs`, an array needs
        `base` to be cropped, or to be matched with a file of a folder.

    See Also
    --------
    cmrrecon.evaluation.protocols.score : the rules themselves, and their sources

    Examples
    --------
    >>> import torch
    >>> truth = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> evaluate(0.5 * truth + 0.01, truth).psnr > 30
    True
    """
    name = canonical_protocol(protocol)
    year = year_of(name)
    check_options(name, heart, exclude_saturated)
    made = _reconstruction(reconstruction, base, slices)
    truth = _reference(reference, made, truth_first=year is None, allow_partial=allow_partial)
    name_of_scan = _base_of(made, truth)
    images, expected = _pair(made, truth, name_of_scan, year if crop else None)
    return score(
        images,
        expected.to(images.device),
        protocol=name,
        order=order,
        base=name_of_scan,
        heart=heart,
        exclude_saturated=exclude_saturated,
    )


def read_reconstruction(path: Path, name: str) -> tuple[Tensor, dict[str, Any] | None]:
    """The images (frame, slice, y, x) of a file, and its provenance.

    Parameters
    ----------
    path : of the file
    name : in messages

    Raises
    ------
    InputError : the file cannot be read as images, or holds their uncertainty
    """
    images, stamp = formats.read_images(path), formats.read_provenance(path)
    if stamp is not None and "quantity" in stamp:
        raise InputError(
            "variable-kind",
            f"{name} holds the {stamp['quantity']} of images",
            "Reconstructions are scored",
            "Give the file it was written beside",
        )
    return images, stamp


def _pair(
    made: Reconstruction,
    reference: Reference,
    base: str | None,
    year: int | None,
) -> tuple[Tensor, Tensor]:
    """The images of both that are compared: those of the ranking crop of a year, or all."""
    numbers = reference.slices if made.slices is None else made.slices
    if year is None:
        return made.images, reference.images(numbers)
    if base is None:
        raise _needs_base("The ranking crop keeps other frames of cine than of mapping")
    return cropped(made.images, numbers, reference, base=base, year=year, name=made.name)


def _reconstruction(
    given: Tensor | Array | str | Path | Reconstructed,
    base: str | None,
    slices: Sequence[int] | None,
) -> Reconstruction:
    """The images to score; `base` and `slices` take precedence over what they say themselves."""
    if isinstance(given, str | Path):
        path = _existing(given, "reconstruction")
        images, stamp = read_reconstruction(path, str(path))
        numbers = tuple(slices_of(stamp, images.shape[1]))
        facts = acquisition_of(path, stamp)
        made = Reconstruction(images, facts, numbers, str(path), view_of(stamp))
    elif isinstance(given, Reconstructed):
        made = _of_result(_checked(given.images, "reconstruction"), given.provenance)
    else:
        made = Reconstruction(_checked(given, "reconstruction"))
    if base is not None:
        made = replace(made, facts=replace(made.facts or Acquisition(), base=base))
    return made if slices is None else replace(made, slices=tuple(slices))


def _of_result(images: Tensor, stamp: Mapping[str, Any] | None) -> Reconstruction:
    if stamp is None:
        return Reconstruction(images)
    facts = acquisition_of(Path(), stamp) if "acquisition" in stamp else None
    numbers = tuple(slices_of(stamp, images.shape[1]))
    return Reconstruction(images, facts, numbers, view=view_of(stamp))


def _reference(
    given: Tensor | Array | str | Path | Truth,
    made: Reconstruction,
    *,
    truth_first: bool,
    allow_partial: bool,
) -> Reference:
    """The reference that was given, or that of the scan in a folder."""
    if not isinstance(given, str | Path):
        images = _checked(given.image if isinstance(given, Truth) else given, "reference").abs()
        numbers = tuple(range(images.shape[1]))
        return Reference(IN_MEMORY, "images in memory", numbers, lambda z: images[:, z])
    path = _existing(given, "reference")
    if made.facts is not None:
        others = candidates_in(path)
        return reference_for(
            made.facts,
            path,
            others,
            truth_first=truth_first,
            view=made.view,
            allow_partial=allow_partial,
        )
    if path.is_dir():
        raise _needs_base(f"{path} is a folder, which is searched by the scan's base name")
    return open_reference(path, made.view, allow_partial=allow_partial)


def _base_of(made: Reconstruction, reference: Reference) -> str | None:
    """The base name of the scan; None where neither the reconstruction nor a file name says it."""
    if made.facts is not None:
        return made.facts.base
    return None if reference.path == IN_MEMORY else formats.parse_name(reference.path).base


def _existing(given: str | Path, what: str) -> Path:
    path = Path(given)
    if not path.exists():
        raise InputError(
            "file-missing",
            f"The {what} {path} does not exist",
            "A file or a folder was expected",
            "Check the path",
        )
    return path


def _checked(given: Tensor | Array, what: str) -> Tensor:
    """Images as a tensor (frame, slice, y, x), detached from gradients."""
    kind = given.dtype.name if isinstance(given, np.ndarray) else str(given.dtype)[len("torch.") :]
    if kind not in DTYPES:
        raise InputError(
            "images-dtype",
            f"The {what} is {kind}",
            "Images are float or complex",
            "Convert them",
        )
    if given.ndim != 4:
        raise InputError(
            "images-axes",
            f"The {what} has shape {tuple(given.shape)}",
            f"The axes must be {AXES}",
            "Add the missing axes of length 1, in that order",
        )
    if 0 in given.shape:
        raise InputError(
            "array-empty",
            f"The {what} has shape {tuple(given.shape)}",
            "At least one image must be there",
            "Give all images",
        )
    if isinstance(given, Tensor):
        return given.detach()
    # Copied into native order: torch takes neither foreign byte orders nor negative strides.
    return torch.from_numpy(np.array(given, dtype=kind, order="C"))


def _needs_base(found: str) -> UsageError:
    return UsageError(
        "option-needs",
        found,
        "Arrays say nothing of their scan",
        "Give base, such as base='cine_sax'",
    )
