"""The reference of a reconstruction: found by name, and loaded slice by slice."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cmrrecon import formats
from cmrrecon.data import Acquisition, View
from cmrrecon.data.references import as_reference
from cmrrecon.evaluation.ranking import ranking_crop, ranking_slices
from cmrrecon.formats.names import acquisition_from_json, is_sampled_name, modality_of
from cmrrecon.operators.coils import rss_images
from cmrrecon.operators.field_of_view import shown
from cmrrecon.tools.errors import InputError

TRUTH = "_truth"


@dataclass(frozen=True)
class Reference:
    """Reference magnitudes of a scan, slice by slice.

    Attributes
    ----------
    path : Path
        The file.
    source : str
        What the images are, such as `noise-free truth`.
    slices : tuple of int
        Slice numbers of the scan that the file holds, in order.
    load : callable
        From a position in `slices` to a Tensor of shape (frame, y, x), float32.
    remarks : list of str
        Sentences for the user about the slices loaded so far.
    """

    path: Path
    source: str
    slices: tuple[int, ...]
    load: Callable[[int], Tensor]
    remarks: list[str] = field(default_factory=list)

    def images(self, wanted: Sequence[int]) -> Tensor:
        """Magnitudes of the slices with these numbers.

        Returns
        -------
        Tensor of shape (frame, slice, y, x), float32
            The magnitudes.

        Raises
        ------
        InputError
            If the reference lacks a slice (`slice-missing`).
        """
        missing = [z for z in wanted if z not in self.slices]
        if missing:
            raise InputError(
                "slice-missing",
                f"{self.path} has no slice {missing[0]} "
                f"(it has {', '.join(map(str, self.slices))})",
                "The reference must hold the slices that were reconstructed",
                "Give the reference of the whole scan with --truth",
            )
        return torch.stack([self.load(self.slices.index(z)) for z in wanted], 1)


def cropped(
    images: Tensor,
    numbers: Sequence[int],
    reference: Reference,
    *,
    base: str,
    year: int,
    name: str,
) -> tuple[Tensor, Tensor]:
    """Reconstruction and reference after the ranking crop.

    Only the slices of the crop are loaded. A reconstruction that is cropped already, such as a
    submission, stays as it is.

    Parameters
    ----------
    images : Tensor of shape (frame, slice, y, x)
        Reconstruction.
    numbers : sequence of int
        Its slice numbers in the scan.
    reference : Reference
        Reference of the whole scan.
    base : str
        Base name of the scan, see `ranking_crop`.
    year : int
        Year of the challenge.
    name : str
        Name of the reconstruction in messages.

    Returns
    -------
    tuple of two Tensors of shape (frame', slice', y', x')
        Reconstruction and reference.

    Raises
    ------
    InputError
        If slices are missing that the crop chooses from (`slice-missing`).
    """
    scored = ranking_slices(len(reference.slices))
    expected = ranking_crop(reference.images(reference.slices[scored]), base=base, year=year)
    if images.shape == expected.shape:
        return images, expected

    if tuple(numbers) != reference.slices:
        raise InputError(
            "slice-missing",
            f"{name} has {len(numbers)} of the {len(reference.slices)} slices of its scan",
            "The ranking crop chooses from all slices",
            "Reconstruct the whole scan, or score without the crop",
        )
    return ranking_crop(images[:, scored], base=base, year=year), expected


def acquisition_of(path: Path, stamp: Mapping[str, Any] | None) -> Acquisition:
    """The facts of the scan of an image file: from its provenance, else from its path."""
    known = (stamp or {}).get("acquisition")
    return (
        acquisition_from_json(json.dumps(known))
        if isinstance(known, dict)
        else formats.parse_name(path)
    )


def slices_of(stamp: Mapping[str, Any] | None, count: int) -> list[int]:
    """Slice numbers in the scan of `count` stored slices: from the provenance, else from 0."""
    stored = (stamp or {}).get("config", {}).get("slices")
    numbered = (
        isinstance(stored, list)
        and len(stored) == count
        and all(isinstance(z, int) for z in stored)
    )
    return list(stored) if numbered else list(range(count))


def view_of(stamp: Mapping[str, Any] | None) -> View:
    """The view of a reconstruction, so that its reference shows the same part."""
    config = (stamp or {}).get("config", {})
    return View(
        **{name: config.get(name) is True for name in ("keep_oversampling", "recon_matrix")}
    )


def candidates_in(truth: Path) -> list[Path]:
    """All files below a folder that may be references; none for a file."""
    return sorted(
        path
        for path in truth.rglob("*")
        if path.suffix.lower() in formats.SUFFIXES and path.is_file()
    )


def reference_for(
    acquisition: Acquisition,
    truth: Path,
    candidates: Sequence[Path],
    *,
    truth_first: bool,
    allow_partial: bool = False,
    view: View | None = None,
) -> Reference:
    """The reference of a scan: a given file, or the one in a folder that fits.

    Parameters
    ----------
    acquisition : Acquisition
        Facts of the scan.
    truth : Path
        File or folder.
    candidates : sequence of Path
        The `candidates_in` that folder.
    truth_first : bool
        Whether a noise-free truth is preferred, see `find_reference`.
    allow_partial : bool
        As for `open_reference`.
    view : View, optional
        As for `open_reference`.

    Raises
    ------
    InputError
        If the file is of another scan (`reference-mismatch`), or none or several files fit
        (`reference-missing`, `reference-ambiguous`).
    """
    if truth.is_dir():
        found = find_reference(acquisition, candidates, truth_first=truth_first)
        return open_reference(found, view, allow_partial=allow_partial)
    reference = open_reference(truth, view, allow_partial=allow_partial)
    other = contradiction(acquisition, truth)
    if other:
        raise InputError(
            "reference-mismatch",
            f"{truth} is of {other}, another scan than the one to compare with it",
            "A reconstruction is compared with its own scan",
            "Give the right file, or a folder to search, with --truth",
        )
    return reference


def find_reference(
    acquisition: Acquisition, candidates: Sequence[Path], *, truth_first: bool
) -> Path:
    """The candidate with the base, subject, centre, vendor, coil type, split and year of a scan.

    Unknown facts fit anything.

    Parameters
    ----------
    acquisition : Acquisition
        Facts of the scan.
    candidates : sequence of Path
        Files to choose from.
    truth_first : bool
        Whether a noise-free truth is preferred to fully sampled k-space, or the other way round.

    Raises
    ------
    InputError
        If no candidate fits (`reference-missing`), or several do (`reference-ambiguous`).
    """
    matches = [path for path in candidates if _fits(acquisition, path)]
    preferred = [path for path in matches if (TRUTH in path.stem) == truth_first] or matches
    if len(preferred) != 1:
        raise InputError(
            "reference-ambiguous" if preferred else "reference-missing",
            f"{len(preferred)} reference files fit {acquisition.base} of subject "
            f"{acquisition.subject or 'unknown'}",
            "Exactly one must fit, by base, subject, centre, vendor, coil type, split and year",
            "Give the reference file itself with --truth",
        )
    return preferred[0]


def contradiction(acquisition: Acquisition, path: Path) -> str:
    """The fact in a file's path that belongs to another scan, see `disagreement`."""
    return disagreement(acquisition, formats.parse_name(path))


