"""`cmrrecon evaluate --roi`: score labelled regions, lesion boxes and the myocardium."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cmrrecon.cli.evaluate_region_plan import RegionPlan
from cmrrecon.cli.label_files import Owners, claim, label_map_of
from cmrrecon.tools.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from cmrrecon.data import Acquisition
    from cmrrecon.evaluation.references import Reference
    from cmrrecon.formats.labels import LabelRow


def score_regions(
    images: "Tensor",
    expected: "Tensor",
    numbers: Sequence[int],
    reference: "Reference",
    facts: "Acquisition",
    plan: RegionPlan,
    owners: Owners,
) -> dict[str, Any] | None:
    """Return the regional scores of one reconstruction for its record.

    Parameters
    ----------
    images, expected : Tensor of shape (frame, slice, y, x)
        Reconstruction and reference as whole images.
    numbers : sequence of int
        Slice numbers of the images in the scan.
    reference : Reference
        Reference of the scan.
    facts : Acquisition
        Properties of the scan.
    plan : RegionPlan
        Options for the regions.
    owners : dict
        Scans to which labels belong; those of this scan are added.

    Returns
    -------
    dict or None
        The scores, or None if the table has no box on these slices.

    Raises
    ------
    InputError
        If the reconstruction is cropped (`shape-mismatch`), or the labels or times do not match.
    """
    from cmrrecon.evaluation.mapping import compare_labelled, parameter_of
    from cmrrecon.evaluation.region_scores import region_scores
    from cmrrecon.evaluation.regions import boxes, labelled
    from cmrrecon.formats.label_maps import lay_over, read_label_map

    if images.shape != expected.shape:
        raise InputError(
            "shape-mismatch",
            f"The reconstruction has shape {tuple(images.shape)}, but the reference has shape "
            f"{tuple(expected.shape)} (frame, slice, y, x)",
            "Regions are defined on whole images",
            "Use the reconstruction before the ranking crop",
        )
    if plan.rows is not None:
        rows = _rows_of(plan.rows, reference, facts, owners)
        regions = boxes(rows, images.shape, numbers)
        if not regions:
            return None
        return region_scores(
            images,
            expected,
            regions,
            background=plan.background,
            source=str(plan.roi),
            lesions=True,
        )

    path = label_map_of(plan.roi, plan.candidates, facts, owners)
    labels = lay_over(read_label_map(path), images.shape, numbers, reference.slices, str(path))
    scores = region_scores(
        images,
        expected,
        labelled(labels),
        background=plan.background,
        source=str(path),
        lesions=False,
    )
    parameter = parameter_of(facts.base)
    if parameter is not None:
        scores["map"] = compare_labelled(
            images, expected, labels, numbers, _times_of(plan, reference, facts), parameter
        )
    return scores


def _rows_of(
    rows: "Sequence[LabelRow]", reference: "Reference", facts: "Acquisition", owners: Owners
) -> "Sequence[LabelRow]":
    """Return the table rows of a scan; each row belongs to one scan only."""
    from cmrrecon.evaluation.references import TRUTH
    from cmrrecon.formats import SUFFIXES
    from cmrrecon.formats.labels import rows_for

    stem = reference.path.with_name(reference.path.stem.removesuffix(TRUTH))
    names = (reference.path, *(stem.with_name(stem.name + suffix) for suffix in SUFFIXES))
    found = next(filter(None, (rows_for(rows, name) for name in names)), [])
    for row in found[:1]:
        claim(owners, row.file, facts.centre, facts.vendor, facts.subject, stem.name)
    return found


def _times_of(plan: RegionPlan, reference: "Reference", facts: "Acquisition") -> "Tensor":
    """Read the times in ms (frame, slice) of a mapping series from --times or the default file."""
    from cmrrecon.formats import read_times

    path = plan.times or reference.path.with_name(f"{facts.base}.csv")
    if not path.exists():
        raise InputError(
            "times-missing",
            f"The times of {facts.base} are unknown because {path} does not exist",
            "Fitting a map needs the inversion or T2-preparation times in ms, in a file beside the "
            "reference as in the 2023 data",
            "Put the file there or name it with --times: a header line, then one line per "
            "weighting with a label and one column per slice",
        )
    return read_times(path)
