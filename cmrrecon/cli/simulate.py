"""`cmrrecon simulate`: scans with a known truth, when there is no scanner."""

from pathlib import Path
from typing import Annotated, Any

from cmrrecon.cli import batch, console, options
from cmrrecon.cli.console import Talk
from cmrrecon.cli.settings import parse_numbers

EXAMPLE = "Example: cmrrecon simulate --kind cine --slices 2 --size 204x448 --snr 30 --seed 1 --out-dir simulated"


def simulate(
    kind: Annotated[str, options.option("--kind", "-k", help="cine, perfusion, t1map or t2map.")] = "cine",
    frames: Annotated[int | None, options.option("--frames", help="Frames or mapping weights.", show_default="usual for the kind")] = None,
    slices: Annotated[int, options.option("--slices", help="Short-axis slices.", min=1)] = 3,
    coils: Annotated[int, options.option("--coils", help="Receive coils.", min=1)] = 10,
    size: Annotated[str, options.option("--size", help="Matrix as YxX: phase encodes x readout samples.")] = "204x448",
    snr: Annotated[
        float, options.option("--snr", help="Signal to noise in dB: RMS of the object over the noise of one image pixel.")
    ] = 30.0,
    seed: Annotated[int, options.option("--seed", help="Seed of anatomy, coils and noise.")] = 0,
    output: options.Output = None,
    out_dir: Annotated[Path, options.option("--out-dir", help="Folder in which the official layout is written.")] = Path("simulated"),
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Simulate a beating multi-slice multi-coil heart phantom, fully sampled, with its noise-free truth.

    Writes the official 2025 layout below --out-dir: <base>.mat, <base>_truth.npz (image and coil maps) and, for mapping, <base>.csv
    with the times in ms. With -o FILE (or -o -) only the k-space is written.
    """
    talk = Talk(quiet=quiet, as_json=json, stdout_is_data=output == batch.STREAM)
    with batch.command(talk):
        from dataclasses import asdict

        from cmrrecon import formats, provenance, simulation

        batch.check_output(output, None, 1, "a scan", as_json=json)
        y, x = parse_numbers(size, 2, "x", "--size", "--size 204x448")
        made = simulation.simulate(kind, frames=frames, slices=slices, coils=coils, y=y, x=x, snr_db=snr, seed=seed)
        facts = made.scan.acquisition
        layout = (
            Path("MultiCoil")
            / str(facts.modality)
            / "TrainingSet"
            / "FullSample"
            / str(facts.centre)
            / str(facts.vendor)
            / str(facts.subject)
        )
        target = Path(output) if output is not None else out_dir / layout / f"{facts.base}.mat"
        record: dict[str, Any] = {
            "output": str(target),
            "shape": list(made.scan.shape),
            "kind": kind,
            "seed": seed,
            "noise_sigma": made.sigma,
        }
        if dry_run:
            talk.result({"status": "planned", **record}, str(target))
            return
        config = {"kind": kind, "shape": list(made.scan.shape), "snr_db": snr}
        stamp = provenance.make(
            console.command_line(), config=config, inputs=[], seed=seed, acquisition=asdict(facts), noise_sigma=made.sigma
        )
        if batch.already_made(target, provenance.recipe_hash(stamp), overwrite=overwrite):
            talk.say(f"{target} is finished: skipped, --overwrite makes it again")
            talk.result({"status": "skipped", **record}, str(target))
            return
        if output is None:
            formats.write_truth(target.with_name(f"{facts.base}_truth.npz"), made.image, made.maps)
            if made.times is not None:
                formats.write_times(target.with_suffix(".csv"), made.times)
        with batch.local_output(target) as file:
            formats.write_scan(file, made.scan, stamp)
        talk.say(f"{target}: frame, slice, coil, y, x = {made.scan.shape}; noise sigma {made.sigma:.3g}")
        talk.result({"status": "done", **record}, str(target))
