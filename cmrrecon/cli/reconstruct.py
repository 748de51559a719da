"""`cmrrecon reconstruct`: k-space files to images."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from cmrrecon.cli import inputs, options, outputs, running
from cmrrecon.cli.choices import complete_methods
from cmrrecon.cli.console import Console
from cmrrecon.cli.help import examples
from cmrrecon.cli.inputs import cost_of
from cmrrecon.cli.reconstruct_job import Plan, begin, slices_of
from cmrrecon.cli.reconstruct_messages import list_of_methods, method_record
from cmrrecon.cli.settings import parse_settings
from cmrrecon.cli.workers import memory_of, run_side_by_side
from cmrrecon.tools.errors import UsageError

RAW_DATA = "Options for raw data"
EXAMPLE = examples(
    "cmrrecon reconstruct cine_sax_kus_ktGaussian8.mat -o cine.h5",
    "cmrrecon reconstruct data/ --out-dir rec --workers 4",
    "cmrrecon reconstruct data/ --out-dir rec --shard auto  # in a job array",
)


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
            help="Largest number of steps to train the network on the scan itself first; "
            "slow on a CPU.",
            metavar="N",
            min=0,
        ),
    ] = 0,
    uncertainty: Annotated[
        int,
        options.option(
            "--uncertainty",
            help="Also write <output>_uncertainty.h5: how the images vary over this number of "
            "random parts of the samples (0: no; 2 or more).",
            metavar="N",
            min=0,
        ),
    ] = 0,
    whiten: Annotated[
        bool | None,
        options.option(
            "--whiten/--no-whiten",
            help="Mix the coils so that they have equal, uncorrelated noise.",
            show_default="with a noise scan or clearly unequal noise",
            rich_help_panel=RAW_DATA,
        ),
    ] = None,
    keep_oversampling: Annotated[
        bool,
        options.option(
            "--keep-oversampling",
            help="Keep readout oversampling in the images, which is cut off by default.",
            rich_help_panel=RAW_DATA,
        ),
    ] = False,
    recon_matrix: Annotated[
        bool,
        options.option(
            "--recon-matrix",
            help="Interpolate the images to the matrix of the scanner.",
            rich_help_panel=RAW_DATA,
        ),
    ] = False,
    compile_: Annotated[
        bool,
        options.option(
            "--compile", help="Compile the network first: takes minutes, then runs faster."
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
            help="Coil maps to use: .cfl of BART, or a file with a variable maps.",
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
            help="Let shards also share the slices of a scan; they need a common file system.",
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
    """Reconstruct k-space files to images (frame, slice, y, x).

    Without -o or --out-dir the images go beside the input as
    <name>_<method>.h5. The suffix of -o sets the format: .h5 keeps the phase;
    .mat is MAT v5 with img4ranking; .npy and .npz for Python; .cfl for BART;
    .png and .gif to look at.
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
        given = {**parse_settings(set_ or []), **({"compile": True} if compile_ else {})}
        checked = checked_options(chosen, given, adapt, uncertainty)
        _check_beside(uncertainty, output)
        _check_split(split_slices, shard, files, output, adapt)
        place = choose_device(device)
        on_gpu = place.type == "cuda" and chosen.on_gpu

        jobs = inputs.find_jobs(
            files,
            formats.is_scan,
            shard,
            slices=partial(slices_of, slices=slices, axes=axes, dataset=dataset)
            if split_slices
            else None,
        )
        outputs.check_output(output, out_dir, len(jobs), "images", as_json=json)
        if shard and not jobs:
            hint = "" if split_slices else "; --split-slices would share the slices of scans"
            console.say(f"there are fewer scans than shards, and this one has none{hint}")

        known = method_record(
            chosen, checked, str(place), console, by_default=method is None and checkpoint is None
        )
        plan = Plan(
            method=method,
            checkpoint=checkpoint,
            settings=given,
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
            mask=mask,
            maps=maps,
            axes=axes,
            dataset=dataset,
            overwrite=overwrite,
            dry_run=dry_run,
        )
        if min(workers, len(jobs)) > 1 and on_gpu:
            console.warn("one worker is used: scans side by side would compete for one GPU")
        run_side_by_side(
            jobs,
            partial(begin, plan),
            1 if on_gpu else workers,
            console,
            fail_fast=fail_fast,
            cost=cost_of,
            memory=partial(memory_of, axes=axes, dataset=dataset),
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


def _check_split(
    split: bool, shard: str | None, files: list[str], output: str | None, adapt: int
) -> None:
    """Refuse slices to be split where no other process could do the rest."""
    if not split:
        return

    if shard is None:
        found, expected, remedy = (
            "--split-slices was given without --shard",
            "It shares the slices of a scan among shards",
            "Add --shard i/n or --shard auto, or leave it out",
        )
    elif inputs.STREAM in (*files, output):
        found, expected, remedy = (
            "--split-slices was given with standard input or output",
            "Shards meet in the file of the output",
            "Name files, or leave it out",
        )
    elif adapt:
        found, expected, remedy = (
            "--split-slices was given with --adapt",
            "A network that is adapted to a scan does all of its slices in one process",
            "Leave one of them out",
        )
    else:
        return

    raise UsageError("options-conflict", found, expected, remedy)
