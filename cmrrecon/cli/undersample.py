"""`cmrrecon undersample`: keep only the samples of a pattern, as the challenges did."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cmrrecon.cli import batch, console, options
from cmrrecon.cli.batch import Job
from cmrrecon.cli.console import Talk

if TYPE_CHECKING:
    from cmrrecon.scan import Scan

EXAMPLE = (
    "Examples: cmrrecon undersample cine_sax.mat --pattern kt-gaussian -R 8; "
    "in a pipe: cmrrecon undersample cine_sax.mat --pattern kt-radial -R 16 -o - | cmrrecon reconstruct - -o cine.h5"
)


@dataclass(frozen=True)
class Plan:
    """What the command line asks of every input."""

    pattern: str
    acceleration: float
    acs: int | None
    seed: int | None
    year: int | None
    mask: Path | None
    output: str | None
    out_dir: Path | None
    axes: str | None
    overwrite: bool
    dry_run: bool


def undersample(
    inputs: options.Inputs,
    pattern: Annotated[
        str,
        options.option("--pattern", "-p", help="uniform, kt-uniform, kt-gaussian, kt-radial, random, gaussian or poisson."),
    ] = "kt-gaussian",
    acceleration: Annotated[
        float, options.option("--acceleration", "-R", help="Nominal acceleration R, not counting the ACS; may be fractional.")
    ] = 8.0,
    acs: Annotated[
        int | None,
        options.option("--acs", help="Central lines always kept (kt-radial: a square block).", show_default="the year's: 24, 16 or 20"),
    ] = None,
    seed: Annotated[
        int | None,
        options.option(
            "--seed", help="Seed of a random pattern; kt-gaussian takes the official 1 to 1000.", show_default="from subject and file name"
        ),
    ] = None,
    year: Annotated[
        int | None, options.option("--year", help="Whose rules: 2023, 2024 or 2025.", show_default="the file's, else 2025")
    ] = None,
    mask: Annotated[Path | None, options.option("--mask", help="Apply this mask file instead of a pattern.", show_default=False)] = None,
    output: options.Output = None,
    out_dir: options.OutDir = None,
    axes: options.Axes = None,
    shard: options.Shard = None,
    overwrite: options.Overwrite = False,
    fail_fast: options.FailFast = False,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Undersample fully sampled k-space, writing kus and mask files under the official names.

    Without -o or --out-dir they go beside the input, e.g. cine_sax_kus_ktGaussian8.mat and cine_sax_mask_ktGaussian8.mat.
    With -o FILE.h5 (or -o -) k-space and mask are in one file.
    """
    talk = Talk(quiet=quiet, as_json=json, stdout_is_data=output == batch.STREAM)
    with batch.command(talk):
        from cmrrecon import formats

        plan = Plan(pattern, acceleration, acs, seed, year, mask, output, out_dir, axes, overwrite, dry_run)
        jobs = batch.find_jobs(inputs, formats.is_scan, shard)
        batch.check_output(output, out_dir, len(jobs), "a scan", as_json=json)
        batch.run_jobs(jobs, lambda job: _undersample_job(job, plan, talk), talk, fail_fast=fail_fast)


def _undersample_job(job: Job, plan: Plan, talk: Talk) -> None:
    from cmrrecon import formats, provenance
    from cmrrecon.formats.names import kus_name, mask_name
    from cmrrecon.scan import effective_acceleration

    with batch.local_input(job) as path:
        full = formats.read(path, axes=plan.axes)
        sampled = _sample(full, job, plan)
        assert sampled.mask is not None
        facts = sampled.acquisition
        base = facts.base if str(job.path) != batch.STREAM else "stdin"
        named = (base, facts.pattern, facts.acceleration)
        target = batch.destination(job, plan.output, plan.out_dir, kus_name(*named))
        beside = target.with_name(mask_name(*named)) if plan.output is None else target.with_name(f"{target.stem}_mask.mat")
        effective = round(effective_acceleration(sampled.mask), 2)
        record: dict[str, Any] = {"input": job.name, "output": str(target), "shape": list(full.shape), "pattern": facts.pattern}
        record |= {"acceleration": facts.acceleration, "effective_acceleration": effective, "acs": facts.acs, "seed": facts.seed}
        if target.suffix == ".mat":
            record["mask"] = str(beside)
        if plan.dry_run:
            talk.result({"status": "planned", **record}, str(target))
            return
        config = {"pattern": facts.pattern, "acceleration": facts.acceleration, "acs": facts.acs, "year": plan.year, "axes": plan.axes}
        inputs = [path, *([plan.mask] if plan.mask else [])]
        stamp = provenance.make(console.command_line(), config=config, inputs=inputs, seed=facts.seed, acquisition=asdict(facts))
        stamp |= {"effective_acceleration": effective}
        if batch.already_made(target, provenance.recipe_hash(stamp), overwrite=plan.overwrite):
            talk.say(f"{target} is finished: skipped, --overwrite makes it again")
            talk.result({"status": "skipped", **record}, str(target))
            return
        with batch.local_output(target) as file:
            if "mask" in record:
                formats.write_mask(beside, sampled.mask, x=full.shape[4], provenance=stamp)
            formats.write_scan(file, sampled, stamp)
        nominal = "not known" if facts.acceleration is None else f"{facts.acceleration:g}"
        talk.say(
            f"{target}: {facts.pattern or 'mask file'}, nominal R {nominal}, effective R {effective}, ACS {facts.acs}, seed {facts.seed}"
        )
        talk.result({"status": "done", **record}, str(target))


def _sample(full: "Scan", job: Job, plan: Plan) -> "Scan":
    from cmrrecon import formats, sampling

    if plan.mask is not None:
        known = formats.parse_name(plan.mask)
        return sampling.apply_mask(full, formats.read_mask(plan.mask), pattern=known.pattern, acceleration=known.acceleration)
    random = sampling.PATTERNS[plan.pattern].random if plan.pattern in sampling.PATTERNS else False
    seed = plan.seed if plan.seed is not None or not random else sampling.default_seed(f"{full.acquisition.subject or ''}/{job.stem}")
    return sampling.undersample(full, plan.pattern, plan.acceleration, acs=plan.acs, seed=seed, year=plan.year)
