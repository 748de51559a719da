"""`cmrrecon reconstruct`: k-space files to images."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmrrecon.cli import environment, inputs, options, outputs, running
from cmrrecon.cli.choices import complete_methods
from cmrrecon.cli.console import Console
from cmrrecon.cli.console_listener import ConsoleListener
from cmrrecon.cli.inputs import Job
from cmrrecon.cli.reconstruct_messages import list_of_methods, tell_method, tell_plan
from cmrrecon.cli.settings import (
    SAMPLING,
    parse_settings,
    parse_slices,
    residual_text,
    sampling_text,
)
from cmrrecon.tools.errors import UsageError

if TYPE_CHECKING:
    from cmrrecon.methods.base import Method
    from cmrrecon.reconstruction.task import Task

RESUMABLE = "what is finished is kept: the same command goes on from there"
RAW_DATA = "Options for raw data"
EXAMPLE = (
    "Examples: cmrrecon reconstruct cine_sax_kus_ktGaussian8.mat -o cine.h5; "
    "in a Slurm job array: cmrrecon reconstruct data/ --out-dir rec --shard auto"
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the command line asks of every input; `folder` is where the weights of a network lie."""

    method: "Method"
    settings: dict[str, Any]
    folder: str | None
    device: str
    by_default: bool
    adapt: int
    uncertainty: int
    whiten: bool | None
    keep_oversampling: bool
    recon_matrix: bool
    slices: str | None
    output: str | None
    out_dir: Path | None
    mask: Path | None
    maps: Path | None
    axes: str | None
    dataset: str | None
    overwrite: bool
    dry_run: bool


