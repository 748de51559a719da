"""`cmrrecon compare`: several methods and networks on one slice of one scan, in a figure."""

import json as json_text
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmrrecon.cli import console, inputs, options, outputs, running
from cmrrecon.cli.console import Talk
from cmrrecon.cli.settings import decision_text, sampling_text
from cmrrecon.tools.errors import CmrreconError, UsageError

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure
    from torch import Tensor

    from cmrrecon.data import Series
    from cmrrecon.methods.base import Method

EXAMPLE = (
    "Examples: cmrrecon compare cine_sax_kus_ktGaussian8.mat --methods zero-filled,sense,kt-wavelet --truth cine_sax_truth.npz "
    "-o figure.png; networks: cmrrecon compare cine_sax_kus_ktGaussian8.mat --checkpoint runs/a/best.safetensors "
    "--checkpoint runs/b/best.safetensors"
)
# Kinds of figures, and where each keeps the provenance.
FIGURES = {".png": "provenance", ".pdf": "Keywords", ".svg": "Description"}


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
    axes: options.Axes = None,
    device: options.Device = "auto",
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Compare methods on one slice: images, error maps, profiles over time, seconds and scores (protocol fullfov) in one figure.

    Networks follow the methods, each under its name; several of one network are told apart by the folders of their weights.
    """
    talk = Talk(quiet=quiet, as_json=json)
    with running.command(talk):
        from cmrrecon import formats
        from cmrrecon.evaluation.figures import comparison_figure
        from cmrrecon.evaluation.references import candidates_in, reference_for
        from cmrrecon.methods.registry import DEFAULT_METHOD
        from cmrrecon.tools import provenance
        from cmrrecon.tools.devices import choose_device

        if edges and truth is None:
            raise UsageError(
                "option-needs",
                "--edges was given without a reference",
                "The edges that count are those of the reference",
                "Give it with --truth",
            )
        asked = [name.strip() for name in methods.split(",") if name.strip()]
        chosen = _columns(asked or ["zero-filled", "sense", DEFAULT_METHOD], checkpoint or [])
        names = list(chosen)
        target_device = choose_device(device)
        job = inputs.find_jobs([file], formats.is_scan)[0]
        target = outputs.destination(job, output, None, f"{job.stem}_compare.png")
        if target.suffix.lower() not in FIGURES:
            raise UsageError(
                "output-format",
                f"The figure is to be {target.name}",
                f"Figures are {', '.join(FIGURES)}",
                "Name another file with -o",
            )
        with inputs.local_input(job) as path:
            scan = formats.read(path, axes=axes, mask=mask)
            index = scan.shape[1] // 2 if slice_ is None else slice_
            series = scan.series(index)
            if not 0 <= frame < scan.shape[0]:
                raise UsageError(
                    "frame-missing",
                    f"Frame {frame} was asked for",
                    f"The scan has frames 0 to {scan.shape[0] - 1}",
                    "Choose among these with --frame",
                )
            found = (
                None
                if truth is None
                else reference_for(scan.acquisition, truth, candidates_in(truth), truth_first=True)
            )
            reference = None if found is None else found.images([index])[:, 0]
            heading = sampling_text(
                pattern=scan.acquisition.pattern,
                acceleration=scan.acquisition.acceleration,
                effective_acceleration=round(series.mask.effective_acceleration(), 2),
            )
            used = [
                path,
                *([Path(scan.mask_path)] if scan.mask_path else []),
                *([found.path] if found else []),
            ]

            def stamp() -> dict[str, Any]:
                config = {"methods": names, "slice": index, "frame": frame, "axes": axes}
                weights = {
                    name: digest for name, method in chosen.items() if (digest := _digest(method))
                }
                config |= ({"weights": weights} if weights else {}) | (
                    {"edges": True} if edges else {}
                )
                return provenance.make(
                    console.command_line(),
                    config=config,
                    inputs=used,
                    device=str(target_device),
                    acquisition=asdict(scan.acquisition),
                )

            def make(place: Path, stamp: dict[str, Any]) -> dict[str, Any]:
                images, titles = _reconstructed(
                    chosen, series, target_device, reference, edges, job.name, index, talk
                )
                figure = comparison_figure(
                    images, reference, frame=frame, titles=titles, heading=heading, edges=edges
                )
                _save(place, figure, stamp)
                return {}

            if found is not None:
                talk.say(f"scores are against {found.source}, {found.path.name}")
            record = {
                "input": job.name,
                "slice": index,
                "methods": names,
                "reference": None if found is None else found.source,
            }
            outputs.deliver(
                outputs.Product(target, used, stamp, make),
                record,
                talk,
                overwrite=overwrite,
                dry_run=dry_run,
            )


def _columns(names: Sequence[str], checkpoints: Sequence[Path]) -> "dict[str, Method]":
    """The methods of these names and the networks of these weights, by what tells them apart."""
    from cmrrecon.evaluation.runs import told_apart
    from cmrrecon.methods.registry import find_method, from_checkpoint

    methods: list[Method] = [*map(find_method, names), *map(from_checkpoint, checkpoints)]
    runs = [None] * len(names) + [path.absolute().parent.name for path in checkpoints]
    records = [
        {"method": method.name, "weights": _digest(method), "run": run}
        for method, run in zip(methods, runs, strict=True)
    ]
    return {record["method"]: m for record, m in zip(told_apart(records), methods, strict=True)}


def _digest(method: "Method") -> str | None:
    """That of the weights of a network that is the method."""
    from cmrrecon.methods.network import NetworkMethod

    return method.weights().digest if isinstance(method, NetworkMethod) else None


def _reconstructed(
    methods: "Mapping[str, Method]",
    series: "Series",
    device: "torch.device",
    reference: "Tensor | None",
    edges: bool,
    source: str,
    index: int,
    talk: Talk,
) -> "tuple[dict[str, Tensor], dict[str, str]]":
    """Magnitudes and picture titles by name; a method that refuses the series is told and left out, unless all do."""
    images: dict[str, Tensor] = {}
    titles: dict[str, str] = {}
    refusal: CmrreconError | None = None
    with talk.progress(source, len(methods), "method") as bar:
        for name, method in methods.items():
            start = time.monotonic()
            try:
                image = _one(
                    method, series.to(device if method.on_gpu else "cpu"), name, index, talk
                )
            except CmrreconError as error:
                refusal = error
                talk.error(error, name)
                continue
            finally:
                bar.advance()
            images[name] = image
            seconds = round(time.monotonic() - start, 2)
            known = {"input": source, "method": name, "slice": index, "seconds": seconds}
            weights = {"weights": digest} if (digest := _digest(method)) else {}
            titles[name] = _report(known | weights, image, reference, edges, talk)
    if refusal is not None and not images:
        raise refusal
    return images, titles


def _one(method: "Method", series: "Series", name: str, index: int, talk: Talk) -> "Tensor":
    """Magnitudes (frame, y, x) of one method with its default options."""
    from cmrrecon.classical.prepared import PreparedSeries

    options, prepared = method.options(), PreparedSeries(series)
    with method.guarded(series):
        decision = method.decide(prepared, options)
    image = method.reconstruct(prepared, options, decision).images.abs().cpu()
    if decision is not None:
        talk.say(f"{name}: {decision_text(index, decision)}")
        if warning := decision.warning():
            talk.warn(f"{name}: {warning}")
    return image


def _report(
    known: dict[str, Any], image: "Tensor", reference: "Tensor | None", edges: bool, talk: Talk
) -> str:
    """Score one method, give the record with what is known already, and return the title of its pictures."""
    from cmrrecon.evaluation.figures import edge_similarity
    from cmrrecon.evaluation.protocols import score

    record = {"status": "reconstructed" if reference is None else "scored", **known}
    title = f"{known['method']}, {known['seconds']:.1f} s"
    if reference is not None:
        scores = score(image[:, None], reference[:, None], protocol="fullfov")
        record |= scores.as_dict()
        title += f"\nPSNR {scores.psnr:.2f} dB, SSIM {scores.ssim:.3f} (fullfov)"
        if edges:
            record["edge_similarity"] = edge_similarity(image, reference)
            title += f"\nedge similarity {record['edge_similarity']:.3f} (1 − EAR loss)"
    talk.say(title.replace("\n", ", "))
    talk.result(record, None)
    return title


def _save(target: Path, figure: "Figure", stamp: dict[str, Any]) -> None:
    from cmrrecon.tools.atomic import atomic

    kind = target.suffix.lower()
    with atomic(target) as temporary:
        figure.savefig(
            temporary, format=kind[1:], dpi=150, metadata={FIGURES[kind]: json_text.dumps(stamp)}
        )
