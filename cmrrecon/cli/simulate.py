"""`cmrrecon simulate`: simulate scans with a known truth."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cmrrecon.cli import environment, inputs, options, outputs, running
from cmrrecon.cli.choices import complete_kinds
from cmrrecon.cli.console import Console
from cmrrecon.cli.help import examples
from cmrrecon.cli.settings import parse_numbers
from cmrrecon.tools.errors import UsageError

if TYPE_CHECKING:
    from cmrrecon.simulation import Simulated

EXAMPLE = examples(
    "cmrrecon simulate --kind cine --slice-count 2 --size 204x448 --snr 30 --seed 1",
    "cmrrecon simulate --spokes 34 -o radial.h5",
    "cmrrecon simulate --random --slice-count 6 --out-dir scenes",
)
LABELS = "labels.csv"


def simulate(
    kind: Annotated[
        str | None,
        options.option(
            "--kind",
            "-k",
            help="cine, perfusion, t1map or t2map.",
            show_default="cine",
            autocompletion=complete_kinds,
        ),
    ] = None,
    frames: Annotated[
        int | None,
        options.option(
            "--frames",
            help="Number of frames, or of weightings of a mapping series.",
            show_default="the usual number for the kind",
        ),
    ] = None,
    # Other commands select slices with --slices. Here it is only an alias, without an environment
    # variable of that name.
    slices: Annotated[
        int,
        options.option("--slice-count", "--slices", help="Number of short-axis slices.", min=1),
    ] = 3,
    coils: Annotated[int, options.option("--coils", help="Number of receive coils.", min=1)] = 10,
    size: Annotated[
        str, options.option("--size", help="Matrix as YxX: phase-encoding lines x readout samples.")
    ] = "204x448",
    spokes: Annotated[
        int | None,
        options.option(
            "--spokes",
            help="Golden-angle radial sampling with this number of spokes per frame; --size YxX "
            "then means images of YxY pixels and X samples per spoke.",
            min=1,
            show_default="Cartesian",
        ),
    ] = None,
    snr: Annotated[
        float,
        options.option(
            "--snr",
            help="Signal-to-noise ratio in dB: RMS of the object relative to the noise of a pixel.",
        ),
    ] = 30.0,
    lesions: Annotated[
        bool,
        options.option(
            "--lesions",
            help="Add lesions to the heart wall in every second slice and list them in labels.csv.",
        ),
    ] = False,
    random: Annotated[
        bool,
        options.option(
            "--random",
            help="Simulate random scenes instead of a heart, a different one in each slice, with "
            "random coils.",
        ),
    ] = False,
    seed: Annotated[
        int,
        options.option(
            "--seed", help="Seed for anatomy, coils and noise; seed 0 gives subject P001."
        ),
    ] = 0,
    output: options.Output = None,
    out_dir: Annotated[
        Path,
        options.option(
            "--out-dir", help="Folder in which the official folder structure is created."
        ),
    ] = Path("simulated"),
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Simulate scans with a known truth: a beating heart phantom, or random scenes.

    The k-space is fully sampled or radial. Files are written to --out-dir in the official 2025
    folder structure: <base>.mat, <base>_truth.npz (the noise-free image and the coil maps) and,
    for mapping, <base>.csv with the times in ms. With -o FILE (or -o -) only the k-space is
    written. Radial k-space has no official place: it is written to <base>.h5 in a folder Radial
    instead of FullSample, or to -o FILE.h5 or .npz. With --lesions, the rows of this scan are
    added to labels.csv in --out-dir, for preprocess --labels; rows of other scans are kept.
    --random cannot be combined with --kind, --spokes or --lesions.
    """
    console = Console(quiet=quiet, as_json=json, stdout_is_data=output == inputs.STREAM)
    with running.command(console):
        from cmrrecon import simulation

        outputs.check_output(output, None, 1, "a scan", as_json=json)
        _check_lesions(lesions, output)
        y, x = parse_numbers(size, 2, "x", "--size", "--size 204x448")
        made = simulation.simulate(
            kind,
            frames=frames,
            slices=slices,
            coils=coils,
            y=y,
            x=x,
            snr_db=snr,
            seed=seed,
            spokes=spokes,
            lesions=lesions,
            random=random,
        )

        single_file = output is not None
        official = out_dir / _official_path(made, radial=spokes is not None)
        target = official if output is None else Path(output)
        product = _product(
            made, target, _config(made, snr, lesions), seed, console, single_file=single_file
        )
        outputs.deliver(product, _record(made, seed), console, overwrite=overwrite, dry_run=dry_run)
        if not single_file and not dry_run:
            _list_lesions(out_dir, target, made.lesions)


