"""Finding the reference that a reconstruction is scored against, and loading the slices that are needed."""

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
    path : the file
    source : what they are, in words
    slices : the scan's slice numbers that the file has, in order
    load : position in `slices` -> Tensor (frame, y, x) float32
    remarks : sentences for the user about the slices loaded so far
    """

    path: Path
    source: str
    slices: tuple[int, ...]
    load: Callable[[int], Tensor]
    remarks: list[str] = field(default_factory=list)

    def images(self, wanted: Sequence[int]) -> Tensor:
        """Magnitudes (frame, slice, y, x) float32 of these slice numbers.

        Raises
        ------
        InputError : the reference has not got one of them
        """
        missing = [z for z in wanted if z not in self.slices]
        if missing:
            raise InputError(
                "slice-missing",
                f"{self.path} has no slice {missing[0]} (it has {', '.join(map(str, self.slices))})",
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
    """Reconstruction and reference after the ranking crop; other slices are not loaded.

    A submission is cropped already and is taken as it is.

    Parameters
    ----------
    images : Tensor (frame, slice, y, x)
    numbers : the scan's slice numbers that these are
    reference : of the whole scan
    base, year : decide the crop, see `ranking_crop`
    name : of the reconstruction in messages

    Returns
    -------
    two Tensors (frame', slice', y', x')

    Raises
    ------
    InputError : slices are missing, of which the crop must choose
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
    """What is known of the scan an image file came from: its provenance, else its file and folder names."""
    known = (stamp or {}).get("acquisition")
    return (
        acquisition_from_json(json.dumps(known))
        if isinstance(known, dict)
        else formats.parse_name(path)
    )


def slices_of(stamp: Mapping[str, Any] | None, count: int) -> list[int]:
    """The scan's slice numbers that `count` stored slices are: from the provenance, else the first ones."""
    stored = (stamp or {}).get("config", {}).get("slices")
    numbered = (
        isinstance(stored, list)
        and len(stored) == count
        and all(isinstance(z, int) for z in stored)
    )
    return list(stored) if numbered else list(range(count))


def view_of(stamp: Mapping[str, Any] | None) -> View:
    """What of the encoded images a reconstruction shows, so that its reference shows the same."""
    config = (stamp or {}).get("config", {})
    return View(
        **{name: config.get(name) is True for name in ("keep_oversampling", "recon_matrix")}
    )


def candidates_in(truth: Path) -> list[Path]:
    """The files of a folder that may be references; none for a file."""
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
    """The reference of a scan: the file `truth`, or what fits among the `candidates_in` the folder `truth`.

    `allow_partial` and `view` as for `open_reference`.

    Raises
    ------
    InputError : it is of another scan, or none or several fit
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
    """The candidate of the same base, subject, centre, vendor, coil type, split and year, as far as they are known.

    With `truth_first` a noise-free truth is preferred to fully sampled k-space, else the other way round.

    Raises
    ------
    InputError : none fits, or several do
    """
    matches = [path for path in candidates if _fits(acquisition, path)]
    preferred = [path for path in matches if (TRUTH in path.stem) == truth_first] or matches
    if len(preferred) != 1:
        raise InputError(
            "reference-ambiguous" if preferred else "reference-missing",
            f"{len(preferred)} reference files fit {acquisition.base} of subject {acquisition.subject or 'unknown'}",
            "Exactly one must fit, by base name, subject, centre, vendor, coil type, split and year",
            "Give the reference file itself with --truth",
        )
    return preferred[0]


def contradiction(acquisition: Acquisition, path: Path) -> str:
    """In what a file's name says that it is of another scan, see `disagreement`."""
    return disagreement(acquisition, formats.parse_name(path))


def disagreement(acquisition: Acquisition, facts: Acquisition) -> str:
    """In what two are of different scans (`subject P006`, the second's), "" if in nothing. Unofficial base names say nothing."""
    fields = ["subject", "centre", "vendor", "coil", "split", "year"]
    if modality_of(facts.base) and modality_of(acquisition.base):
        fields.insert(0, "base")
    for fact in fields:
        ours, theirs = getattr(acquisition, fact), getattr(facts, fact)
        if ours is not None and theirs is not None and ours != theirs:
            return f"{fact} {theirs}"
    return ""


def _fits(acquisition: Acquisition, path: Path) -> bool:
    facts = formats.parse_name(path)
    full = facts.pattern is None and not is_sampled_name(path)
    return full and facts.base == acquisition.base and not contradiction(acquisition, path)


def open_reference(
    path: Path, view: View | None = None, *, allow_partial: bool = False
) -> Reference:
    """The reference in a file: stored images, or the RSS of fully sampled k-space, made when asked for.

    Parameters
    ----------
    view : what is shown of k-space's images; None: what reconstructions show by default
    allow_partial : whether k-space without its edges is taken (partial Fourier, low resolution,
        asymmetric echo)

    Raises
    ------
    InputError : the file holds neither; and when slices are loaded, that the k-space is
        undersampled or partial
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
        told = [*series.warnings, *([] if remark is None else [remark])]
        remarks.extend(text for text in told if text not in remarks)
        return shown(rss_images(series.kspace), view or View(), scan.geometry)

    source = "RSS of fully sampled k-space"
    return Reference(path, source, tuple(range(scan.shape[1])), load, remarks)
