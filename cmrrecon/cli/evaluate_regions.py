"""`cmrrecon evaluate --roi`: scores over labelled regions, lesion boxes and the myocardium."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmrrecon.cli.evaluate_region_plan import RegionPlan
from cmrrecon.tools.errors import InputError, UsageError, suggestion

if TYPE_CHECKING:
    from torch import Tensor

    from cmrrecon.data import Acquisition
    from cmrrecon.evaluation.references import Reference
    from cmrrecon.evaluation.regions import Region
    from cmrrecon.formats.labels import LabelRow

BACKGROUND = "background"  # a region of this name needs no --background


def score_regions(
    images: "Tensor",
    expected: "Tensor",
    numbers: Sequence[int],
    reference: "Reference",
    facts: "Acquisition",
    plan: RegionPlan,
) -> dict[str, Any] | None:
    """The scores of one reconstruction over its regions, for its record.

    Parameters
    ----------
    images, expected : Tensor of shape (frame, slice, y, x)
        Reconstruction and reference, whole images.
    numbers : sequence of int
        Their slice numbers in the scan.
    reference : Reference
        Reference of the scan.
    facts : Acquisition
        Facts of the scan.
    plan : RegionPlan
        What was asked for.

    Returns
    -------
    dict or None
        The scores; None if the table has no box on these slices.

    Raises
    ------
    InputError
        If the reconstruction is cropped (`shape-mismatch`), or labels or times do not fit.
    """
    from cmrrecon.evaluation.mapping import parameter_of
    from cmrrecon.evaluation.regions import boxes, labelled
    from cmrrecon.formats.label_maps import lay_over, read_label_map

    if images.shape != expected.shape:
        raise InputError(
            "shape-mismatch",
            f"The reconstruction has shape {tuple(images.shape)} and the reference "
            f"{tuple(expected.shape)} (frame, slice, y, x)",
            "Regions are drawn on whole images",
            "Give the reconstruction before the ranking crop",
        )
    if plan.rows is not None:
        regions = boxes(_rows_of(plan, plan.rows, reference, facts), images.shape, numbers)
        return _scores(images, expected, regions, plan, plan.roi, lesions=True) if regions else None

    path = _label_map_of(plan, facts)
    labels = lay_over(read_label_map(path), images.shape, numbers, reference.slices, str(path))
    scores = _scores(images, expected, labelled(labels), plan, path, lesions=False)
    parameter = parameter_of(facts.base)
    if parameter is not None:
        scores["map"] = _map_scores(
            images, expected, labels, numbers, _times_of(plan, reference, facts), parameter
        )
    return scores


def _rows_of(
    plan: RegionPlan, rows: "Sequence[LabelRow]", reference: "Reference", facts: "Acquisition"
) -> "Sequence[LabelRow]":
    """The rows of the scan of a reference; each row belongs to one scan only."""
    from cmrrecon.evaluation.references import TRUTH
    from cmrrecon.formats import SUFFIXES
    from cmrrecon.formats.labels import rows_for

    stem = reference.path.with_name(reference.path.stem.removesuffix(TRUTH))
    names = (reference.path, *(stem.with_name(stem.name + suffix) for suffix in SUFFIXES))
    found = next(filter(None, (rows_for(rows, name) for name in names)), [])
    for row in found[:1]:
        plan.claim(row.file, facts.centre, facts.vendor, facts.subject, stem.name)
    return found


def _label_map_of(plan: RegionPlan, facts: "Acquisition") -> Path:
    """The label map of a scan: the given one, checked, or the one in the folder that fits."""
    from cmrrecon.evaluation.references import disagreement
    from cmrrecon.formats.label_maps import scan_of

    if not plan.roi.is_dir():
        other = disagreement(facts, scan_of(plan.roi))
        if other:
            raise InputError(
                "labels-mismatch",
                f"The label map {plan.roi} is of {other}",
                "Labels belong to one scan",
                "Give the label map of this scan, or a folder of label maps",
            )
        plan.claim(str(plan.roi), facts.centre, facts.vendor, facts.subject)
        return plan.roi

    fitting = [
        path
        for path in plan.candidates
        if scan_of(path).base == facts.base and not disagreement(facts, scan_of(path))
    ]
    if len(fitting) != 1:
        raise InputError(
            "labels-ambiguous" if fitting else "labels-missing",
            f"{len(fitting)} label maps in {plan.roi} fit {facts.base} of subject "
            f"{facts.subject or 'unknown'}",
            f"Exactly one must fit, named {facts.base}_label in the folder of its subject",
            "Give the label map itself with --roi",
        )
    return fitting[0]


def _times_of(plan: RegionPlan, reference: "Reference", facts: "Acquisition") -> "Tensor":
    """Times in ms (frame, slice of the scan) of a mapping series, given or beside the reference."""
    from cmrrecon.formats import read_times

    path = plan.times or reference.path.with_name(f"{facts.base}.csv")
    if not path.exists():
        raise InputError(
            "times-missing",
            f"The times of {facts.base} are unknown: there is no {path}",
            "Maps are fitted to inversion or T2-preparation times in ms, in a file beside the "
            "reference as in the data of 2023",
            "Put it there or name it with --times: a header line, then a line for each weighting "
            "with a label and a column for each slice",
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
    """The comparison of fitted maps inside the myocardium, for the record."""
    from cmrrecon.evaluation.mapping import MYOCARDIUM, RULE, compare_maps

    if len(labels) > 1:
        raise InputError(
            "shape-mismatch",
            f"The label map has {len(labels)} frames",
            "All weightings share one map, so they share the myocardium",
            "Give one frame of labels",
        )
    if 1 < times.shape[1] <= max(numbers):
        raise InputError(
            "times-shape",
            f"There are times for {times.shape[1]} slices, and slice {max(numbers)} was "
            "reconstructed",
            "Times are needed for every slice, or one column for all",
            "Give the file of this scan's times",
        )

    of_slices = times.expand(-1, len(numbers)) if times.shape[1] == 1 else times[:, list(numbers)]
    return {
        "rule": RULE,
        **asdict(compare_maps(images, expected, labels[0] == MYOCARDIUM, of_slices, parameter)),
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
    """LF-PSNR and LF-SSIM of every region, and SNR and CNR with a background, for the record."""
    from cmrrecon.evaluation.regions import RULE, average, focused, merged

    named = {region.name: region.mask for region in merged(regions)}
    noise = _noise_region(plan, named, path)
    scored = [region for region in regions if region.name != noise]
    if not scored:
        raise InputError(
            "labels-empty",
            f"Only the background is labelled in {path}",
            "Noise alone has no score",
            "Label the regions to compare with it too",
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
    """The region in which noise is measured, if there is one."""
    noise = plan.background or (BACKGROUND if BACKGROUND in named else None)
    if noise is not None and noise not in named:
        raise UsageError(
            "unknown-region",
            f"There is no region {noise!r}",
            f"The regions of {path} are {', '.join(named)}",
            suggestion(noise, named, "Name one of them with --background"),
        )
    return noise


def _over_noise(
    both: "Mapping[str, Tensor]",
    found: dict[str, dict[str, float | None]],
    masks: "Mapping[str, Tensor]",
    noise: str,
) -> dict[str, Any]:
    """Add the SNR of every region to its scores in `found`, and return CNR and rule."""
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
    """CNR of every two regions that share an image with the background, for the record."""
    from cmrrecon.evaluation.regions import contrast_to_noise, together

    contrasts: dict[str, dict[str, float | None]] = {}
    for one, two in itertools.combinations(names, 2):
        if not together(masks[one], masks[two], masks[noise]):
            continue
        signed = {
            f"{of}cnr": contrast_to_noise(series, masks[one], masks[two], masks[noise])
            for of, series in both.items()
        }
        # Reports give no sign: which region is brighter depends on their order.
        contrasts[f"{one}, {two}"] = {
            key: None if value is None else abs(value) for key, value in signed.items()
        }
    return contrasts
