"""`cmrrecon compare`: several methods and networks on one slice of one scan, in a figure."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmrrecon.cli import inputs, options, outputs, running
from cmrrecon.cli.choices import complete_methods
from cmrrecon.cli.comparison import FIGURES, Comparison, columns
from cmrrecon.cli.console import Console
from cmrrecon.cli.inputs import Job
from cmrrecon.tools.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from cmrrecon.data import Scan
    from cmrrecon.evaluation.references import Reference

EXAMPLE = (
    "Examples: cmrrecon compare cine_sax_kus_ktGaussian8.mat --methods zero-filled,sense,kt-wavelet --truth cine_sax_truth.npz "
    "-o figure.png; networks: cmrrecon compare cine_sax_kus_ktGaussian8.mat --checkpoint runs/a/best.safetensors "
    "--checkpoint runs/b/best.safetensors"
)


def compare(
    file: Annotated[
        str, typer.Argument(help="A k-space file, or - for standard input.", show_default=False)
    ],
    methods: Annotated[
        str,
        options.option(
            "--methods",
            "-m",
            help="Methods to compare, with commas.",
            show_default="zero-filled, sense and the default",
            autocompletion=complete_methods,
        ),
    ] = "",
    checkpoint: Annotated[
        list[Path] | None,
        options.option(
            "--checkpoint",
            help="Weights of a network to compare too; may be given several times.",
            show_default=False,
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        options.option(
            "--truth",
            help="Truth images or full k-space, a file or a folder, for error maps and scores.",
            show_default=False,
        ),
    ] = None,
    edges: Annotated[
        bool,
        options.option(
            "--edges",
            help="Also a row inside the reference's edge region, with the similarity there (1 - EAR loss).",
        ),
    ] = False,
    slice_: Annotated[
        int | None,
        options.option("--slice", help="Which slice, from 0.", show_default="the middle one"),
    ] = None,
    frame: Annotated[int, options.option("--frame", help="Which frame is pictured, from 0.")] = 0,
    output: Annotated[
        str | None,
        options.option(
            "--output",
            "-o",
            help="The figure: .png, .pdf or .svg.",
            show_default="<name>_compare.png",
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        options.option(
            "--mask", help="Sampling mask, if it does not lie beside the data.", show_default=False
        ),
    ] = None,
    allow_partial: options.AllowPartial = False,
    axes: options.Axes = None,
    dataset: options.Dataset = None,
    device: options.Device = "auto",
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Compare methods on one slice: images, error maps, profiles over time, seconds and scores (protocol fullfov) in one figure.

    Networks follow the methods, each under its name; several of one network are told apart by the folders of their weights.
    """
    console = Console(quiet=quiet, as_json=json)
    with running.command(console):
        from cmrrecon import formats
        from cmrrecon.methods.registry import DEFAULT_METHOD
        from cmrrecon.tools.devices import choose_device

        _check_edges(edges, truth)
        asked = [name.strip() for name in methods.split(",") if name.strip()]
        chosen = columns(asked or ["zero-filled", "sense", DEFAULT_METHOD], checkpoint or [])
        where = choose_device(device)
        job = inputs.find_jobs([file], formats.is_scan)[0]
        target = _target(job, output)
        with inputs.local_input(job) as path:
            scan = formats.read(path, axes=axes, mask=mask, dataset=dataset)
            index = scan.shape[1] // 2 if slice_ is None else slice_
            series = scan.series(index)
            _check_frame(frame, scan.shape[0])
            reference, expected = _reference(
                scan, truth, index, console, allow_partial=allow_partial
            )
            compared = Comparison(
                name=job.name,
                path=path,
                scan=scan,
                series=series,
                index=index,
                methods=chosen,
                reference=reference,
                truth=expected,
                frame=frame,
                edges=edges,
                device=where,
                axes=axes,
                dataset=dataset,
            )
            _deliver(compared, target, console, overwrite=overwrite, dry_run=dry_run)


def _check_edges(edges: bool, truth: Path | None) -> None:
    """Refuse --edges without a reference."""
    if edges and truth is None:
        raise UsageError(
            "option-needs",
            "--edges was given without a reference",
            "The edges that count are those of the reference",
            "Give it with --truth",
        )


def _target(job: Job, output: str | None) -> Path:
    """The file of the figure; UsageError if its suffix is of no kind of figure."""
    target = outputs.destination(job, output, None, f"{job.stem}_compare.png")
    if target.suffix.lower() not in FIGURES:
        raise UsageError(
            "output-format",
            f"The figure is to be {target.name}",
            f"Figures are {', '.join(FIGURES)}",
            "Name another file with -o",
        )
    return target


def _check_frame(frame: int, frames: int) -> None:
    """Refuse a frame that a scan has not got."""
    if not 0 <= frame < frames:
        raise UsageError(
            "frame-missing",
            f"Frame {frame} was asked for",
            f"The scan has frames 0 to {frames - 1}",
            "Choose among these with --frame",
        )


def _reference(
    scan: "Scan", truth: Path | None, index: int, console: Console, *, allow_partial: bool
) -> "tuple[Reference | None, Tensor | None]":
    """What a scan is compared with, if anything, and its magnitudes (frame, y, x) of a slice."""
    from cmrrecon.evaluation.references import candidates_in, reference_for

    if truth is None:
        return None, None
    candidates = candidates_in(truth)
    reference = reference_for(
        scan.acquisition, truth, candidates, truth_first=True, allow_partial=allow_partial
    )
    images = reference.images([index])[:, 0]
    for remark in reference.remarks:
        console.warn(remark)
    console.say(f"scores are against {reference.source}, {reference.path.name}")
    return reference, images


def _deliver(
    compared: Comparison, target: Path, console: Console, *, overwrite: bool, dry_run: bool
) -> None:
    """Make the figure, unless it is finished or only a plan is wanted."""

    def make(place: Path, stamp: dict[str, Any]) -> dict[str, Any]:
        compared.draw(place, stamp, console)
        return {}

    product = outputs.Product(target, compared.sources(), compared.stamp, make)
    outputs.deliver(product, compared.record(), console, overwrite=overwrite, dry_run=dry_run)
