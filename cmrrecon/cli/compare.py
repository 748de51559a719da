"""`cmrrecon compare`: several methods on one slice of one scan, in a figure."""

import json as json_text
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmrrecon.cli import console, inputs, options, outputs, running
from cmrrecon.cli.console import Talk
from cmrrecon.cli.settings import choice_text, choice_warning
from cmrrecon.errors import CmrreconError, UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from cmrrecon.reconstruct.methods import Method
    from cmrrecon.scan import Series

EXAMPLE = (
    "Example: cmrrecon compare cine_sax_kus_ktGaussian8.mat --methods zero-filled,sense,kt-wavelet --truth cine_sax_truth.npz -o figure.png"
)
# Kinds of figures, and where each keeps the provenance.
FIGURES = {".png": "provenance", ".pdf": "Keywords", ".svg": "Description"}


def compare(
    file: Annotated[str, typer.Argument(help="A k-space file, or - for standard input.", show_default=False)],
    methods: Annotated[
        str, options.option("--methods", "-m", help="Methods to compare, with commas.", show_default="zero-filled, sense and the default")
    ] = "",
    truth: Annotated[
        Path | None,
        options.option("--truth", help="Truth images or full k-space, a file or a folder, for error maps and scores.", show_default=False),
    ] = None,
    slice_: Annotated[int | None, options.option("--slice", help="Which slice, from 0.", show_default="the middle one")] = None,
    frame: Annotated[int, options.option("--frame", help="Which frame is pictured, from 0.")] = 0,
    output: Annotated[
        str | None, options.option("--output", "-o", help="The figure: .png, .pdf or .svg.", show_default="<name>_compare.png")
    ] = None,
    mask: Annotated[
        Path | None, options.option("--mask", help="Sampling mask, if it does not lie beside the data.", show_default=False)
    ] = None,
    axes: options.Axes = None,
    device: options.Device = "auto",
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Compare methods on one slice: images, error maps, profiles over time, seconds and scores (protocol fullfov) in one figure."""
    talk = Talk(quiet=quiet, as_json=json)
    with running.command(talk):
        from cmrrecon import formats, provenance
        from cmrrecon.evaluation.references import candidates_in, reference_for
        from cmrrecon.reconstruct.methods import DEFAULT_METHOD, get_method
        from cmrrecon.reconstruct.run import choose_device

        asked = [name.strip() for name in methods.split(",") if name.strip()]
        names = list(dict.fromkeys(asked or ["zero-filled", "sense", DEFAULT_METHOD]))
        chosen = [get_method(name) for name in names]
        target_device = choose_device(device)
        job = inputs.find_jobs([file], formats.is_scan)[0]
        target = outputs.destination(job, output, None, f"{job.stem}_compare.png")
        if target.suffix.lower() not in FIGURES:
            raise UsageError(f"The figure is to be {target.name}", f"Figures are {', '.join(FIGURES)}", "Name another file with -o")
        with inputs.local_input(job) as path:
            scan = formats.read(path, axes=axes, mask=mask)
            index = scan.shape[1] // 2 if slice_ is None else slice_
            series = scan.series(index)
            if not 0 <= frame < scan.shape[0]:
                raise UsageError(
                    f"Frame {frame} was asked for", f"The scan has frames 0 to {scan.shape[0] - 1}", "Choose among these with --frame"
                )
            found = None if truth is None else reference_for(scan.acquisition, truth, candidates_in(truth), truth_first=True)
            reference = None if found is None else found.images([index])[:, 0]
            used = [path, *([Path(scan.mask_path)] if scan.mask_path else []), *([found.path] if found else [])]

            def stamp() -> dict[str, Any]:
                config = {"methods": names, "slice": index, "frame": frame, "axes": axes}
                return provenance.make(
                    console.command_line(), config=config, inputs=used, device=str(target_device), acquisition=asdict(scan.acquisition)
                )

            def make(place: Path, stamp: dict[str, Any]) -> dict[str, Any]:
                images, titles = _reconstructed(chosen, series, target_device, reference, job.name, index, talk)
                _draw(place, images, reference, frame, titles, stamp)
                return {}

            if found is not None:
                talk.say(f"scores are against {found.source}, {found.path.name}")
            record = {"input": job.name, "slice": index, "methods": names, "reference": None if found is None else found.source}
            outputs.deliver(outputs.Product(target, used, stamp, make), record, talk, overwrite=overwrite, dry_run=dry_run)


def _reconstructed(
    methods: "list[Method]", series: "Series", device: "torch.device", reference: "Tensor | None", source: str, index: int, talk: Talk
) -> "tuple[dict[str, Tensor], dict[str, str]]":
    """Magnitudes and picture titles by method; a method that refuses the series is told and left out, unless all do."""
    images: dict[str, Tensor] = {}
    titles: dict[str, str] = {}
    refusal: CmrreconError | None = None
    with talk.progress(source, len(methods), "method") as bar:
        for method in methods:
            start = time.monotonic()
            try:
                here = series.to(device if method.gpu else "cpu")
                choice = method.choose(here) if method.candidates else None
                image = method(here, choice=choice).abs().cpu()
                if choice is not None:
                    talk.say(f"{method.name}: {choice_text(index, choice)}")
                    if warning := choice_warning(choice):
                        talk.warn(f"{method.name}: {warning}")
            except CmrreconError as error:
                refusal = error
                talk.error(error, method.name)
                continue
            finally:
                bar.advance()
            images[method.name] = image
            titles[method.name] = _report(method.name, image, reference, source, index, time.monotonic() - start, talk)
    if refusal is not None and not images:
        raise refusal
    return images, titles


def _report(name: str, image: "Tensor", reference: "Tensor | None", source: str, index: int, seconds: float, talk: Talk) -> str:
    """Score one method, give the record, and return the title of its pictures."""
    from cmrrecon.evaluation.protocols import score

    record: dict[str, Any] = {
        "status": "reconstructed" if reference is None else "scored",
        "input": source,
        "method": name,
        "slice": index,
        "seconds": round(seconds, 2),
    }
    title = f"{name}\n{seconds:.1f} s"
    if reference is not None:
        scores = score(image[:, None], reference[:, None], protocol="fullfov")
        record |= scores.as_dict()
        title = f"{name}, {seconds:.1f} s\nPSNR {scores.psnr:.2f} dB, SSIM {scores.ssim:.3f} (fullfov)"
    talk.say(title.replace("\n", ", "))
    talk.result(record, None)
    return title


def _draw(
    target: Path, images: "dict[str, Tensor]", reference: "Tensor | None", frame: int, titles: dict[str, str], stamp: dict[str, Any]
) -> None:
    from cmrrecon.evaluation.figures import comparison_figure
    from cmrrecon.formats.atomic import atomic

    kind = target.suffix.lower()
    figure = comparison_figure(images, reference, frame=frame, titles=titles)
    with atomic(target) as temporary:
        figure.savefig(temporary, format=kind[1:], dpi=150, metadata={FIGURES[kind]: json_text.dumps(stamp)})
