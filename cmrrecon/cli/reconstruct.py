"""`cmrrecon reconstruct`: reconstruct images from k-space files."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from cmrrecon.cli import export_options, inputs, options, outputs, running
from cmrrecon.cli.choices import complete_methods
from cmrrecon.cli.console import Console
from cmrrecon.cli.help import examples
from cmrrecon.cli.inputs import cost_of
from cmrrecon.cli.reconstruct_job import Plan, begin, slices_of
from cmrrecon.cli.reconstruct_messages import method_record, print_methods
from cmrrecon.cli.settings import parse_settings
from cmrrecon.cli.workers import memory_of, run_in_parallel
from cmrrecon.tools.errors import UsageError

RAW_DATA = "Options for raw data"
EXAMPLE = examples(
    "cmrrecon reconstruct cine_sax_kus_ktGaussian8.mat -o cine.h5",
    "cmrrecon reconstruct data/ --out-dir rec --workers 4",
    "cmrrecon reconstruct data/ --out-dir rec --format nii.gz --voxel-size 1.5,1.5,8",
    "cmrrecon reconstruct data/ --out-dir rec --shard auto  # in a job array",
)


def reconstruct(
    files: options.Inputs,
    method: Annotated[
        str | None,
        options.option(
            "--method",
            "-m",
            help="Reconstruction method; see --list-methods.",
            show_default="auto",
            autocompletion=complete_methods,
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        options.option(
            "--checkpoint",
            help="Weights of a network to reconstruct with; see `cmrrecon models`.",
            show_default=False,
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        options.option(
            "--set",
            metavar="KEY=VALUE",
            help="Option of the method, e.g. --set weight=0.01; may be repeated.",
            show_default=False,
        ),
    ] = None,
    list_methods: Annotated[
        bool,
        typer.Option(
            "--list-methods",
            callback=print_methods,
            is_eager=True,
            help="List the methods with their options and exit.",
        ),
    ] = False,
    slices: Annotated[
        str | None,
        options.option(
            "--slices",
            help="Reconstruct only these slices, from 0, e.g. 0,3-5.",
            show_default=False,
        ),
    ] = None,
    output: options.Output = None,
    out_dir: options.OutDir = None,
    format_: export_options.Format = None,
    adapt: Annotated[
        int,
        options.option(
            "--adapt",
            help="Adapt the network to each scan first by training on it for up to this number of "
            "steps; slow on a CPU.",
            metavar="N",
            min=0,
        ),
    ] = 0,
    uncertainty: Annotated[
        int,
        options.option(
            "--uncertainty",
            help="Also write <output>_uncertainty.h5: the variation of the images over this number "
            "of random subsets of the samples (at least 2; 0 turns it off).",
            metavar="N",
            min=0,
        ),
    ] = 0,
    whiten: Annotated[
        bool | None,
        options.option(
            "--whiten/--no-whiten",
            help="Combine the coils so that their noise is equal and uncorrelated.",
            show_default="if there is a noise scan or the noise is clearly unequal",
            rich_help_panel=RAW_DATA,
        ),
    ] = None,
    keep_oversampling: Annotated[
        bool,
        options.option(
            "--keep-oversampling",
            help="Keep the readout oversampling, which is cropped from the images by default.",
            rich_help_panel=RAW_DATA,
        ),
    ] = False,
    recon_matrix: Annotated[
        bool,
        options.option(
            "--recon-matrix",
            help="Interpolate the images to the scanner's reconstruction matrix.",
            rich_help_panel=RAW_DATA,
        ),
    ] = False,
    voxel_size: export_options.VoxelSize = None,
    also: export_options.Also = None,
    enhanced: export_options.Enhanced = False,
    patient_id: export_options.PatientId = None,
    compile_: Annotated[
        bool,
        options.option(
            "--compile", help="Compile the network first, which takes minutes but then runs faster."
        ),
    ] = False,
    mask: Annotated[
        Path | None,
        options.option(
            "--mask", help="Sampling mask, if it is not beside the data.", show_default=False
        ),
    ] = None,
    maps: Annotated[
        Path | None,
        options.option(
            "--maps",
            help="Coil sensitivity maps to use: a BART .cfl, or a file with a variable named maps.",
            show_default=False,
        ),
    ] = None,
    axes: options.Axes = None,
    dataset: options.Dataset = None,
    device: options.Device = "auto",
    shard: options.Shard = None,
    split_slices: Annotated[
        bool,
        options.option(
            "--split-slices",
            help="Let shards also share the slices of a scan; requires a shared file system.",
        ),
    ] = False,
    workers: options.Workers = 1,
    overwrite: options.Overwrite = False,
    fail_fast: options.FailFast = False,
    dry_run: options.DryRun = False,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Reconstruct images (frame, slice, y, x) from k-space files.

    Without -o or --out-dir the images are written beside the input as
    <name>_<method>.h5. --format or the suffix of -o sets the format: h5 keeps
    the phase, mat is MAT v5 with img4ranking, npy and npz are for Python, cfl is
    for BART, png and gif are for viewing, nii and nii.gz are NIfTI, and dcm is a
    folder of DICOM images. With --out-dir, mat files keep the names of the
    inputs.
    """
    console = Console(
        quiet=quiet, verbose=verbose, as_json=json, stdout_is_data=output == inputs.STREAM
    )
    with running.command(console):
        from cmrrecon import formats
        from cmrrecon.reconstruction.scan import find
        from cmrrecon.reconstruction.task import checked_options
        from cmrrecon.tools.devices import choose_device

        chosen = find(method, checkpoint)
        settings = {**parse_settings(set_ or []), **({"compile": True} if compile_ else {})}
        checked = checked_options(chosen, settings, adapt, uncertainty)
        _check_beside(uncertainty, output)
        _check_split(split_slices, shard, files, output, adapt)
        chosen_device = choose_device(device)
        on_gpu = chosen_device.type == "cuda" and chosen.on_gpu

        everything = inputs.find_jobs(files, formats.is_scan)
        outputs.check_output(output, out_dir, len(everything), "images", as_json=json)
        export = export_options.parse_export(voxel_size, also, enhanced, patient_id)
        export_options.check_format(format_, output, export)
        outputs.refuse_shared_targets(
            {
                job: export_options.target_of(job, chosen.name, output, out_dir, format_)
                for job in everything
            }
        )
        jobs = inputs.jobs_of_shard(
            everything,
            shard,
            console,
            slices=partial(slices_of, slices=slices, axes=axes, dataset=dataset)
            if split_slices
            else None,
        )
        if shard and not jobs:
            hint = "" if split_slices else "; use --split-slices to share the slices of scans"
            console.say(f"there are fewer scans than shards, so this shard has no scan{hint}")

        known = method_record(
            chosen,
            checked,
            str(chosen_device),
            console,
            by_default=method is None and checkpoint is None,
        )
        plan = Plan(
            method=method,
            checkpoint=checkpoint,
            settings=settings,
            known=known,
            device=device,
            adapt=adapt,
            uncertainty=uncertainty,
            whiten=whiten,
            keep_oversampling=keep_oversampling,
            recon_matrix=recon_matrix,
            slices=slices,
            output=output,
            out_dir=out_dir,
            format=format_,
            export=export,
            mask=mask,
            maps=maps,
            axes=axes,
            dataset=dataset,
            overwrite=overwrite,
            dry_run=dry_run,
        )
        if min(workers, len(jobs)) > 1 and on_gpu:
            console.warn("using one worker, because several scans would compete for the GPU")
        run_in_parallel(
            jobs,
            partial(begin, plan),
            1 if on_gpu else workers,
            console,
            fail_fast=fail_fast,
            cost=cost_of,
            memory=partial(memory_of, axes=axes, dataset=dataset),
        )


def _check_beside(replicates: int, output: str | None) -> None:
    """Refuse --uncertainty when the images go to standard output."""
    if replicates and output == inputs.STREAM:
        raise UsageError(
            "options-conflict",
            "--uncertainty was given with -o -",
            "It writes a second file beside the output file",
            "Name the output with -o FILE",
        )


def _check_split(
    split: bool, shard: str | None, files: list[str], output: str | None, adapt: int
) -> None:
    """Refuse --split-slices where several processes cannot share a scan."""
    if not split:
        return

    if shard is None:
        found, expected, remedy = (
            "--split-slices was given without --shard",
            "It divides the slices of a scan among shards",
            "Add --shard i/n or --shard auto, or leave out --split-slices",
        )
    elif inputs.STREAM in (*files, output):
        found, expected, remedy = (
            "--split-slices was given with standard input or output",
            "Shards exchange slices through files beside the output",
            "Use files, or leave out --split-slices",
        )
    elif adapt:
        found, expected, remedy = (
            "--split-slices was given with --adapt",
            "All slices of a scan must use the same adapted network, in one process",
            "Leave one of them out",
        )
    else:
        return

    raise UsageError("options-conflict", found, expected, remedy)
