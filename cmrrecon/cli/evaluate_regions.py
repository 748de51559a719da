"""`cmrrecon evaluate --roi`: score labelled regions, lesion boxes and the myocardium."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmrrecon.cli.evaluate_region_plan import Owners, RegionPlan, claim
from cmrrecon.tools.errors import InputError, UsageError, suggestion

if TYPE_CHECKING:
    from torch import Tensor

    from cmrrecon.data import Acquisition
    from cmrrecon.evaluation.references import Reference
    from cmrrecon.evaluation.regions import Region
    from cmrrecon.formats.labels import LabelRow

# A region of this name is the background even without --background.
BACKGROUND = "background"


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
    from cmrrecon.evaluation.mapping import parameter_of
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
        return _scores(images, expected, regions, plan, plan.roi, lesions=True) if regions else None

    path = _label_map_of(plan, facts, owners)
    labels = lay_over(read_label_map(path), images.shape, numbers, reference.slices, str(path))
    scores = _scores(images, expected, labelled(labels), plan, path, lesions=False)
    parameter = parameter_of(facts.base)
    if parameter is not None:
        scores["map"] = _map_scores(
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


def _label_map_of(plan: RegionPlan, facts: "Acquisition", owners: Owners) -> Path:
    """Return the label map of a scan: the given file, or the matching file in the folder."""
    from cmrrecon.evaluation.references import disagreement
    from cmrrecon.formats.label_maps import scan_of

    if not plan.roi.is_dir():
        other = disagreement(facts, scan_of(plan.roi))
        if other:
            raise InputError(
                "labels-mismatch",
                f"The label map {plan.roi} belongs to {other}",
                "Labels must belong to the scan that is scored",
                "Use the label map of this scan, or a folder of label maps",
            )
        claim(owners, str(plan.roi), facts.centre, facts.vendor, facts.subject)
        return plan.roi

    fitting = [
        path
        for path in plan.candidates
        if scan_of(path).base == facts.base and not disagreement(facts, scan_of(path))
    ]
    if len(fitting) != 1:
        raise InputError(
            "labels-ambiguous" if fitting else "labels-missing",
            f"{len(fitting)} label maps in {plan.roi} match {facts.base} of subject "
            f"{facts.subject or 'unknown'}",
            f"Exactly one must match, named {facts.base}_label in the folder of its subject",
            "Name the label map itself with --roi",
        )
    return fitting[0]


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


def _map_scores(
    images: "Tensor",
    expected: "Tensor",
    labels: "Tensor",
    numbers: Sequence[int],
    times: "Tensor",
    parameter: str,
) -> dict[str, Any]:
    """Compare fitted maps inside the myocardium and return the result for the record."""
    from cmrrecon.evaluation.mapping import MYOCARDIUM, RULE, compare_maps

    if len(labels) > 1:
        raise InputError(
            "shape-mismatch",
            f"The label map has {len(labels)} frames",
            "All weightings of a mapping series share one myocardium",
            "Use a label map with one frame",
        )
    if 1 < times.shape[1] <= max(numbers):
        raise InputError(
            "times-shape",
            f"The times cover {times.shape[1]} slices, but slice {max(numbers)} was reconstructed",
            "The file needs one column per slice, or one column for all slices",
            "Use the times of this scan",
        )

    slice_times = times.expand(-1, len(numbers)) if times.shape[1] == 1 else times[:, list(numbers)]
    return {
        "rule": RULE,
        **asdict(compare_maps(images, expected, labels[0] == MYOCARDIUM, slice_times, parameter)),
    }


def _scores(
    images: "Tensor",
    expected: "Tensor",
    regions: "Sequence[Region]",
    plan: RegionPlan,
    path: Path,
    *,
    lesions: bool,
) -> dict[str, Any]:
    """Compute LF-PSNR and LF-SSIM of each region, and SNR and CNR if there is a background."""
    from cmrrecon.evaluation.regions import RULE, average, focused, merged

    named = {region.name: region.mask for region in merged(regions)}
    noise = _noise_region(plan, named, path)
    scored = [region for region in regions if region.name != noise]
    if not scored:
        raise InputError(
            "labels-empty",
            f"Only the background is labelled in {path}",
            "Scores need at least one other region",
            "Label the regions to score as well",
        )

    table = focused(images, expected, scored)
    found: dict[str, dict[str, float | None]] = {}
    for name in dict.fromkeys(region.name for region in scored):
        psnr, ssim = average(table, [n for n, region in enumerate(scored) if region.name == name])
        found[name] = {"lf_psnr": psnr, "lf_ssim": ssim}

    result: dict[str, Any] = {"file": str(path), "rule": RULE, "regions": found}
    if lesions:
        psnr, ssim = average(table, range(len(scored)))
        result["lesions"] = {"boxes": len(scored), "lf_psnr": psnr, "lf_ssim": ssim}
    if noise is not None:
        result |= _over_noise({"": images, "reference_": expected}, found, named, noise)
    return result


def _noise_region(plan: RegionPlan, named: "Mapping[str, Tensor]", path: Path) -> str | None:
    """Return the region where the noise is measured, if there is one."""
    noise = plan.background or (BACKGROUND if BACKGROUND in named else None)
    if noise is not None and noise not in named:
        raise UsageError(
            "unknown-region",
            f"There is no region {noise!r}",
            f"The regions of {path} are {', '.join(named)}",
            suggestion(noise, named, "Choose one of them with --background"),
        )
    return noise


def _over_noise(
    both: "Mapping[str, Tensor]",
    found: dict[str, dict[str, float | None]],
    masks: "Mapping[str, Tensor]",
    noise: str,
) -> dict[str, Any]:
    """Add the SNR of each region to its scores in `found`; return the CNR and the noise rule."""
    from cmrrecon.evaluation.regions import NOISE_RULE, signal_to_noise

    for name, scores in found.items():
        scores |= {
            f"{of}snr": signal_to_noise(series, masks[name], masks[noise])
            for of, series in both.items()
        }
    return {
        "noise_rule": NOISE_RULE,
        "background": noise,
        "contrasts": _contrasts(both, found, masks, noise),
    }


def _contrasts(
    both: "Mapping[str, Tensor]", names: Iterable[str], masks: "Mapping[str, Tensor]", noise: str
) -> dict[str, dict[str, float | None]]:
    """Return the CNR of each pair of regions that share an image with the background."""
    from cmrrecon.evaluation.regions import contrast_to_noise, together

    contrasts: dict[str, dict[str, float | None]] = {}
    for one, two in itertools.combinations(names, 2):
        if not together(masks[one], masks[two], masks[noise]):
            continue
        signed = {
            f"{of}cnr": contrast_to_noise(series, masks[one], masks[two], masks[noise])
            for of, series in both.items()
        }
        # The sign only depends on the order of the two regions, so it is dropped.
        contrasts[f"{one}, {two}"] = {
            key: None if value is None else abs(value) for key, value in signed.items()
        }
    return contrasts
