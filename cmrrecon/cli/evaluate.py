"""`cmrrecon evaluate`: scores of reconstructions by a named protocol."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cmrrecon.cli import inputs, options, running
from cmrrecon.cli.choices import complete_protocols
from cmrrecon.cli.console import Console
from cmrrecon.cli.evaluate_record import facts_for_record
from cmrrecon.cli.evaluate_regions import RegionPlan, plan_regions, score_regions
from cmrrecon.cli.evaluate_tables import summary
from cmrrecon.cli.inputs import Job
from cmrrecon.cli.settings import parse_numbers
from cmrrecon.tools.errors import InputError, UsageError

if TYPE_CHECKING:
    from cmrrecon.data import Acquisition, View
    from cmrrecon.evaluation.references import Reference

EXAMPLE = (
    "Examples: cmrrecon evaluate rec/ --truth data/ --protocol cmrxrecon2025 --json >> scores.jsonl; "
    "lesions: cmrrecon evaluate rec/ --truth data/ --roi labels.csv"
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the command line asks of every reconstruction; year is None for protocol fullfov."""

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
    allow_partial: bool

    def rule(self) -> str:
        """The whole scoring rule in words, for titles."""
        if self.year is None:
            return self.protocol + (" without saturated pixels" if self.exclude_saturated else "")
        return (
            f"{self.protocol}, {self.order} order, {'ranking crop' if self.crop else 'not cropped'}"
        )


