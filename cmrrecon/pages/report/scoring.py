"""Opens the reconstructions of one scan with their reference, and scores them."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmrrecon.data import View
from cmrrecon.evaluation.figures import REFERENCE
from cmrrecon.evaluation.protocols import rule_text, score, year_of
from cmrrecon.evaluation.ranking import ranking_slices
from cmrrecon.evaluation.reconstructions import Reconstruction, open_reconstruction
from cmrrecon.evaluation.references import Reference, reference_for
from cmrrecon.evaluation.runs import weights_of
from cmrrecon.evaluation.scores import Scores
from cmrrecon.evaluation.scoring import pair
from cmrrecon.formats import parse_name
from cmrrecon.formats.geometry import geometry_of
from cmrrecon.pages.report.pictures import Series, in_window
from cmrrecon.pages.report.scans import Case, Made
from cmrrecon.tools.errors import CmrreconError, InputError


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How the reconstructions are scored.

    Attributes
    ----------
    truth : Path or None
        File or folder of references; None: there are no scores.
    candidates : sequence of Path
        Possible references in that folder.
    protocol : str
        Full name of the protocol.
    order : str
        `official` or `textbook`.
    crop : bool
        Whether challenge protocols score the ranking crop.
    allow_partial : bool
        Whether references may lack the edges of k-space.
    """

    truth: Path | None
    candidates: Sequence[Path] = ()
    protocol: str = "fullfov"
    order: str = "official"
    crop: bool = True
    allow_partial: bool = False

    @property
    def year(self) -> int | None:
        """Year of the challenge; None for `fullfov` and `body`."""
        return year_of(self.protocol)

    @property
    def cropped(self) -> bool:
        """Whether only the ranking crop is scored."""
        return self.crop and self.year is not None

    def text(self) -> str:
        """Describe the rule for titles."""
        return rule_text(self.protocol, self.order, crop=self.crop)


@dataclass
class Opened:
    """The images of one scan with their reference and scores.

    Attributes
    ----------
    images : dict of str to Tensor of shape (frame, slice, y, x)
        Magnitudes by method, without unusable images.
    reference : Tensor of shape (frame, slice, y, x), or None
        Magnitudes of the reference, for the same slices.
    reference_is : str or None
        Origin of the reference, such as `noise-free truth`.
    remarks : list of str
        Remarks about the reference.
    slices : tuple of int
        Numbers of the slices within the scan.
    worst : int
        Position of the slice with the lowest SSIM; without scores, the middle slice.
    records : dict of str to dict
        The record of each method, with its scores if there are any.
    failures : list of (str, CmrreconError)
        Methods that are missing or have no score. The method is "" for the whole scan.
    """

    images: dict[str, Tensor] = field(default_factory=dict)
    reference: Tensor | None = None
    reference_is: str | None = None
    remarks: list[str] = field(default_factory=list)
    slices: tuple[int, ...] = ()
    worst: int = 0
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: list[tuple[str, CmrreconError]] = field(default_factory=list)

    def series(self) -> Series | None:
        """Return the shown slice of all methods in one window; None without images."""
        found = {name: image[:, self.worst] for name, image in self.images.items()}
        if not found:
            return None
        if self.reference is None:
            return in_window(found, has_reference=False)
        return in_window({REFERENCE: self.reference[:, self.worst], **found}, has_reference=True)


def open_case(case: Case, rule: Rule) -> Opened:
    """Read all reconstructions of a scan, find its reference and score them.

    What fails is listed in `failures`; everything else is made.
    """
    opened = Opened()
    made: dict[str, Reconstruction] = {}
    for method, one in case.members.items():
        opened.records[method] = _record(case, method, one)
        try:
            made[method] = _usable(one, f"scan {case.number}, {method}")
        except CmrreconError as error:
            opened.failures.append((method, error))

    _drop_other_shapes(made, opened)
    if not made:
        return opened
    first = next(iter(made.values()))
    opened.images = {method: one.images.abs().float() for method, one in made.items()}
    opened.slices = first.slices or tuple(range(first.images.shape[1]))
    opened.worst = len(opened.slices) // 2

    if rule.truth is not None:
        try:
            reference = _reference(case, first, rule)
            _score(made, reference, rule, opened)
        except CmrreconError as error:
            opened.failures.append(("", error))
    return opened


def aspect_of(case: Case) -> float:
    """Return the height of a pixel divided by its width; 1 if unknown."""
    for one in case.members.values():
        geometry = geometry_of((one.stamp or {}).get("geometry"))
        if geometry is not None and geometry.voxel_mm is not None:
            return geometry.voxel_mm[0] / geometry.voxel_mm[1]
    return 1.0


