"""`cmrrecon evaluate`: score reconstructions with a named protocol."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cmrrecon.cli import inputs, options, running
from cmrrecon.cli.choices import complete_protocols
from cmrrecon.cli.console import Console
from cmrrecon.cli.evaluate_function_plan import plan_function
from cmrrecon.cli.evaluate_job import Plan, score_job
from cmrrecon.cli.evaluate_output import Output, complete_formats
from cmrrecon.cli.evaluate_region_plan import plan_regions
from cmrrecon.cli.evaluate_tables import summary
from cmrrecon.cli.help import examples
from cmrrecon.cli.inputs import Job
from cmrrecon.cli.label_files import Owners
from cmrrecon.cli.settings import parse_numbers
from cmrrecon.tools.errors import InputError

EXAMPLE = examples(
    "cmrrecon evaluate rec/ --truth data/",
    "cmrrecon evaluate rec/ --truth data/ --protocol cmrxrecon2025 --json",
    "cmrrecon evaluate rec/ --truth data/ --protocol body --format csv > a.csv",
    "cmrrecon evaluate rec/ --truth data/ --roi labels.csv",
    "cmrrecon evaluate rec/ --truth data/ --segmentation labels/ --bland-altman a.png",
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
            help="Scoring rule: fullfov, body, cmrxrecon2023, cmrxrecon2024 or cmrxrecon2025.",
            autocompletion=complete_protocols,
        ),
    ] = "fullfov",
    order: Annotated[
        str,
        options.option(
            "--order",
            help="For challenge protocols: official (as in the challenge code) or textbook "
            "(reference first).",
        ),
    ] = "official",
    crop: Annotated[
        bool,
        options.option(
            "--crop/--no-crop",
            help="For challenge protocols: score the crop of the validation phase, or whole images "
            "as in the test phase.",
        ),
    ] = True,
    heart: Annotated[
        str | None,
        options.option(
            "--heart",
            help="For fullfov: box y0,y1,x0,x1 for the heart PSNR.",
            show_default="central y/2 x x/3",
        ),
    ] = None,
    exclude_saturated: Annotated[
        bool,
        options.option(
            "--exclude-saturated",
            help="For fullfov: ignore pixels whose reference is at least 0.99 of the maximum.",
        ),
    ] = False,
    by: Annotated[
        str | None,
        options.option(
            "--by",
            help="Add a table grouped by these axes with bootstrap intervals, e.g. domain,pattern.",
            show_default=False,
        ),
    ] = None,
    unseen: Annotated[
        list[str] | None,
        options.option(
            "--unseen",
            help="For --by seen: a domain (centre or centre/vendor) or property (base=T1map) that "
            "was not in the training data.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        str | None,
        options.option(
            "--against",
            help="Add the paired differences between the other methods and this one.",
            show_default=False,
        ),
    ] = None,
    roi: Annotated[
        Path | None,
        options.option(
            "--roi",
            help="Also score regions from a label map (.npy, .mat, .png, .nii.gz), a folder of "
            "<base>_label files, or labels.csv with boxes.",
            show_default=False,
        ),
    ] = None,
    background: Annotated[
        str | None,
        options.option(
            "--background",
            help="Region where the noise is measured, for SNR and CNR.",
            show_default="'background'",
        ),
    ] = None,
    times: Annotated[
        Path | None,
        options.option(
            "--times",
            help="Inversion or preparation times of a mapping series in ms, for T1 and T2.",
            show_default="<base>.csv beside the reference",
        ),
    ] = None,
    segmentation: Annotated[
        Path | None,
        options.option(
            "--segmentation",
            help="Also compare cardiac function: a folder with label maps of the references and of "
            "the reconstructions, named like these files.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        Path | None,
        options.option(
            "--model",
            help="Make the label maps with this ONNX segmentation model of your own instead.",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        str | None,
        options.option(
            "--labels",
            help="Labels of the heart in these maps, e.g. lv=3,myocardium=2,rv=1 for ACDC.",
            show_default="lv=1,myocardium=2,rv=3, as in CMRxRecon",
        ),
    ] = None,
    bland_altman: Annotated[
        Path | None,
        options.option(
            "--bland-altman",
            help="Write the Bland-Altman figure of cardiac function to this .png, .pdf or .svg.",
            show_default=False,
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    allow_partial: options.AllowPartial = False,
    shard: options.Shard = None,
    fail_fast: options.FailFast = False,
    format_: Annotated[
        str | None,
        options.option(
            "--format",
            help="Format of standard output: table, csv (one row per file) or json (like --json).",
            show_default="table on a terminal, names of the scored files in a pipe",
            autocompletion=complete_formats,
        ),
    ] = None,
    quiet: Annotated[
        bool, options.option("--quiet", "-q", help="Print only scores, warnings and errors.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Score reconstructions against references with a named protocol.

    References are matched by base name, subject, centre, vendor, coil type, split and year,
    whichever of these are known. fullfov and body prefer a noise-free truth; the challenge
    protocols prefer fully sampled k-space.

    body scores the pixels inside a body mask computed from the reference.

    --roi adds scores of regions: LF-PSNR and LF-SSIM; SNR and CNR if there is a background
    region; and for T1map and T2map the fitted values in the myocardium (label 2).

    --segmentation or --model adds volumes, ejection fraction and mass of the heart,
    their errors, Dice coefficients and Hausdorff distances.
    """
    console = Console(quiet=quiet, as_json=json)
    with running.command(console):
        from cmrrecon import formats
        from cmrrecon.evaluation.generalisation import check_axes
        from cmrrecon.evaluation.protocols import canonical_protocol, check_options, year_of
        from cmrrecon.evaluation.reconstructions import is_quantity
        from cmrrecon.evaluation.references import candidates_in

        output = Output(console, format_)
        _check_truth(truth)
        box = _heart_box(heart)
        name = canonical_protocol(protocol)
        check_options(name, box, exclude_saturated)
        axes = tuple(axis.strip() for axis in by.split(",")) if by else ()
        check_axes(axes)

        plan = Plan(
            truth=truth,
            candidates=candidates_in(truth),
            protocol=name,
            year=year_of(name),
            order=order,
            crop=crop,
            heart=box,
            exclude_saturated=exclude_saturated,
            by=axes,
            unseen=tuple(unseen or ()),
            against=against,
            regions=plan_regions(roi, background, times),
            function=plan_function(segmentation, model, labels, bland_altman, overwrite=overwrite),
            allow_partial=allow_partial,
        )
        everything = inputs.find_jobs(files, formats.is_images, accompanies=is_quantity)
        jobs = inputs.jobs_of_shard(everything, shard, console)
        _evaluate_jobs(jobs, plan, output, whole=shard is None, fail_fast=fail_fast)