def evaluate(
    files: options.Inputs,
    truth: Annotated[
        Path,
        options.option(
            "--truth",
            help="Reference: truth images or fully sampled k-space; a file or a folder to search.",
        ),
    ],
    protocol: Annotated[
        str,
        options.option(
            "--protocol",
            help="Scoring rule: fullfov, cmrxrecon2023, cmrxrecon2024 or cmrxrecon2025.",
            autocompletion=complete_protocols,
        ),
    ] = "fullfov",
    order: Annotated[
        str,
        options.option(
            "--order",
            help="official: as the challenge's program calls it; textbook: reference always first.",
        ),
    ] = "official",
    crop: Annotated[
        bool,
        options.option(
            "--crop/--no-crop",
            help="The challenges' validation-phase crop, or full images (test phase).",
        ),
    ] = True,
    heart: Annotated[
        str | None,
        options.option(
            "--heart",
            help="Box y0,y1,x0,x1 of fullfov's heart PSNR.",
            show_default="central y/2 x x/3",
        ),
    ] = None,
    exclude_saturated: Annotated[
        bool,
        options.option(
            "--exclude-saturated",
            help="fullfov: leave out reference pixels of 0.99 of the maximum and more.",
        ),
    ] = False,
    by: Annotated[
        str | None,
        options.option(
            "--by",
            help="Also a table with bootstrap intervals by these, e.g. domain,pattern,acceleration.",
            show_default=False,
        ),
    ] = None,
    unseen: Annotated[
        list[str] | None,
        options.option(
            "--unseen",
            help="Not trained on: a domain (centre or centre/vendor), or e.g. base=T1map; for --by seen.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        str | None,
        options.option(
            "--against",
            help="Paired differences of the other methods to this one.",
            show_default=False,
        ),
    ] = None,
    roi: Annotated[
        Path | None,
        options.option(
            "--roi",
            help="Also score regions: a label map (.npy, .mat, .png, .nii.gz), a folder of <base>_label files, or labels.csv with boxes.",
            show_default=False,
        ),
    ] = None,
    background: Annotated[
        str | None,
        options.option(
            "--background",
            help="The region that noise is measured in, for SNR and CNR.",
            show_default="'background'",
        ),
    ] = None,
    times: Annotated[
        Path | None,
        options.option(
            "--times",
            help="Times of a mapping series in ms, for T1 and T2.",
            show_default="<base>.csv beside the reference",
        ),
    ] = None,
    allow_partial: options.AllowPartial = False,
    shard: options.Shard = None,
    fail_fast: options.FailFast = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Score reconstructions against references; no number is given without its protocol.

    References are matched by base name, subject, centre, vendor, coil type, split and year, as far as known. fullfov prefers a
    noise-free truth, the challenges' protocols fully sampled k-space. Tables go to standard error, scores to standard output
    with --json: one line a file, then a summary.

    --roi adds the scores of regions: LF-PSNR and LF-SSIM, with a background SNR and CNR, and for T1map and T2map the fitted values
    inside the myocardium (label 2).
    """
    console = Console(quiet=quiet, as_json=json)
    with running.command(console):
        from cmrrecon import formats
        from cmrrecon.evaluation.protocols import canonical_protocol, year_of
        from cmrrecon.evaluation.references import candidates_in

        _check_truth(truth)
        box = _heart_box(heart)
        name = canonical_protocol(protocol)
        plan = Plan(
            truth=truth,
            candidates=candidates_in(truth),
            protocol=name,
            year=year_of(name),
            by=tuple(axis.strip() for axis in by.split(",")) if by else (),
            unseen=tuple(unseen or ()),
            regions=plan_regions(roi, background, times),
            order=order,
            crop=crop,
            heart=box,
            exclude_saturated=exclude_saturated,
            against=against,
            allow_partial=allow_partial,
        )
        _check(plan)
        jobs = inputs.find_jobs(files, formats.is_images, shard)
        if len(jobs) > 1:
            jobs = [job for job in jobs if job.is_stream or not _is_uncertainty(job.path)]
        _evaluate_jobs(jobs, plan, console, whole=shard is None, fail_fast=fail_fast)


def _check_truth(truth: Path) -> None:
    """Refuse a reference that does not exist."""
    if not truth.exists():
        raise InputError(
            "file-missing",
            f"The reference {truth} does not exist",
            "A file or a folder was expected",
            "Check --truth",
        )


def _heart_box(heart: str | None) -> tuple[int, int, int, int] | None:
    """The box of --heart."""
    if heart is None:
        return None
    y0, y1, x0, x1 = parse_numbers(heart, 4, ",", "--heart", "--heart 40,125,150,280")
    return y0, y1, x0, x1


def _check(plan: Plan) -> None:
    """Refuse axes of tables that are not known, and options that the protocol does not know."""
    from cmrrecon.evaluation.generalisation import table

    table([], plan.by)
    if plan.year is not None and (plan.heart is not None or plan.exclude_saturated):
        raise UsageError(
            "options-conflict",
            f"--heart or --exclude-saturated was given with {plan.protocol}",
            "Only fullfov knows them",
            "Leave them out, or use --protocol fullfov",
        )


def _evaluate_jobs(
    jobs: Sequence[Job], plan: Plan, console: Console, *, whole: bool, fail_fast: bool
) -> None:
    """Score the jobs and sum up what was scored; `whole` is false if they are a shard."""
    records: list[dict[str, Any]] = []
    try:
        running.run_jobs(
            jobs,
            lambda job: records.append(_evaluate_job(job, plan, console)),
            console,
            fail_fast=fail_fast,
        )
    finally:
        if records:
            summary(records, plan, console, whole=whole and len(records) == len(jobs))
    if plan.regions is not None and all(record["roi"] is None for record in records):
        raise InputError(
            "labels-missing",
            f"No reconstruction has a lesion box in {plan.regions.roi}",
            "Its rows name a scan by the end of its path, and a box by y0, y1, x0 and x1",
            "Check the column file, and whether the slices of the boxes were reconstructed",
        )


def _is_uncertainty(path: Path) -> bool:
    """Whether a file says how uncertain images are; not so of damaged ones, which are reported later."""
    from cmrrecon import formats

    try:
        return "quantity" in (formats.read_provenance(path) or {})
    except InputError:
        return False


def _evaluate_job(job: Job, plan: Plan, console: Console) -> dict[str, Any]:
    """Score one reconstruction, and give its record."""
    from cmrrecon.evaluation.protocols import score
    from cmrrecon.evaluation.references import acquisition_of, cropped, slices_of, view_of
    from cmrrecon.evaluation.scoring import read_reconstruction

    with inputs.local_input(job) as path:
        images, stamp = read_reconstruction(path, job.name)
        facts = acquisition_of(path, stamp)
        reference = _reference_of(facts, view_of(stamp), plan, job.name, console)
        numbers = slices_of(stamp, images.shape[1])
        year = plan.year if plan.crop else None  # of the crop
        regional: dict[str, Any] = {}
        if plan.regions is not None or year is None:
            expected = reference.images(numbers)
        if plan.regions is not None:
            roi = score_regions(images, expected, numbers, reference, facts, plan.regions)
            regional = {"roi": roi}
            if roi is None:
                console.say(f"{job.name}: {plan.regions.roi} has no box on its slices")
        if year is not None:
            images, expected = cropped(
                images, numbers, reference, base=facts.base, year=year, name=job.name
            )
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
        record |= {"cropped": year is not None, **scores.as_dict(), **regional}
        console.result(record, job.name)
        return record


def _reference_of(
    facts: "Acquisition", view: "View", plan: Plan, name: str, console: Console
) -> "Reference":
    """The reference of a reconstruction; warns if it cannot be known whether it is of the same subject."""
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
            f"the subject of {name} is not known: that {reference.path} is of the same scan was not checked"
        )
    return reference
