"""Finds the reference of a reconstruction by name, and loads it slice by slice."""

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
from cmrrecon.formats.names import is_sampled_name, modality_of
from cmrrecon.formats.stored_facts import acquisition_from_json
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
        Origin of the images, such as `noise-free truth`.
    slices : tuple of int
        Slice numbers, within the scan, of the slices in the file, in order.
    load : callable
        Takes a position in `slices`; returns a Tensor of shape (frame, y, x), float32.
    remarks : list of str
        Remarks for the user about the slices loaded so far.
    """

    path: Path
    source: str
    slices: tuple[int, ...]
    load: Callable[[int], Tensor]
    remarks: list[str] = field(default_factory=list)

    def images(self, wanted: Sequence[int]) -> Tensor:
        """Load the magnitudes of the slices with these numbers.

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
                f"{self.path} has no slice {missing[0]} (only {', '.join(map(str, self.slices))})",
                "The reference must contain all slices that were reconstructed",
                "Use --truth with the reference of the whole scan",
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
    """Apply the ranking crop to reconstruction and reference.

    Only the slices inside the crop are loaded. A reconstruction that is already cropped, such as a
    submission, remains unchanged.

    Parameters
    ----------
    images : Tensor of shape (frame, slice, y, x)
        The reconstruction.
    numbers : sequence of int
        Slice numbers of the reconstruction within the scan.
    reference : Reference
        The reference of the whole scan.
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
        If slices needed for the crop are missing (`slice-missing`).
    """
    scored = ranking_slices(len(reference.slices))
    expected = ranking_crop(reference.images(reference.slices[scored]), base=base, year=year)
    if images.shape == expected.shape:
        return images, expected

    if tuple(numbers) != reference.slices:
        raise InputError(
            "slice-missing",
            f"{name} has only {len(numbers)} of the {len(reference.slices)} slices of its scan",
            "The ranking crop selects from all slices",
            "Reconstruct the whole scan, or score without the crop",
        )
    return ranking_crop(images[:, scored], base=base, year=year), expected


def acquisition_of(path: Path, stamp: Mapping[str, Any] | None) -> Acquisition:
    """Return the facts about an image file's scan, from its provenance or else its path."""
    known = (stamp or {}).get("acquisition")
    return (
        acquisition_from_json(json.dumps(known))
        if isinstance(known, dict)
        else formats.parse_name(path)
    )


def slices_of(stamp: Mapping[str, Any] | None, count: int) -> list[int]:
    """Return the slice numbers of `count` stored slices, from the provenance or else from 0."""
    stored = (stamp or {}).get("config", {}).get("slices")
    numbered = (
        isinstance(stored, list)
        and len(stored) == count
        and all(isinstance(z, int) for z in stored)
    )
    return list(stored) if numbered else list(range(count))


def view_of(stamp: Mapping[str, Any] | None) -> View:
    """Return the view of a reconstruction, so that its reference can show the same part."""
    config = (stamp or {}).get("config", {})
    return View(
        **{name: config.get(name) is True for name in ("keep_oversampling", "recon_matrix")}
    )


def candidates_in(truth: Path) -> list[Path]:
    """List all files below a folder that may be references; the list is empty for a file."""
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
    """Open the reference of a scan, which may be a file or be found in a folder.

    Parameters
    ----------
    acquisition : Acquisition
        Facts of the scan.
    truth : Path
        File or folder.
    candidates : sequence of Path
        The result of `candidates_in` for this folder.
    truth_first : bool
        Whether to prefer a noise-free truth, see `find_reference`.
    allow_partial : bool
        As in `open_reference`.
    view : View, optional
        As in `open_reference`.

    Raises
    ------
    InputError
        If the file belongs to another scan (`reference-mismatch`), or if no file or several files
        fit (`reference-missing`, `reference-ambiguous`).
    """
    if truth.is_dir():
        found = find_reference(acquisition, candidates, truth_first=truth_first)
        return open_reference(found, view, allow_partial=allow_partial)
    reference = open_reference(truth, view, allow_partial=allow_partial)
    other = contradiction(acquisition, truth)
    if other:
        raise InputError(
            "reference-mismatch",
            f"{truth} belongs to another scan ({other})",
            "A reconstruction must be compared with the reference of its own scan",
            "Use --truth with the right file or with a folder to search",
        )
    return reference


def find_reference(
    acquisition: Acquisition, candidates: Sequence[Path], *, truth_first: bool
) -> Path:
    """Find the candidate whose path agrees with the facts of a scan.

    The facts are base, subject, centre, vendor, coil type, split and year. Unknown facts agree with
    anything.

    Parameters
    ----------
    acquisition : Acquisition
        Facts of the scan.
    candidates : sequence of Path
        Files to choose from.
    truth_first : bool
        Whether to prefer a noise-free truth to fully sampled k-space, or vice versa.

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
            "Use --truth with the reference file itself",
        )
    return preferred[0]


def contradiction(acquisition: Acquisition, path: Path) -> str:
    """Return the first fact in a file's path that contradicts a scan, see `disagreement`."""
    return disagreement(acquisition, formats.parse_name(path))


def disagreement(acquisition: Acquisition, facts: Acquisition) -> str:
    """Return the first fact in which two scans differ, or an empty text.

    The text describes the second scan, for example `subject P006`. Base names count only if both
    are official.
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
    """Return whether a path may be a reference (fully sampled or a truth) of the scan."""
    facts = formats.parse_name(path)
    full = facts.pattern is None and not is_sampled_name(path)
    return full and facts.base == acquisition.base and not contradiction(acquisition, path)


def open_reference(
    path: Path, view: View | None = None, *, allow_partial: bool = False
) -> Reference:
    """Open the reference in a file: stored images, or the RSS of fully sampled k-space.

    The RSS is computed when a slice is loaded. Loading raises an InputError if the k-space is
    undersampled (`kspace-undersampled`) or partial (`kspace-partial`).

    Parameters
    ----------
    path : Path
        The file.
    view : View, optional
        View of the images from k-space. None: the default view of reconstructions.
    allow_partial : bool
        Whether k-space may lack its edges (partial Fourier, low resolution, asymmetric echo).

    Raises
    ------
    InputError
        If the file contains neither images nor k-space.
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