def _check_truth(truth: Path) -> None:
    """Refuse a reference that does not exist."""
    if not truth.exists():
        raise InputError(
            "file-missing",
            f"The reference {truth} does not exist",
            "--truth needs an existing file or folder",
            "Check the path",
        )


def _heart_box(heart: str | None) -> tuple[int, int, int, int] | None:
    """Parse the box of --heart; None without the option."""
    if heart is None:
        return None
    y0, y1, x0, x1 = parse_numbers(heart, 4, ",", "--heart", "--heart 40,125,150,280")
    return y0, y1, x0, x1


def _evaluate_jobs(
    jobs: Sequence[Job], plan: Plan, output: Output, *, whole: bool, fail_fast: bool
) -> None:
    """Score the jobs and print the summary; `whole` is false for a shard."""
    console = output.console
    records: list[dict[str, Any]] = []
    owners: Owners = {}

    def work(job: Job) -> None:
        record = score_job(job, plan, owners, console)
        records.append(record)
        output.file(record, job.name)

    try:
        running.run_jobs(jobs, work, console, fail_fast=fail_fast)
    finally:
        if records:
            summary(records, plan, output, whole=whole and len(records) == len(jobs))

    # A shard may have no box, because the boxes are on the scans of the others.
    if whole and plan.regions and all(record["roi"] is None for record in records):
        raise InputError(
            "labels-missing",
            f"{plan.regions.roi} has no box for any of the reconstructions",
            "Each row needs the end of the path of a scan, and a box as y0, y1, x0 and x1",
            "Check the column file, and that the slices with boxes were reconstructed",
        )
