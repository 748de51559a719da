"""Score one reconstruction for `cmrrecon evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmrrecon.cli import inputs
from cmrrecon.cli.console import Console
from cmrrecon.cli.evaluate_function import score_function
from cmrrecon.cli.evaluate_function_plan import FunctionPlan
from cmrrecon.cli.evaluate_record import facts_for_record
from cmrrecon.cli.evaluate_region_plan import RegionPlan
from cmrrecon.cli.evaluate_regions import score_regions
from cmrrecon.cli.inputs import Job
from cmrrecon.cli.label_files import Owners

if TYPE_CHECKING:
    from cmrrecon.data import Acquisition, View
    from cmrrecon.evaluation.references import Reference


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The options that apply to every reconstruction.

    Attributes
    ----------
    truth : Path
        File or folder of references.
    candidates : sequence of Path
        Possible references in that folder.
    protocol : str
        Full name of the protocol.
    year : int or None
        Year of the challenge; None for `fullfov` and `body`.
    order : str
        `official` or `textbook`.
    crop : bool
        Whether challenge protocols score the ranking crop.
    heart : tuple of int or None
        Box (y0, y1, x0, x1) for the heart PSNR.
    exclude_saturated : bool
        Whether to ignore saturated pixels.
    by : tuple of str
        Axes of the grouped table with intervals.
    unseen : tuple of str
        Domains and properties that were not in the training data.
    against : str or None
        Method with which the others are compared in pairs.
    regions : RegionPlan or None
        Regions to score as well.
    function : FunctionPlan or None
        How to compare cardiac function.
    allow_partial : bool
        Whether references may lack the edges of k-space.
    """

    truth: Path
    candidates: Sequence[Path]
    protocol: str
    year: int | None
    order: str
    crop: bool
    heart: tuple[int, int, int, int] | None
    exclude_saturated: bool
    by: tuple[str, ...]
    unseen: tuple[str, ...]
    against: str | None
    regions: RegionPlan | None
    function: FunctionPlan | None
    allow_partial: bool

    def rule(self) -> str:
        """Describe the complete scoring rule for titles."""
        from cmrrecon.evaluation.protocols import rule_text

        return rule_text(
            self.protocol, self.order, crop=self.crop, exclude_saturated=self.exclude_saturated
        )


def score_job(job: Job, plan: Plan, owners: Owners, console: Console) -> dict[str, Any]:
    """Score one reconstruction and return its record; add its labels to `owners`."""
    from cmrrecon.evaluation.protocols import score
    from cmrrecon.evaluation.reconstructions import open_reconstruction
    from cmrrecon.evaluation.scoring import pair
    from cmrrecon.formats.geometry import geometry_of

    with inputs.local_input(job) as path:
        made, stamp = open_reconstruction(path, job.name)
        # Unlike arrays, files always have both.
        assert made.facts is not None
        assert made.slices is not None
        facts = made.facts
        reference = _reference_of(facts, made.view, plan, job.name, console)
        crop_year = plan.year if plan.crop else None
        images, expected = pair(made, reference, facts.base, crop_year)

        regional: dict[str, Any] = {}
        if plan.regions is not None:
            whole = expected if crop_year is None else reference.images(made.slices)
            roi = score_regions(
                made.images, whole, made.slices, reference, facts, plan.regions, owners
            )
            regional = {"roi": roi}
            if roi is None:
                console.say(f"{job.name}: {plan.regions.roi} has no box on these slices")

        if plan.function is not None:
            whole = expected if crop_year is None else reference.images(made.slices)
            geometry = geometry_of((stamp or {}).get("geometry"))
            function, remarks = score_function(job, made, whole, reference, geometry, plan.function)
            regional["function"] = function
            for remark in remarks:
                console.warn(remark)

        scores = score(
            images,
            expected,
            protocol=plan.protocol,
            order=plan.order,
            base=facts.base,
            heart=plan.heart,
            exclude_saturated=plan.exclude_saturated,
        )

        for remark in reference.remarks:
            console.warn(remark)
        record = facts_for_record(job.name, facts, reference, stamp) | {"slices": images.shape[1]}
        return record | {"cropped": crop_year is not None, **scores.as_dict(), **regional}


def _reference_of(
    facts: "Acquisition", view: "View | None", plan: Plan, name: str, console: Console
) -> "Reference":
    """Find the reference, and warn if its subject could not be checked."""
    from cmrrecon import formats
    from cmrrecon.evaluation.references import reference_for

    reference = reference_for(
        facts,
        plan.truth,
        plan.candidates,
        truth_first=plan.year is None,
        view=view,
        allow_partial=plan.allow_partial,
    )
    if facts.subject is None and formats.parse_name(reference.path).subject is not None:
        console.warn(
            f"the subject of {name} is unknown, so it could not be checked that "
            f"{reference.path} belongs to the same scan"
        )
    return reference
