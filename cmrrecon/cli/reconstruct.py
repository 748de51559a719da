"""`cmrrecon reconstruct`: k-space files to images."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmrrecon.cli import batch, console, options
from cmrrecon.cli.batch import Job
from cmrrecon.cli.console import Talk
from cmrrecon.cli.settings import parse_settings, parse_slices

if TYPE_CHECKING:
    import torch

    from cmrrecon.reconstruct.methods import Method
    from cmrrecon.reconstruct.parts import Parts
    from cmrrecon.scan import Scan

EXAMPLE = (
    "Examples: cmrrecon reconstruct cine_sax_kus_ktGaussian8.mat -o cine.h5; "
    "in a Slurm job array: cmrrecon reconstruct data/ --out-dir rec --shard auto"
)


@dataclass(frozen=True)
class Plan:
    """What the command line asks of every input."""

    method: "Method"
    options: dict[str, Any]
    device: "torch.device"
    by_default: bool
    slices: str | None
    output: str | None
    out_dir: Path | None
    mask: Path | None
    axes: str | None
    overwrite: bool
    dry_run: bool


def _list_methods(asked: bool) -> None:
    if asked:
        from cmrrecon.reconstruct.methods import DEFAULT_METHOD, METHODS

        for name, method in METHODS.items():
            defaults = " ".join(f"{key}={value}" for key, value in method.defaults().items())
            print(f"{name}{' (default)' if name == DEFAULT_METHOD else ''}\t{method.summary}\t{defaults}")
        raise typer.Exit


def reconstruct(
    inputs: options.Inputs,
    method: Annotated[
        str | None,
        options.option("--method", "-m", help="How to reconstruct; see --list-methods.", show_default="the best one, which is named"),
    ] = None,
    set_: Annotated[
        list[str] | None,
        options.option("--set", help="An option of the method, e.g. --set weight=0.01 --set iterations=50.", show_default=False),
    ] = None,
    list_methods: Annotated[
        bool, typer.Option("--list-methods", callback=_list_methods, is_eager=True, help="List the methods and their options, and stop.")
    ] = False,
    slices: Annotated[str | None, options.option("--slices", help="Only these slices, from 0, e.g. 0,3-5.", show_default=False)] = None,
    output: options.Output = None,
    out_dir: options.OutDir = None,
    mask: Annotated[
        Path | None, options.option("--mask", help="Sampling mask, if it does not lie beside the data.", show_default=False)
    ] = None,
    axes: options.Axes = None,
    device: options.Device = "auto",
    shard: options.Shard = None,
    overwrite: options.Overwrite = False,
    fail_fast: options.FailFast = False,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Reconstruct k-space files to images (frame, slice, y, x).

    Without -o or --out-dir the images go beside the input as <name>_<method>.h5. The suffix of -o sets the format:
    .h5 keeps the phase; .mat is MAT v5 with img4ranking; .npy and .npz for Python; .png and .gif to look at.
    """
    talk = Talk(quiet=quiet, as_json=json, stdout_is_data=output == batch.STREAM)
    with batch.command(talk):
        from cmrrecon import formats
        from cmrrecon.reconstruct.methods import DEFAULT_METHOD, get_method
        from cmrrecon.reconstruct.run import choose_device

        console.use_allotted_threads()
        chosen = get_method(method or DEFAULT_METHOD)
        settings = chosen.check(parse_settings(set_ or []))
        plan = Plan(chosen, settings, choose_device(device), method is None, slices, output, out_dir, mask, axes, overwrite, dry_run)
        jobs = batch.find_jobs(inputs, formats.is_scan, shard)
        batch.check_output(output, out_dir, len(jobs), "images", as_json=json)
        talk.say(f"method {chosen.name}{' (the default)' if plan.by_default else ''}: {chosen.summary}. Device {plan.device}.")
        batch.run_jobs(jobs, lambda job: _reconstruct_job(job, plan, talk), talk, fail_fast=fail_fast)


def _reconstruct_job(job: Job, plan: Plan, talk: Talk) -> None:
    from cmrrecon import formats, provenance

    with batch.local_input(job) as path:
        scan = formats.read(path, axes=plan.axes, mask=plan.mask)
        wanted = parse_slices(plan.slices, scan.shape[1])
        target = batch.destination(job, plan.output, plan.out_dir, f"{job.stem}_{plan.method.name}.h5")
        frames, _, coils, y, x = scan.shape
        talk.say(f"{job.name}: frame {frames}, slice {scan.shape[1]}, coil {coils}, y {y}, x {x}")
        for note in scan.notes:
            talk.say(f"{job.name}: {note}")
        record: dict[str, Any] = {"input": job.name, "output": str(target), "method": plan.method.name, "options": plan.options}
        record |= {"default_method": plan.by_default, "shape": [frames, len(wanted), y, x], "device": str(plan.device)}
        if plan.dry_run:
            talk.result({"status": "planned", **record}, str(target))
            return
        stamp = provenance.make(
            console.command_line(),
            config={"method": plan.method.name, "options": plan.options, "slices": wanted, "axes": plan.axes},
            inputs=[path, *([plan.mask] if plan.mask else [])],
            device=str(plan.device),
            acquisition=asdict(scan.acquisition),
        )
        recipe = provenance.recipe_hash(stamp)
        if batch.already_made(target, recipe, overwrite=plan.overwrite):
            talk.say(f"{target} is finished: skipped, --overwrite makes it again")
            talk.result({"status": "skipped", **record}, str(target))
            return
        watch = batch.Stopwatch()
        with batch.local_output(target) as file:
            sampling = _finish(scan, wanted, plan, file, stamp, recipe, job.name, talk)
        record |= {**sampling, "seconds": watch.seconds(), "peak_memory_mb": console.peak_memory_mb()}
        nominal = "not known" if sampling["acceleration"] is None else f"{sampling['acceleration']:g}"
        talk.say(f"{target}: nominal R {nominal}, effective R {sampling['effective_acceleration']}, {record['seconds']} s")
        talk.result({"status": "done", **record}, str(target))


def _finish(
    scan: "Scan", wanted: Sequence[int], plan: Plan, file: Path, stamp: dict[str, Any], recipe: str, name: str, talk: Talk
) -> dict[str, Any]:
    """Do the slices that are missing and write the output; returns how the scan was sampled."""
    from cmrrecon import formats
    from cmrrecon.reconstruct.parts import Parts
    from cmrrecon.reconstruct.run import reconstruct_slices
    from cmrrecon.scan import effective_acceleration

    parts = Parts(file, recipe, wanted)
    missing = parts.missing()
    if len(missing) < len(wanted):
        talk.say(f"{name}: {len(wanted) - len(missing)} of {len(wanted)} slices were finished before")
    with _kept_if_interrupted(parts, talk), talk.progress(name, len(missing), "slice") as bar:
        reconstruct_slices(scan, plan.method, plan.options, parts, plan.device, bar.advance)
        mask = scan.series(wanted[0]).mask if scan.mask is None else scan.mask
        sampling = {
            "pattern": scan.acquisition.pattern,
            "acceleration": scan.acquisition.acceleration,
            "effective_acceleration": round(effective_acceleration(mask), 2),
        }
        formats.write_images(file, parts, {**stamp, **sampling})
    return sampling


@contextmanager
def _kept_if_interrupted(parts: "Parts", talk: Talk) -> Iterator[None]:
    """Finished slices outlive an interruption, and nothing else."""
    try:
        yield
    except KeyboardInterrupt:
        talk.warn("finished slices are kept: the same command goes on from there")
        raise
    except BaseException:
        parts.remove()
        raise
    parts.remove()
