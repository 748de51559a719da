"""`evaluate`: matches one reconstruction with its reference, crops and scores it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cmrrecon import formats
from cmrrecon.data import Acquisition
from cmrrecon.evaluation.protocols import canonical_protocol, check_options, score, year_of
from cmrrecon.evaluation.ranking import AXES
from cmrrecon.evaluation.reconstructions import Reconstruction, of_result, open_reconstruction
from cmrrecon.evaluation.references import (
    Reference,
    candidates_in,
    cropped,
    open_reference,
    reference_for,
)
from cmrrecon.evaluation.scores import Scores
from cmrrecon.tools.errors import InputError, UsageError

Array = npt.NDArray[Any]
DTYPES = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")
# Replaces the path in messages about images that are not in a file.
IN_MEMORY = Path("The reference")


@runtime_checkable
class Reconstructed(Protocol):
    """A result of `cmrrecon.reconstruct`, or any object with images and their provenance."""

    @property
    def images(self) -> Tensor:
        """Images (frame, slice, y, x)."""

    @property
    def provenance(self) -> Mapping[str, Any] | None:
        """Provenance of the images, as files store it."""


@runtime_checkable
class Truth(Protocol):
    """A result of `cmrrecon.simulate`, or any object with a true image (frame, slice, y, x)."""

    @property
    def image(self) -> Tensor:
        """The noise-free image."""


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
        Images (frame, slice, y, x), float or complex, whose magnitudes are scored; or an image
        file; or an object with `images` and `provenance`. Files and results state their scan and
        slices.
    reference : Tensor or NumPy array, path, or simulated scan
        Images (frame, slice, y, x); or a file with true images or with fully sampled k-space, whose
        root-sum-of-squares is used; or a folder to search for a file of the same scan (`fullfov`
        and `body` prefer a noise-free truth, the challenges prefer k-space); or an object with
        `image`.
    protocol : str or int
        `fullfov`, `body`, `cmrxrecon2023`, `cmrxrecon2024`, `cmrxrecon2025`, or the year of a
        challenge.
    order : {"official", "textbook"}
        For the challenges: the argument order of their programs, or always the reference first.
    crop : bool
        For the challenges: score only the part that `ranking_crop` selects. Images that already
        have the shape of this part remain unchanged.
    heart : tuple of int, optional
        For `fullfov`: box (y0, y1, x0, x1) of the heart PSNR; by default the central half of y and
        third of x.
    exclude_saturated : bool
        For `fullfov`: exclude pixels of at least 0.99 times the reference's maximum.
    base : str, optional
        Base name of the scan, such as `cine_sax`, which determines the crop of a challenge and
        whether there is a time axis. None: the base name in the reconstruction, or else in the file
        name of the reference.
    slices : sequence of int, optional
        Slice numbers of the reconstruction within the scan. None: as stated by the reconstruction;
        an array is assumed to have the slices of the reference.
    allow_partial : bool
        Accept a reference whose k-space lacks its edges (partial Fourier, low resolution,
        asymmetric echo). Aliased k-space is never accepted.

    Returns
    -------
    Scores
        PSNR in dB, SSIM, NMSE and the rule that was used.

    Raises
    ------
    InputError
        If a file does not exist (`file-missing`) or contains no reconstruction (`variable-kind`);
        images are neither float nor complex (`images-dtype`), do not have four axes
        (`images-axes`), are empty (`array-empty`), differ in shape (`shape-mismatch`) or have no
        meaningful score (`images-not-finite`, `images-flat`, `body-empty`); the reference is
        missing, ambiguous or from another scan (`reference-missing`, `reference-ambiguous`,
        `reference-mismatch`), undersampled or partial (`kspace-undersampled`, `kspace-partial`), or
        lacks a slice (`slice-missing`, also for the crop).
    UsageError
        If the protocol (`unknown-protocol`) or order (`option-value`) is unknown; the heart box is
        outside the images (`box-outside`); an option of `fullfov` is used with another protocol
        (`options-conflict`); or an array needs `base` to be cropped or matched (`option-needs`).

    See Also
    --------
    cmrrecon.evaluation.protocols.score : The rules and their sources.

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
    images, expected = pair(made, truth, name_of_scan, year if crop else None)

    return score(
        images,
        expected.to(images.device),
        protocol=name,
        order=order,
        base=name_of_scan,
        heart=heart,
        exclude_saturated=exclude_saturated,
    )


def pair(
    made: Reconstruction,
    reference: Reference,
    base: str | None,
    year: int | None,
) -> tuple[Tensor, Tensor]:
    """Return the images to compare, cropped by one year's rule if there is a year.

    Parameters
    ----------
    made : Reconstruction
        The reconstruction.
    reference : Reference
        Its reference.
    base : str or None
        Base name of the scan, which determines the crop.
    year : int or None
        Year of the challenge whose crop is scored; None for whole images.

    Returns
    -------
    images, expected : Tensor of shape (frame, slice, y, x)
        Reconstruction and reference.

    Raises
    ------
    UsageError
        If the crop needs the base name and it is unknown (`option-needs`).
    InputError
        If the reference lacks a slice (`slice-missing`), or the shapes do not fit
        (`shape-mismatch`).
    """
    numbers = reference.slices if made.slices is None else made.slices
    if year is None:
        return made.images, reference.images(numbers)
    if base is None:
        raise _needs_base("The ranking crop treats cine and mapping differently")
    return cropped(made.images, numbers, reference, base=base, year=year, name=made.name)


def _reconstruction(
    given: Tensor | Array | str | Path | Reconstructed,
    base: str | None,
    slices: Sequence[int] | None,
) -> Reconstruction:
    """Return the images to score; `base` and `slices` override the stated facts."""
    if isinstance(given, str | Path):
        path = _existing(given, "reconstruction")
        made, _ = open_reconstruction(path, str(path))
    elif isinstance(given, Reconstructed):
        made = of_result(_checked(given.images, "reconstruction"), given.provenance)
    else:
        made = Reconstruction(_checked(given, "reconstruction"))

    if base is not None:
        made = replace(made, facts=replace(made.facts or Acquisition(), base=base))
    return made if slices is None else replace(made, slices=tuple(slices))


def _reference(
    given: Tensor | Array | str | Path | Truth,
    made: Reconstruction,
    *,
    truth_first: bool,
    allow_partial: bool,
) -> Reference:
    """Return the given reference, or find it in a folder."""
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
        raise _needs_base(f"The folder {path} can only be searched by the base name of the scan")
    return open_reference(path, made.view, allow_partial=allow_partial)


def _base_of(made: Reconstruction, reference: Reference) -> str | None:
    """Return the scan's base name from the reconstruction or else the reference's file name."""
    if made.facts is not None:
        return made.facts.base
    return None if reference.path == IN_MEMORY else formats.parse_name(reference.path).base


def _existing(given: str | Path, what: str) -> Path:
    """Return the path after checking that it exists."""
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
    """Convert images to a tensor (frame, slice, y, x), detached from gradients."""
    kind = given.dtype.name if isinstance(given, np.ndarray) else str(given.dtype)[len("torch.") :]
    if kind not in DTYPES:
        raise InputError(
            "images-dtype",
            f"The {what} has type {kind}",
            "Images must be float or complex",
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
            "There must be at least one image",
            "Pass all images",
        )

    if isinstance(given, Tensor):
        return given.detach()
    # The array is copied because torch accepts neither foreign byte orders nor negative strides.
    return torch.from_numpy(np.array(given, dtype=kind, order="C"))


def _needs_base(found: str) -> UsageError:
    """Return the error for an array whose scan is unknown."""
    return UsageError(
        "option-needs",
        found,
        "An array does not state its scan",
        "Pass base, such as base='cine_sax'",
    )