def _check_lesions(lesions: bool, output: str | None) -> None:
    """Refuse --lesions without a folder for the table of labels."""
    if lesions and output is not None:
        raise UsageError(
            "options-conflict",
            "Both -o and --lesions were given",
            "Lesions are listed in labels.csv in --out-dir",
            "Leave one of them out",
        )


def _config(made: "Simulated", snr: float, lesions: bool) -> dict[str, Any]:
    """Return the settings for the provenance."""
    config = {
        "kind": made.kind,
        "shape": list(made.scan.shape),
        "matrix": made.scan.matrix,
        "snr_db": snr,
    }
    return {**config, "lesions": True} if lesions else config


def _official_path(made: "Simulated", *, radial: bool) -> Path:
    """Return the path of a scan in the folder structure of the 2025 challenge."""
    facts = made.scan.acquisition
    place = (
        facts.modality,
        "TrainingSet",
        "Radial" if radial else "FullSample",
        facts.centre,
        facts.vendor,
        facts.subject,
    )
    return Path("MultiCoil", *map(str, place), f"{facts.base}{'.h5' if radial else '.mat'}")


def _record(made: "Simulated", seed: int) -> dict[str, Any]:
    """Return the properties of a scan that --json prints."""
    scan = made.scan
    record = {
        "shape": list(scan.shape),
        "axes": list(scan.axes),
        "matrix": scan.matrix,
        "kind": made.kind,
        "seed": seed,
        "noise_sigma": made.sigma,
    }
    return record if made.lesions is None else {**record, "lesions": made.lesions}


def _product(
    made: "Simulated",
    target: Path,
    config: Mapping[str, Any],
    seed: int,
    console: Console,
    *,
    single_file: bool,
) -> outputs.Product:
    """Return the scan as a product, with truth and times beside it unless `single_file`."""
    from cmrrecon import formats
    from cmrrecon.tools import provenance

    scan, facts = made.scan, made.scan.acquisition
    truth, times = target.with_name(f"{facts.base}_truth.npz"), target.with_suffix(".csv")
    beside = [] if single_file else [truth] if made.times is None else [truth, times]

    def stamp() -> dict[str, Any]:
        return provenance.make(
            environment.command_line(),
            config=config,
            inputs=[],
            seed=seed,
            acquisition=asdict(facts),
            noise_sigma=made.sigma,
        )

    def make(file: Path, stamp: dict[str, Any]) -> dict[str, Any]:
        formats.write_scan(file, scan, stamp)
        axes = ", ".join(f"{axis} {n}" for axis, n in zip(scan.axes, scan.shape, strict=True))
        console.say(f"{target.name}: {made.kind}, {axes}; noise sigma {made.sigma:.3g}")
        return {}

    def finish(stamp: dict[str, Any]) -> None:
        if truth in beside:
            formats.write_truth(truth, made.image, made.maps, stamp)
        if made.times is not None and times in beside:
            formats.write_times(times, made.times)

    return outputs.Product(target, [], stamp, make, beside, finish)


def _list_lesions(
    out_dir: Path, target: Path, lesions: tuple[tuple[int, int, int, int] | None, ...] | None
) -> None:
    """Write the rows of a scan to the table of labels in the folder.

    If a scan is simulated again without lesions, its rows are removed.
    """
    from cmrrecon.formats.labels import LabelRow, replace_labels

    table = out_dir / LABELS
    name = target.relative_to(out_dir).as_posix()
    if lesions is not None or table.exists():
        rows = [
            LabelRow(name, index, "lesion" if box else "normal", box)
            for index, box in enumerate(lesions or ())
        ]
        replace_labels(table, name, rows)
