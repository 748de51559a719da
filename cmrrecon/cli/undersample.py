"""`cmrrecon undersample`: keep only the samples of a pattern, as in the challenges."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cmrrecon.cli import environment, inputs, options, outputs, running, skipping
from cmrrecon.cli.choices import complete_patterns
from cmrrecon.cli.console import Console
from cmrrecon.cli.help import examples
from cmrrecon.cli.inputs import Job
from cmrrecon.cli.settings import sampling_text
from cmrrecon.cli.worker import Work
from cmrrecon.cli.workers import memory_of, run_in_parallel
from cmrrecon.tools.errors import InputError, UsageError
from cmrrecon.tools.scratch import scratch_folder

if TYPE_CHECKING:
    from cmrrecon.data import CartesianMask, Scan

EXAMPLE = examples(
    "cmrrecon undersample cine_sax.mat --pattern kt-gaussian -R 8",
    "cmrrecon undersample cine_sax.mat -R 16 -o - | cmrrecon reconstruct - -o a.h5",
    "cmrrecon undersample data/ -R 8 --out-dir under --workers 4",
)

DEFAULT_PATTERN = "kt-gaussian"
DEFAULT_ACCELERATION = 8.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The options that apply to every input, and the folder of claims; see `outputs.claim`."""

    pattern: str
    acceleration: float
    acs: int | None
    seed: int | None
    year: int | None
    mask: Path | None
    output: str | None
    out_dir: Path | None
    axes: str | None
    dataset: str | None
    overwrite: bool
    dry_run: bool
    claims: Path