def times_of(case: Case) -> tuple[float, ...] | None:
    """Return the times of the frames in ms; None if unknown."""
    for one in case.members.values():
        geometry = geometry_of((one.stamp or {}).get("geometry"))
        if geometry is not None and geometry.frame_times_ms is not None:
            return geometry.frame_times_ms
    return None


def _record(case: Case, method: str, one: Made) -> dict[str, Any]:
    """Return the record of a reconstruction without scores."""
    stamp = one.stamp or {}
    residuals = stamp.get("data_residual")
    known = [
        float(value)
        for value in (residuals if isinstance(residuals, list) else [])
        if isinstance(value, int | float)
    ]
    return {
        "scan": case.number,
        "method": method,
        **case.facts,
        "effective_acceleration": stamp.get("effective_acceleration"),
        "residual": max(known, key=lambda value: abs(math.log(max(value, 1e-9))), default=None),
        "weights": weights_of(one.stamp)["weights"],
    }


def _usable(one: Made, name: str) -> Reconstruction:
    """Open a reconstruction, and refuse one with NaN or infinity."""
    made, _ = open_reconstruction(one.path, name)
    if not bool(torch.isfinite(made.images.abs()).all()):
        raise InputError(
            "images-not-finite",
            f"{name} contains NaN or infinity",
            "All pixels must be finite numbers",
            "Reconstruct the scan again",
        )
    return made


def _drop_other_shapes(made: dict[str, Reconstruction], opened: Opened) -> None:
    """Leave out methods whose images do not have the shape that most methods have."""
    shapes = [tuple(one.images.shape) for one in made.values()]
    if len(set(shapes)) < 2:
        return
    usual = max(shapes, key=shapes.count)

    for method, one in list(made.items()):
        shape = tuple(one.images.shape)
        if shape != usual:
            error = InputError(
                "shape-mismatch",
                f"The images have shape {shape}, those of the other methods {usual}",
                "All reconstructions of a scan must have the same shape (frame, slice, y, x)",
                "Reconstruct the scan again with the same slices and field of view",
            )
            opened.failures.append((method, error))
            del made[method]


def _reference(case: Case, first: Reconstruction, rule: Rule) -> Reference:
    """Return the reference of a scan; every slice is loaded only once."""
    assert rule.truth is not None
    assert first.facts is not None
    if case.is_twin:
        raise InputError(
            "scans-same-name",
            "Another scan has the same base, subject, centre, vendor, pattern, R and seed",
            "A reference is found by these facts, so it may belong to the other scan",
            "Put the scans into folders of different centres or subjects, or report them apart",
        )

    reference = reference_for(
        first.facts,
        rule.truth,
        rule.candidates,
        truth_first=rule.year is None,
        allow_partial=rule.allow_partial,
        view=first.view or View(),
    )
    return replace(reference, load=functools.cache(reference.load))


def _score(
    made: dict[str, Reconstruction], reference: Reference, rule: Rule, opened: Opened
) -> None:
    """Score all methods of a scan, and choose the slice that is shown."""
    per_slice = []
    shape = next(iter(opened.images.values())).shape
    opened.reference_is = reference.source
    for method, one in made.items():
        base = None if one.facts is None else one.facts.base
        try:
            images, expected = pair(one, reference, base, rule.year if rule.crop else None)
            scores = score(images, expected, protocol=rule.protocol, order=rule.order, base=base)
        except CmrreconError as error:
            opened.failures.append((method, error))
            continue
        opened.records[method] |= {
            **scores.as_dict(),
            "cropped": rule.cropped,
            "slices": images.shape[1],
            "reference_is": reference.source,
        }
        per_slice.append(_by_slice(scores))
        # Images that were cropped before have a reference of their own size.
        opened.reference = expected.abs().float() if expected.shape == shape else None
    opened.remarks = [*_doubt(made, reference), *reference.remarks]

    if per_slice:
        lowest = int(np.argmin(np.mean(per_slice, 0)))
        inside = len(per_slice[0]) < shape[1]
        start = ranking_slices(shape[1]).start if inside else 0
        opened.worst = start + lowest
    if opened.reference is None and set(opened.slices) <= set(reference.slices):
        whole = reference.images(opened.slices)
        opened.reference = whole if whole.shape == shape else None


def _doubt(made: dict[str, Reconstruction], reference: Reference) -> list[str]:
    """Remark that it is unknown whether the reference shows the same subject."""
    facts = next(iter(made.values())).facts
    unknown = facts is None or facts.subject is None
    if not unknown or parse_name(reference.path).subject is None:
        return []
    return [
        "the subject of this scan is unknown, so it could not be checked that the reference "
        "belongs to it"
    ]


def _by_slice(scores: Scores) -> Any:
    """Return the mean SSIM of each slice."""
    assert scores.ssim_images is not None
    return scores.ssim_images.mean(0).numpy()