def reconstruct(
    files: options.Inputs,
    method: Annotated[
        str | None,
        options.option(
            "--method",
            "-m",
            help="How to reconstruct; see --list-methods.",
            show_default="auto",
            autocompletion=complete_methods,
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        options.option(
            "--checkpoint",
            help="Weights of a network, which then is the method; see `cmrrecon models`.",
            show_default=False,
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        options.option(
            "--set",
            help="An option of the method, e.g. --set weight=0.01 --set iterations=50.",
            show_default=False,
        ),
    ] = None,
    list_methods: Annotated[
        bool,
        typer.Option(
            "--list-methods",
            callback=list_of_methods,
            is_eager=True,
            help="List the methods and their options, and stop.",
        ),
    ] = False,
    slices: Annotated[
        str | None,
        options.option(
            "--slices", help="Only these slices, from 0, e.g. 0,3-5.", show_default=False
        ),
    ] = None,
    output: options.Output = None,
    out_dir: options.OutDir = None,
    adapt: Annotated[
        int,
        options.option(
            "--adapt",
            help="Train the network on the scan itself first, for at most so many steps; slow on a CPU.",
            min=0,
        ),
    ] = 0,
    uncertainty: Annotated[
        int,
        options.option(
            "--uncertainty",
            help="Also write <output>_uncertainty.h5: how the images vary over so many random parts of the samples (0: no; 2 or more).",
            min=0,
        ),
    ] = 0,
    whiten: Annotated[
        bool | None,
        options.option(
            "--whiten/--no-whiten",
            help="Mix the coils first so that their noise is alike.",
            show_default="auto and our iterative methods: with a noise scan, or if clearly unequal",
            rich_help_panel=RAW_DATA,
        ),
    ] = None,
    keep_oversampling: Annotated[
        bool,
        options.option(
            "--keep-oversampling",
            help="Keep the oversampling of raw data in the images; by default it is cut off.",
            rich_help_panel=RAW_DATA,
        ),
    ] = False,
    recon_matrix: Annotated[
        bool,
        options.option(
            "--recon-matrix",
            help="Interpolate raw data's images to the scanner's matrix.",
            rich_help_panel=RAW_DATA,
        ),
    ] = False,
    compile_: Annotated[
        bool,
        options.option("--compile", help="Compile the network first: minutes once, then faster."),
    ] = False,
    mask: Annotated[
        Path | None,
        options.option(
            "--mask", help="Sampling mask, if it does not lie beside the data.", show_default=False
        ),
    ] = None,
    maps: Annotated[
        Path | None,
        options.option(
            "--maps",
            help="Coil maps in place of estimated ones: .cfl of BART, or a variable maps.",
            show_default=False,
        ),
    ] = None,
    axes: options.Axes = None,
    dataset: options.Dataset = None,
    device: options.Device = "auto",
    shard: options.Shard = None,
    overwrite: options.Overwrite = False,
    fail_fast: options.FailFast = False,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Reconstruct k-space files to images (frame, slice, y, x).

    Without -o or --out-dir the images go beside the input as <name>_<method>.h5. The suffix of -o
    sets the format: .h5 keeps the phase; .mat is MAT v5 with img4ranking; .npy and .npz for Python;
    .cfl for BART; .png and .gif to look at.
    """
    console = Console(quiet=quiet, as_json=json, stdout_is_data=output == inputs.STREAM)
    with running.command(console):
        from cmrrecon import formats
        from cmrrecon.reconstruction.scan import find
        from cmrrecon.reconstruction.task import checked_options
        from cmrrecon.tools.devices import choose_device

        chosen = find(method, checkpoint)
        given = {**parse_settings(set_ or []), **({"compile": True} if compile_ else {})}
        checked = checked_options(chosen, given, adapt, uncertainty)
        _check_beside(uncertainty, output)
        where = choose_device(device)
        plan = Plan(
            method=chosen,
            settings=given,
            folder=checkpoint.absolute().parent.name if checkpoint else None,
            by_default=method is None and checkpoint is None,
            device=device,
            adapt=adapt,
            uncertainty=uncertainty,
            whiten=whiten,
            keep_oversampling=keep_oversampling,
            recon_matrix=recon_matrix,
            slices=slices,
            output=output,
            out_dir=out_dir,
            mask=mask,
            maps=maps,
            axes=axes,
            dataset=dataset,
            overwrite=overwrite,
            dry_run=dry_run,
        )
        jobs = inputs.find_jobs(files, formats.is_scan, shard)
        outputs.check_output(output, out_dir, len(jobs), "images", as_json=json)
        known = tell_method(plan.method, checked, str(where), console, by_default=plan.by_default)
        running.run_jobs(
            jobs,
            lambda job: _reconstruct_job(job, plan, known, console),
            console,
            fail_fast=fail_fast,
        )


def _check_beside(replicates: int, output: str | None) -> None:
    """Refuse a second file beside standard output."""
    if replicates and output == inputs.STREAM:
        raise UsageError(
            "options-conflict",
            "--uncertainty was given with -o -",
            "It writes a file beside the output",
            "Name the output with -o FILE",
        )


def _reconstruct_job(job: Job, plan: Plan, known: Mapping[str, Any], console: Console) -> None:
    from cmrrecon.reconstruction.result import uncertainty_path
    from cmrrecon.reconstruction.resume import Parts

    with inputs.local_input(job) as path:
        task = _task(path, plan)
        scan = task.scan
        axes = zip(scan.axes, scan.shape, strict=True)
        console.say(f"{job.name}: " + ", ".join(f"{axis} {n}" for axis, n in axes))
        for note in scan.notes:
            console.say(note.replace(str(path), job.name))
        name = f"{job.stem}_{plan.method.name}.h5"
        target = outputs.destination(job, plan.output, plan.out_dir, name)
        beside = [uncertainty_path(target)] if plan.uncertainty else []
        shape = [scan.shape[0], len(task.slices), *task.image_shape]
        record = {"input": job.name, **known, "shape": shape, "device": str(task.device)}
        if plan.dry_run:
            record |= tell_plan(task, beside, job.name, console)

        def make(file: Path, stamp: dict[str, Any]) -> dict[str, Any]:
            return _make(task, file, stamp, job.name, plan.output != inputs.STREAM, console)

        product = outputs.Product(
            target, task.inputs, lambda: task.provenance(environment.command_line()), make, beside
        )
        done = outputs.deliver(
            product, record, console, overwrite=plan.overwrite, dry_run=plan.dry_run
        )
        if done["status"] in ("done", "skipped"):
            for finished in (target, *beside):
                Parts.forget(finished)


def _task(path: Path, plan: Plan) -> "Task":
    """The reconstruction of a file."""
    from cmrrecon.reconstruction.inputs import as_scan
    from cmrrecon.reconstruction.task import Task

    scan = as_scan(path, plan.mask, plan.axes, dataset=plan.dataset, maps=plan.maps)
    return Task.of(
        scan,
        plan.method,
        plan.settings,
        slices=parse_slices(plan.slices, scan.shape[1]),
        device=plan.device,
        adapt=plan.adapt,
        uncertainty=plan.uncertainty,
        keep_oversampling=plan.keep_oversampling,
        recon_matrix=plan.recon_matrix,
        axes=plan.axes,
        dataset=plan.dataset,
        folder=plan.folder,
        whiten=plan.whiten,
    )


def _make(
    task: "Task", file: Path, stamp: dict[str, Any], name: str, lasting: bool, console: Console
) -> dict[str, Any]:
    """Reconstruct into a file, and say how it went."""
    from cmrrecon.reconstruction.result import uncertainty_path
    from cmrrecon.reconstruction.resume import OnDisk
    from cmrrecon.reconstruction.slices import run
    from cmrrecon.tools.provenance import recipe_hash

    layers = {"images": file}
    if task.uncertainty:
        layers["uncertainty"] = uncertainty_path(file)
    store = OnDisk(layers, recipe_hash(stamp), task.slices)
    with (
        store.kept_if_resumable(lasting, lambda: console.warn(RESUMABLE)),
        ConsoleListener(console, name) as told,
    ):
        result = run(task, store, told, stamp)
        written = result.save(file)
    made = {key: value for key, value in result.provenance.items() if key not in stamp}
    sampling = {key: made[key] for key in SAMPLING if key in made}
    console.say(f"{name}: {sampling_text(**sampling)}{residual_text(result.residuals)}")
    if len(written) > 1:
        console.say(f"{name}: uncertainties of the images are in {written[1]}")
        made["uncertainty"] = str(written[1])
    return made