def undersample(
    files: options.Inputs,
    pattern: Annotated[
        str | None,
        options.option(
            "--pattern",
            "-p",
            help="uniform, kt-uniform, kt-gaussian, kt-radial, random, gaussian or poisson.",
            show_default=DEFAULT_PATTERN,
            autocompletion=complete_patterns,
        ),
    ] = None,
    acceleration: Annotated[
        float | None,
        options.option(
            "--acceleration",
            "-R",
            help="Nominal acceleration R without the ACS lines; may be fractional.",
            show_default=f"{DEFAULT_ACCELERATION:g}",
        ),
    ] = None,
    acs: Annotated[
        int | None,
        options.option(
            "--acs",
            help="Number of central lines that are always kept (kt-radial: side of the central "
            "block).",
            show_default="24, 16 or 20, depending on the year",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        options.option(
            "--seed",
            help="Seed for random patterns; the official kt-gaussian seeds are 1 to 1000.",
            show_default="from centre, subject and name",
        ),
    ] = None,
    year: Annotated[
        int | None,
        options.option(
            "--year",
            help="Year of the challenge whose rules apply: 2023, 2024 or 2025.",
            show_default="the year of the file, else 2025",
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        options.option(
            "--mask", help="Apply this mask file instead of a pattern.", show_default=False
        ),
    ] = None,
    output: options.Output = None,
    out_dir: options.OutDir = None,
    axes: options.Axes = None,
    dataset: options.Dataset = None,
    shard: options.Shard = None,
    workers: options.Workers = 1,
    overwrite: options.Overwrite = False,
    fail_fast: options.FailFast = False,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Undersample fully sampled k-space; outputs get the official names.

    Without -o or --out-dir the outputs are written beside the input, e.g.
    cine_sax_kus_ktGaussian8.mat and cine_sax_mask_ktGaussian8.mat. With -o
    FILE.h5, .npz or .mrd (ISMRMRD), or -o -, one file contains k-space and
    mask; with .cfl (BART) the mask is written beside it. Files in a folder that
    are already undersampled are skipped.
    """
    console = Console(quiet=quiet, as_json=json, stdout_is_data=output == inputs.STREAM)
    with running.command(console), scratch_folder() as claims:
        from cmrrecon import formats

        pattern_options = (pattern, acceleration, acs, seed, year)
        _check_source(mask, any(value is not None for value in pattern_options))

        plan = Plan(
            pattern=pattern or DEFAULT_PATTERN,
            acceleration=DEFAULT_ACCELERATION if acceleration is None else acceleration,
            acs=acs,
            seed=seed,
            year=year,
            mask=mask,
            output=output,
            out_dir=out_dir,
            axes=axes,
            dataset=dataset,
            overwrite=overwrite,
            dry_run=dry_run,
            claims=claims,
        )
        everything = inputs.find_jobs(files, formats.is_scan)
        outputs.check_output(output, out_dir, len(everything), "a scan", as_json=json)
        jobs = inputs.jobs_of_shard(everything, shard, console, cost=skipping.cost_of_full)
        try:
            run_in_parallel(
                jobs,
                partial(_begin, plan),
                workers,
                console,
                fail_fast=fail_fast,
                cost=skipping.cost_of_full,
                memory=partial(memory_of, axes=axes, dataset=dataset),
            )
        finally:
            skipping.report_total(jobs, console)


def _check_source(mask: Path | None, has_pattern: bool) -> None:
    """Refuse a mask file together with pattern options."""
    if mask is not None and has_pattern:
        raise UsageError(
            "options-conflict",
            "--mask was given together with pattern options",
            "The samples are set either by a mask file or by a pattern",
            "Leave out either --mask or --pattern, -R, --acs, --seed and --year",
        )


def _begin(plan: Plan) -> Work:
    """Return the function that undersamples a job."""
    return lambda job, console: _undersample_job(job, plan, console)


def _undersample_job(job: Job, plan: Plan, console: Console) -> None:
    """Undersample one input and report it."""
    from cmrrecon import formats
    from cmrrecon.data import CartesianMask, require_cartesian
    from cmrrecon.formats.names import kus_name, mask_name
    from cmrrecon.sampling import rules_year

    with inputs.local_input(job) as path:
        full = formats.read(path, axes=plan.axes, dataset=plan.dataset)
        if job.found and (reason := skipping.reason_of(job, full)):
            skipping.skip(job, reason, console)
            return
        require_cartesian(full.mask, job.name, "Undersampling")

        year = rules_year(full, plan.year)
        try:
            sampled = _sample(full, job, plan, year)
        except InputError as error:
            if not job.found or error.code != "kspace-undersampled":
                raise
            skipping.skip(job, "according to its samples", console)
            return

        for note in inputs.notes_of(full):
            console.say(note.replace(str(path), job.name))
        for note in sampled.notes[len(full.notes) :]:
            console.warn(note.replace(str(path), job.name))
        if plan.mask is None and plan.year is None and full.acquisition.year is None:
            console.say(
                f"{job.name}: the challenge year is unknown, so the rules of {year} apply "
                "(--year changes this)"
            )

        facts, applied = sampled.acquisition, sampled.mask
        assert isinstance(applied, CartesianMask)
        sampling: dict[str, Any] = {
            "pattern": facts.pattern,
            "acceleration": facts.acceleration,
            **applied.described(),
        }
        record: dict[str, Any] = {
            "input": job.name,
            "shape": list(full.shape),
            **sampling,
            "acs": facts.acs,
            "seed": facts.seed,
        }

        named = (job.stem if job.is_stream else facts.base, facts.pattern, facts.acceleration)
        target = outputs.destination(job, plan.output, plan.out_dir, kus_name(*named))
        outputs.claim(plan.claims, target, job.name)
        sources = [path, *([plan.mask] if plan.mask else [])]
        product = _product(job.name, target, sampled, sampling, year, sources, plan, console)
        if target.suffix.lower() in (".mat", ".cfl"):
            name = f"{target.stem}_mask{target.suffix}"
            beside = target.with_name(mask_name(*named) if plan.output is None else name)
            record["mask"] = str(beside)
            product = _with_mask(product, beside, applied, full.shape[4], plan)

        _warn_about_losses(sampled, target, job.name, console)
        outputs.deliver(product, record, console, overwrite=plan.overwrite, dry_run=plan.dry_run)


def _warn_about_losses(scan: "Scan", target: Path, name: str, console: Console) -> None:
    """Warn about properties of a scan that the output format cannot store."""
    from cmrrecon.formats.companions import SUFFIXES, named

    keeps = str(target) == inputs.STREAM or target.suffix.lower() in SUFFIXES
    lost = [] if keeps else named(scan)
    if lost:
        console.warn(
            f"{name}: {target.suffix} cannot store {', '.join(lost)}; use -o FILE.h5 to keep them"
        )


def _with_mask(
    product: outputs.Product, beside: Path, mask: "CartesianMask", x: int, plan: Plan
) -> outputs.Product:
    """Return the product with a mask file beside it, unless that file is the input mask."""
    from cmrrecon import formats

    if plan.mask and beside.exists() and beside.samefile(plan.mask):
        return product
    return replace(
        product,
        beside=[beside],
        finish=lambda made: formats.write_mask(beside, mask.samples, x=x, provenance=made),
    )


def _product(
    name: str,
    target: Path,
    sampled: "Scan",
    sampling: dict[str, Any],
    year: int,
    sources: Sequence[Path],
    plan: Plan,
    console: Console,
) -> outputs.Product:
    """Return the undersampled scan as a product without a mask file."""
    from cmrrecon import formats
    from cmrrecon.tools import provenance

    facts = sampled.acquisition

    def stamp() -> dict[str, Any]:
        config = {
            "pattern": facts.pattern,
            "acceleration": facts.acceleration,
            "acs": facts.acs,
            "year": year,
            "axes": plan.axes,
            **({"dataset": plan.dataset} if plan.dataset else {}),
        }

        made = provenance.make(
            environment.command_line(),
            config=config,
            inputs=sources,
            seed=facts.seed,
            acquisition=asdict(facts),
        )
        return {**made, **sampling}

    def make(file: Path, stamp: dict[str, Any]) -> dict[str, Any]:
        formats.write_scan(file, sampled, stamp)
        details = f", ACS {facts.acs}" if facts.acs is not None else ""
        details += f", seed {facts.seed}" if facts.seed is not None else ""
        console.say(f"{name}: {sampling_text(**sampling)}{details}")
        return {}

    return outputs.Product(target, sources, stamp, make)


def _sample(full: "Scan", job: Job, plan: Plan, year: int) -> "Scan":
    """Apply the mask file or the pattern to a scan."""
    from cmrrecon import formats, sampling

    if plan.mask is not None:
        known = formats.parse_name(plan.mask)
        return sampling.apply_mask(
            full,
            formats.read_mask(plan.mask),
            pattern=known.pattern,
            acceleration=known.acceleration,
        )
    if job.is_stream:
        # The name of the temporary file does not describe the scan.
        full = replace(full, path="")
    return sampling.undersample(
        full, plan.pattern, plan.acceleration, acs=plan.acs, seed=plan.seed, year=year
    )
