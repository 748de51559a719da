"""`cmrrecon compare`: several methods, networks and images on one slice of a scan, in a figure."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmrrecon.cli import inputs, options, outputs, running
from cmrrecon.cli.choices import complete_methods
from cmrrecon.cli.comparison import Comparison, columns
from cmrrecon.cli.comparison_images import named_files, read_made
from cmrrecon.cli.comparison_settings import (
    SCORED,
    check_dpi,
    complete_scored,
    display_of,
    figure_target,
    one_slice,
)
from cmrrecon.cli.console import Console
from cmrrecon.cli.help import examples
from cmrrecon.tools.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from cmrrecon.data import Scan
    from cmrrecon.evaluation.references import Reference

EXAMPLE = examples(
    "cmrrecon compare kus.mat -m zero-filled,sense,kt-wavelet --truth truth.npz",
    "cmrrecon compare kus.mat --checkpoint run/best.safetensors -o a.pdf",
    "cmrrecon compare kus.mat --images bart=b.cfl --images ours=r.h5 -o b.pdf",
    "cmrrecon compare kus.mat -m sense --window 0,0.6 --zoom 40,125,150,280",
)


def compare(
    file: Annotated[
        str, typer.Argument(help="A k-space file, or - for standard input.", show_default=False)
    ],
    method: Annotated[
        list[str] | None,
        options.option(
            "--method",
            "--methods",
            "-m",
            help="Method to compare; repeat it, or separate several with commas.",
            show_default="zero-filled, sense and the default; none with --images",
            autocompletion=complete_methods,
        ),
    ] = None,
    checkpoint: Annotated[
        list[Path] | None,
        options.option(
            "--checkpoint",
            help="Weights of a network to compare too; may be repeated.",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        list[str] | None,
        options.option(
            "--images",
            help="NAME=FILE: images made earlier or by another program; may be repeated.",
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
    protocol: Annotated[
        str,
        options.option(
            "--protocol",
            help="Scoring rule: fullfov or body.",
            autocompletion=complete_scored,
        ),
    ] = "fullfov",
    edges: Annotated[
        bool,
        options.option(
            "--edges",
            help="Add a row inside the reference's edge region, with the similarity there "
            "(1 - EAR loss).",
        ),
    ] = False,
    slices: Annotated[
        str | None,
        options.option(
            "--slices", "--slice", help="Which slice, from 0.", show_default="the middle one"
        ),
    ] = None,
    frame: Annotated[int, options.option("--frame", help="Which frame is pictured, from 0.")] = 0,
    window: Annotated[
        str | None,
        options.option(
            "--window",
            help="LOW,HIGH: black and white as fractions of the maximum of the pictured frame of "
            "the reference, or of the first image.",
            show_default="0 to its 99.5th percentile",
        ),
    ] = None,
    zoom: Annotated[
        str | None,
        options.option(
            "--zoom",
            help="Box y0,y1,x0,x1 in pixels to enlarge; errors and profiles are then of the box.",
            show_default=False,
        ),
    ] = None,
    aspect: Annotated[
        float | None,
        options.option(
            "--aspect",
            help="Height of a pixel (y) over its width (x).",
            show_default="as the scan says, else 1",
        ),
    ] = None,
    dpi: Annotated[int, options.option("--dpi", help="Dots per inch of a .png.")] = 300,
    output: Annotated[
        str | None,
        options.option(
            "--output",
            "-o",
            help="The figure: .png, .pdf or .svg.",
            show_default="<name>_compare.png",
        ),
    ] = None,
    out_dir: options.OutDir = None,
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
    """Compare methods on one slice: images, error maps, profiles over time and scores in a figure.

    Columns are the reference, methods, networks and images, in this order. Several runs of one
    network are named by the folders of their weights.

    The figure is 7.16 inches wide (two columns of a journal) for up to six columns, with type of at
    least 7 points and editable text in .pdf and .svg.
    """
    console = Console(quiet=quiet, as_json=json)
    with running.command(console):
        from cmrrecon import formats
        from cmrrecon.tools.devices import choose_device

        _check_options(edges, truth, protocol)
        check_dpi(dpi)
        chosen = columns(_asked(method, alone=bool(images)), checkpoint or [])
        files = named_files(images or [], {"reference", *chosen})
        where = choose_device(device)
        job = inputs.find_jobs([file], formats.is_scan)[0]
        target = figure_target(job, output, out_dir)

        with inputs.local_input(job) as path:
            scan = formats.read(path, axes=axes, mask=mask, dataset=dataset)
            index = one_slice(slices, scan.shape[1])
            _check_frame(frame, scan.shape[0])
            display = display_of(scan, window, zoom, aspect)
            reference, expected = _reference(
                scan, truth, index, console, allow_partial=allow_partial
            )
            compared = Comparison(
                name=job.name,
                path=path,
                scan=scan,
                series=scan.series(index),
                index=index,
                methods=chosen,
                images={name: read_made(made, scan, index) for name, made in files.items()},
                reference=reference,
                truth=expected,
                protocol=protocol,
                frame=frame,
                edges=edges,
                display=display,
                dpi=dpi,
                device=where,
                axes=axes,
                dataset=dataset,
            )
            _deliver(compared, target, console, overwrite=overwrite, dry_run=dry_run)


def _asked(method: Sequence[str] | None, *, alone: bool) -> list[str]:
    """The names of methods; without any, the usual three, or none if there are images."""
    from cmrrecon.methods.registry import DEFAULT_METHOD

    names = [name.strip() for text in method or () for name in text.split(",") if name.strip()]
    usual = [] if alone else ["zero-filled", "sense", DEFAULT_METHOD]
    return list(dict.fromkeys(names)) or usual


def _check_options(edges: bool, truth: Path | None, protocol: str) -> None:
    """Refuse --edges without a reference, and protocols that crop."""
    if edges and truth is None:
        raise UsageError(
            "option-needs",
            "--edges was given without a reference",
            "The edges that count are those of the reference",
            "Give it with --truth",
        )
    if protocol not in SCORED:
        raise UsageError(
            "unknown-protocol",
            f"A comparison cannot be scored by {protocol!r}",
            f"The protocols for one slice are {' and '.join(SCORED)}",
            "Name one of them, or score files with cmrrecon evaluate",
        )


def _check_frame(frame: int, frames: int) -> None:
    """Refuse a frame that a scan does not have."""
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
    """The reference of a scan, if any, and its magnitudes (frame, y, x) of a slice."""
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
