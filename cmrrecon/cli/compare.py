"""`cmrrecon compare`: compare methods, networks and images on one slice of a scan in a figure."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmrrecon.cli import inputs, options, outputs, running
from cmrrecon.cli.choices import complete_methods
from cmrrecon.cli.comparison import Comparison, columns
from cmrrecon.cli.comparison_images import named_files, read_file_images
from cmrrecon.cli.comparison_settings import (
    check_dpi,
    complete_scored,
    display_of,
    figure_target,
    one_slice,
)
from cmrrecon.cli.console import Console
from cmrrecon.cli.help import examples
from cmrrecon.cli.inputs import Job
from cmrrecon.tools.errors import CmrreconError, UsageError

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
            help="Method to compare; repeat the option, or separate several methods with commas.",
            show_default="zero-filled, sense and the default method; none with --images",
            autocompletion=complete_methods,
        ),
    ] = None,
    checkpoint: Annotated[
        list[Path] | None,
        options.option(
            "--checkpoint",
            help="Weights of a network to add; may be repeated.",
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
            help="Truth images or fully sampled k-space for error maps and scores; a file or a "
            "folder to search.",
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
            help="Add a row that shows the edge region of the reference, with the similarity there "
            "(1 - EAR loss).",
        ),
    ] = False,
    slices: Annotated[
        str | None,
        options.option(
            "--slices",
            "--slice",
            help="Slice to compare, counted from 0.",
            show_default="the middle one",
        ),
    ] = None,
    frame: Annotated[int, options.option("--frame", help="Frame to show, counted from 0.")] = 0,
    window: Annotated[
        str | None,
        options.option(
            "--window",
            help="LOW,HIGH: black and white level, as fractions of the maximum of the reference "
            "(or of the first image) in the frame shown.",
            show_default="0 to the 99.5th percentile",
        ),
    ] = None,
    zoom: Annotated[
        str | None,
        options.option(
            "--zoom",
            help="Box y0,y1,x0,x1 in pixels to enlarge; error maps and profiles then show only "
            "this box.",
            show_default=False,
        ),
    ] = None,
    aspect: Annotated[
        float | None,
        options.option(
            "--aspect",
            help="Ratio of pixel height (y) to pixel width (x).",
            show_default="from the scan, else 1",
        ),
    ] = None,
    dpi: Annotated[
        int, options.option("--dpi", help="Resolution of a .png in dots per inch.")
    ] = 300,
    output: Annotated[
        str | None,
        options.option(
            "--output",
            "-o",
            help="Figure to write: .png, .pdf or .svg.",
            show_default="<name>_compare.png",
        ),
    ] = None,
    out_dir: options.OutDir = None,
    mask: Annotated[
        Path | None,
        options.option(
            "--mask", help="Sampling mask, if it is not beside the data.", show_default=False
        ),
    ] = None,
    allow_partial: options.AllowPartial = False,
    axes: options.Axes = None,
    dataset: options.Dataset = None,
    device: options.Device = "auto",
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Compare methods on one slice: images, error maps, profiles over time and scores in a figure.

    The columns are the reference, methods, networks and images, in this order. Several runs of
    the same network are labelled with the folders of their weights.

    With up to six columns the figure is 7.16 inches wide (a full journal page) and its text
    is at least 7 points in size. Text in .pdf and .svg stays editable.

    A column that fails is left out of the figure, and the exit code is then 1.
    """
    console = Console(quiet=quiet, verbose=verbose, as_json=json)
    with running.command(console):
        from cmrrecon import formats
        from cmrrecon.evaluation.figures import check_frame
        from cmrrecon.tools.devices import choose_device

        _check_options(edges, truth, protocol)
        check_dpi(dpi)
        chosen = columns(_method_names(method, images_given=bool(images)), checkpoint or [])
        files = named_files(images or [], {"reference", *chosen})
        chosen_device = choose_device(device)
        job = _one_job(file)
        target = figure_target(job, output, out_dir)

        with inputs.local_input(job) as path:
            scan = formats.read(path, axes=axes, mask=mask, dataset=dataset)
            index = one_slice(slices, scan.shape[1])
            check_frame(frame, scan.shape[0])
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
                images={name: read_file_images(file, scan, index) for name, file in files.items()},
                reference=reference,
                truth=expected,
                protocol=protocol,
                frame=frame,
                edges=edges,
                display=display,
                dpi=dpi,
                device=chosen_device,
                axes=axes,
                dataset=dataset,
            )
            _deliver(compared, target, console, overwrite=overwrite, dry_run=dry_run)


def _method_names(method: Sequence[str] | None, *, images_given: bool) -> list[str]:
    """Return the methods to compare; by default three, or none if image files are given."""
    from cmrrecon.methods.registry import DEFAULT_METHOD

    names = [name.strip() for text in method or () for name in text.split(",") if name.strip()]
    default = [] if images_given else ["zero-filled", "sense", DEFAULT_METHOD]
    return list(dict.fromkeys(names)) or default


def _one_job(file: str) -> Job:
    """Return the input; UsageError for a folder or a glob, which may hold several files."""
    from cmrrecon import formats

    found = inputs.find_jobs([file], formats.is_scan)
    if len(found) > 1 or Path(file).is_dir():
        raise UsageError(
            "input-several",
            f"{file} stands for {len(found)} files",
            "A figure shows one scan",
            f"Name one file, such as {found[0].name}",
        )
    return found[0]


def _check_options(edges: bool, truth: Path | None, protocol: str) -> None:
    """Refuse --edges without a reference, and protocols that cannot score one slice."""
    from cmrrecon.evaluation.protocols import SERIES_PROTOCOLS

    if edges and truth is None:
        raise UsageError(
            "option-needs",
            "--edges was given without a reference",
            "The edge region is computed from the reference",
            "Add the reference with --truth",
        )
    if protocol not in SERIES_PROTOCOLS:
        raise UsageError(
            "unknown-protocol",
            f"A comparison cannot be scored with {protocol!r}",
            f"The protocols for a single slice are {' and '.join(SERIES_PROTOCOLS)}",
            "Choose one of them, or score files with cmrrecon evaluate",
        )


def _reference(
    scan: "Scan", truth: Path | None, index: int, console: Console, *, allow_partial: bool
) -> "tuple[Reference | None, Tensor | None]":
    """Return the reference of a scan, if any, and its magnitudes (frame, y, x) on one slice."""
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
    console.say(f"reference for the scores: {reference.source}, {reference.path.name}")
    return reference, images


def _deliver(
    compared: Comparison, target: Path, console: Console, *, overwrite: bool, dry_run: bool
) -> None:
    """Make the figure, unless it is already finished or this is a dry run.

    Exits with 1 if some of the columns failed.
    """
    failures: list[CmrreconError] = []

    def make(file: Path, stamp: dict[str, Any]) -> dict[str, Any]:
        drawn = compared.draw(file, stamp, console)
        failures.extend(drawn.failures)
        return drawn.comparison.record()

    product = outputs.Product(target, compared.sources(), compared.stamp, make)
    outputs.deliver(product, compared.record(), console, overwrite=overwrite, dry_run=dry_run)
    if failures:
        raise typer.Exit(1)