def disagreement(acquisition: Acquisition, facts: Acquisition) -> str:
    """The first fact in which two scans differ, such as `subject P006` of the second; "" if none.

    Base names count only if both are official.
    """
    fields = ["subject", "centre", "vendor", "coil", "split", "year"]
    if modality_of(facts.base) and modality_of(acquisition.base):
        fields.insert(0, "base")
    for fact in fields:
        ours, theirs = getattr(acquisition, fact), getattr(facts, fact)
        if ours is not None and theirs is not None and ours != theirs:
            return f"{fact} {theirs}"
    return ""


def _fits(acquisition: Acquisition, path: Path) -> bool:
    """Whether a file is fully sampled or a truth, and of the scan as far as its path says."""
    facts = formats.parse_name(path)
    full = facts.pattern is None and not is_sampled_name(path)
    return full and facts.base == acquisition.base and not contradiction(acquisition, path)


def open_reference(
    path: Path, view: View | None = None, *, allow_partial: bool = False
) -> Reference:
    """The reference in a file: stored images, or the RSS of fully sampled k-space.

    The RSS of a slice is made when the slice is loaded. Loading raises an InputError if the k-space
    is undersampled (`kspace-undersampled`) or partial (`kspace-partial`).

    Parameters
    ----------
    path : Path
        The file.
    view : View, optional
        View of the images from k-space; None: that of reconstructions by default.
    allow_partial : bool
        Whether k-space may lack its edges (partial Fourier, low resolution, asymmetric echo).

    Raises
    ------
    InputError
        If the file holds neither images nor k-space.
    """
    if formats.kind(path) == "images":
        images = formats.read_images(path).abs().float()
        source = "noise-free truth" if TRUTH in path.stem else "stored images"
        numbers = slices_of(formats.read_provenance(path), images.shape[1])
        return Reference(path, source, tuple(numbers), lambda position: images[:, position])

    scan = formats.read(path)
    remarks: list[str] = []

    def load(index: int) -> Tensor:
        series = scan.series(index)
        remark = as_reference(
            series.mask, scan.path, by_rule=scan.full_by_rule, allow_partial=allow_partial
        )
        found = [*series.warnings, *([] if remark is None else [remark])]
        remarks.extend(text for text in found if text not in remarks)
        return shown(rss_images(series.kspace), view or View(), scan.geometry)

    source = "RSS of fully sampled k-space"
    return Reference(path, source, tuple(range(scan.shape[1])), load, remarks)
