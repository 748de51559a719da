"""`cmrrecon compare`: several methods on one slice of one scan, in a figure."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cmrrecon.cli import batch, console, options
from cmrrecon.cli.console import Talk

if TYPE_CHECKING:
    from torch import Tensor

    from cmrrecon.scan import Series

EXAMPLE = (
    "Example: cmrrecon compare cine_sax_kus_ktGaussian8.mat --methods zero-filled,sense,sigpy-tv --truth cine_sax_truth.npz -o figure.png"
)


def compare(
    input: Annotated[str, options.typer.Argument(help="A k-space file, or - for standard input.", show_default=False)],
    methods: Annotated[
        str, options.option("--methods", "-m", help="Methods to compare, with commas.", show_default="zero-filled, sense and the default")
    ] = "",
    truth: Annotated[
        Path | None, options.option("--truth", help="Truth images or fully sampled k-space, for error maps and scores.", show_default=False)
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
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Compare methods on one slice: images, error maps, x-t profiles, times and scores (protocol fullfov) in one figure."""
    talk = Talk(quiet=quiet, as_json=json)
    with batch.command(talk):
        from cmrrecon import formats
        from cmrrecon.errors import UsageError
        from cmrrecon.evaluation.references import load_reference
        from cmrrecon.reconstruct.methods import DEFAULT_METHOD, get_method
        from cmrrecon.reconstruct.run import choose_device

        console.use_allotted_threads()
        names = [name.strip() for name in methods.split(",") if name.strip()] or list(
            dict.fromkeys(["zero-filled", "sense", DEFAULT_METHOD])
        )
        chosen = [get_method(name) for name in names]
        target_device = choose_device(device)
        job = batch.find_jobs([input], formats.is_scan)[0]
        target = batch.destination(job, output, None, f"{job.stem}_compare.png")
        if target.exists() and not overwrite:
            raise UsageError(f"{target} exists", "Figures are replaced only on request", "Add --overwrite, or name another file with -o")
        with batch.local_input(job) as path:
            scan = formats.read(path, axes=axes, mask=mask)
            index = scan.shape[1] // 2 if slice_ is None else slice_
            series = scan.series(index).to(target_device)
        if not 0 <= frame < scan.shape[0]:
            raise UsageError(
                f"Frame {frame} was asked for", f"The scan has frames 0 to {scan.shape[0] - 1}", "Choose among these with --frame"
            )
        reference = None if truth is None else load_reference(truth)[0][:, index]
        images: dict[str, Tensor] = {}
        titles: dict[str, str] = {}
        with talk.progress(job.name, len(chosen), "method") as bar:
            for method in chosen:
                watch = batch.Stopwatch()
                images[method.name] = method(series, {}).abs().cpu()
                titles[method.name] = _report(method.name, images[method.name], reference, index, watch.seconds(), job.name, talk)
                bar.advance()
        _draw(target, images, reference, frame, titles, series)
        talk.result({"status": "done", "input": job.name, "output": str(target)}, str(target))


def _report(name: str, images: "Tensor", reference: "Tensor | None", index: int, seconds: float, source: str, talk: Talk) -> str:
    """Score one method, give the record, and return the title of its pictures."""
    from cmrrecon.evaluation.protocols import score

    record: dict[str, Any] = {"status": "scored", "input": source, "method": name, "slice": index, "seconds": seconds}
    title = f"{name}\n{seconds:.1f} s"
    if reference is not None:
        scores = score(images[:, None], reference[:, None], protocol="fullfov")
        record |= scores.as_dict()
        title = f"{name}, {seconds:.1f} s\nPSNR {scores.psnr:.2f} dB, SSIM {scores.ssim:.3f} (fullfov)"
    talk.say(title.replace("\n", ", "))
    talk.result(record, None)
    return title


def _draw(
    target: Path, images: "dict[str, Tensor]", reference: "Tensor | None", frame: int, titles: dict[str, str], series: "Series"
) -> None:
    from cmrrecon.errors import UsageError
    from cmrrecon.evaluation.figures import comparison_figure
    from cmrrecon.formats.atomic import atomic

    kinds = (".png", ".pdf", ".svg")
    if target.suffix not in kinds:
        raise UsageError(f"The figure is to be {target.name}", f"Figures are {', '.join(kinds)}", "Name another file with -o")
    figure = comparison_figure(images, reference, frame=frame, titles=titles)
    with atomic(target) as temporary:
        figure.savefig(temporary, format=target.suffix[1:], dpi=150)
