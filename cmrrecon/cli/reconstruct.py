"""`cmrrecon reconstruct`: k-space files to images."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmrrecon.cli import console, inputs, options, outputs, running, trusting
from cmrrecon.cli.console import Talk
from cmrrecon.cli.inputs import Job
from cmrrecon.cli.settings import choice_text, choice_warning, parse_settings, parse_slices, residual_text, sampling_text
from cmrrecon.tools.errors import MemoryShortage, OutputError, UsageError

if TYPE_CHECKING:
    import torch

    from cmrrecon.data.scan import Scan
    from cmrrecon.methods.auto import Choice
    from cmrrecon.methods.network import NetworkMethod
    from cmrrecon.methods.registry import Method
    from cmrrecon.reconstruction.resume import Parts

EXAMPLE = (
    "Examples: cmrrecon reconstruct cine_sax_kus_ktGaussian8.mat -o cine.h5; "
    "in a Slurm job array: cmrrecon reconstruct data/ --out-dir rec --shard auto"
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the command line asks of every input; `run` is the folder that the weights of a network lie in."""

    method: "Method | NetworkMethod"
    settings: dict[str, Any]
    run: str | None
    device: "torch.device"
    by_default: bool
    adapt: int
    uncertainty: int
    slices: str | None
    output: str | None
    out_dir: Path | None
    mask: Path | None
    axes: str | None
    overwrite: bool
    dry_run: bool


def _list_methods(asked: bool) -> None:
    if asked:
        from cmrrecon.methods.network import find_method
        from cmrrecon.methods.registry import DEFAULT_METHOD, METHODS
        from cmrrecon.networks.checkpoints import weights

        for name, method in METHODS.items():
            defaults = " ".join(f"{key}={value}" for key, value in method.defaults().items())
            print(f"{name}{' (default)' if name == DEFAULT_METHOD else ''}\t{method.summary}\t{defaults}")
        for path in weights.installed():
            network = find_method(path.stem)
            defaults = " ".join(f"{key}={value}" for key, value in network.check({}).items())
            print(f"{network.name}\t{network.summary}\t{defaults}")
        raise typer.Exit


def reconstruct(
    files: options.Inputs,
    method: Annotated[
        str | None,
        options.option("--method", "-m", help="How to reconstruct; see --list-methods.", show_default="auto"),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        options.option("--checkpoint", help="Weights of a network, which then is the method; see `cmrrecon models`.", show_default=False),
    ] = None,
    set_: Annotated[
        list[str] | None,
        options.option("--set", help="An option of the method, e.g. --set weight=0.01 --set iterations=50.", show_default=False),
    ] = None,
    list_methods: Annotated[
        bool, typer.Option("--list-methods", callback=_list_methods, is_eager=True, help="List the methods and their options, and stop.")
    ] = False,
    slices: Annotated[str | None, options.option("--slices", help="Only these slices, from 0, e.g. 0,3-5.", show_default=False)] = None,
    output: options.Output = None,
    out_dir: options.OutDir = None,
    adapt: Annotated[
        int, options.option("--adapt", help="Train the network on the scan itself first, for at most so many steps; slow on a CPU.", min=0)
    ] = 0,
    uncertainty: Annotated[
        int,
        options.option(
            "--uncertainty",
            help="Also write <output>_uncertainty.h5: how the images vary over so many random parts of the samples (0: no; 2 or more).",
            min=0,
        ),
    ] = 0,
    compile_: Annotated[bool, options.option("--compile", help="Compile the network first: minutes once, then faster.")] = False,
    mask: Annotated[
        Path | None, options.option("--mask", help="Sampling mask, if it does not lie beside the data.", show_default=False)
    ] = None,
    axes: options.Axes = None,
    device: options.Device = "auto",
    shard: options.Shard = None,
    overwrite: options.Overwrite = False,
    fail_fast: options.FailFast = False,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Reconstruct k-space files to images (frame, slice, y, x).

    Without -o or --out-dir the images go beside the input as <name>_<method>.h5. The suffix of -o sets the format:
    .h5 keeps the phase; .mat is MAT v5 with img4ranking; .npy and .npz for Python; .png and .gif to look at.
    """
    talk = Talk(quiet=quiet, as_json=json, stdout_is_data=output == inputs.STREAM)
    with running.command(talk):
        from cmrrecon import formats
        from cmrrecon.methods.network import find_method, from_file
        from cmrrecon.methods.registry import DEFAULT_METHOD
        from cmrrecon.tools.devices import choose_device

        if method and checkpoint:
            raise UsageError(
                "options-conflict",
                "Both --method and --checkpoint were given",
                "A checkpoint is a method of its own",
                "Leave one of them out",
            )
        chosen = from_file(checkpoint) if checkpoint else find_method(method or DEFAULT_METHOD)
        if uncertainty == 1 or (uncertainty and output == inputs.STREAM):
            raise UsageError(
                "option-value",
                f"--uncertainty was given {uncertainty}" + (" with -o -" if uncertainty > 1 else ""),
                "It takes two replicates or more, and writes a file beside the output",
                "Give for example --uncertainty 8 -o FILE",
            )
        settings = chosen.check({**parse_settings(set_ or []), **({"compile": True} if compile_ else {})})
        if adapt:
            trusting.check_adaptable(chosen, settings)
        asked_device = choose_device(device)
        plan = Plan(
            method=chosen,
            settings=settings,
            run=checkpoint.absolute().parent.name if checkpoint else None,
            device=asked_device if chosen.gpu else choose_device("cpu"),
            by_default=method is None and checkpoint is None,
            adapt=adapt,
            uncertainty=uncertainty,
            slices=slices,
            output=output,
            out_dir=out_dir,
            mask=mask,
            axes=axes,
            overwrite=overwrite,
            dry_run=dry_run,
        )
        jobs = inputs.find_jobs(files, formats.is_scan, shard)
        outputs.check_output(output, out_dir, len(jobs), "images", as_json=json)
        where = str(plan.device) if chosen.gpu else "cpu, the only one it works on"
        talk.say(f"method {chosen.name}{' (the default)' if plan.by_default else ''}: {chosen.summary}; device {where}")
        running.run_jobs(jobs, lambda job: _reconstruct_job(job, plan, talk), talk, fail_fast=fail_fast)


def _reconstruct_job(job: Job, plan: Plan, talk: Talk) -> None:
    from cmrrecon import formats
    from cmrrecon.methods.network import NetworkMethod
    from cmrrecon.methods.registry import DEFAULT_METHOD
    from cmrrecon.methods.shipped import shipped_digest
    from cmrrecon.reconstruction.resume import Parts
    from cmrrecon.tools import provenance

    with inputs.local_input(job) as path:
        scan = formats.read(path, axes=plan.axes, mask=plan.mask)
        wanted = parse_slices(plan.slices, scan.shape[1])
        talk.say(f"{job.name}: " + ", ".join(f"{axis} {n}" for axis, n in zip(scan.axes, scan.shape, strict=True)))
        for note in scan.notes:
            talk.say(note.replace(str(path), job.name))
        used = [path, *([Path(scan.mask_path)] if scan.mask_path else [])]
        digest = plan.method.digest if isinstance(plan.method, NetworkMethod) else plan.method.name == DEFAULT_METHOD and shipped_digest()
        asked: dict[str, Any] = {"weights": digest, "adapt": plan.adapt, "uncertainty": plan.uncertainty}

        run: dict[str, Any] = {"run": plan.run} if plan.run else {}

        def stamp() -> dict[str, Any]:
            return provenance.make(
                console.command_line(),
                config={
                    "method": plan.method.name,
                    "options": plan.settings,
                    "slices": wanted,
                    "axes": plan.axes,
                    **{key: value for key, value in asked.items() if value},
                },
                inputs=used,
                device=str(plan.device),
                acquisition=asdict(scan.acquisition),
                **run,
            )

        def make(file: Path, stamp: dict[str, Any]) -> dict[str, Any]:
            sampling, trust = _finish(scan, wanted, plan, file, beside, stamp, job.name, talk)
            talk.say(f"{job.name}: {sampling_text(**sampling)}{residual_text(trust['data_residual'])}")
            return {**sampling, **trust, **({"uncertainty": str(beside[0])} if beside else {})}

        target = outputs.destination(job, plan.output, plan.out_dir, f"{job.stem}_{plan.method.name}.h5")
        record = {"input": job.name, "method": plan.method.name, "default_method": plan.by_default, "options": plan.settings}
        record |= {"shape": [scan.shape[0], len(wanted), *(scan.matrix or scan.shape[3:])], "device": str(plan.device)}
        if plan.dry_run and isinstance(plan.method, NetworkMethod):
            record |= _predicted(plan.method, scan, wanted, plan, job.name, talk)
        beside = [target.with_name(f"{target.stem}_uncertainty.h5")] if plan.uncertainty else []
        if plan.dry_run and plan.adapt:
            talk.say(f"{job.name}: the network would learn on the scan first, for at most {plan.adapt} steps")
        if plan.dry_run and beside:
            talk.say(f"{job.name}: uncertainties would go to {beside[0]}, for {plan.uncertainty} more reconstructions a slice")
        product = outputs.Product(target, used, stamp, make, beside)
        done = outputs.deliver(product, record, talk, overwrite=plan.overwrite, dry_run=plan.dry_run)
        if done["status"] in ("done", "skipped"):
            for finished in (target, *beside):
                Parts.forget(finished)


def _predicted(
    method: "NetworkMethod", scan: "Scan", wanted: Sequence[int], plan: Plan, name: str, talk: Talk
) -> dict[str, dict[str, float]]:
    """What the network will cost, told and for the record."""
    cost = method.predict(scan.series(wanted[0]).to(plan.device), plan.settings)
    seconds, gigabytes = cost.seconds * len(wanted), cost.nbytes / 1e9
    talk.say(
        f"{name}: about {gigabytes:.2g} GB beside libraries and weights, {cost.flops / 1e12:.3g} TFLOP a slice, {seconds:.0f} s in all"
    )
    return {"predicted": {"gigabytes": round(gigabytes, 3), "tflop_per_slice": round(cost.flops / 1e12, 4), "seconds": round(seconds, 1)}}


def _finish(
    scan: "Scan", wanted: Sequence[int], plan: Plan, file: Path, beside: Sequence[Path], stamp: dict[str, Any], name: str, talk: Talk
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Do the slices that are missing and write the output; returns how the scan was sampled, and what tells how far to trust it."""
    from cmrrecon import formats
    from cmrrecon.data.scan import effective_acceleration
    from cmrrecon.reconstruction.resume import Parts
    from cmrrecon.reconstruction.run import middle_of, reconstruct_slices
    from cmrrecon.tools import provenance

    parts = Parts(file, provenance.recipe_hash(stamp), wanted)
    spread = Parts(beside[0], provenance.recipe_hash(stamp), wanted) if beside else None
    if plan.adapt:
        # Weights are not kept, and those of another run need not be the same to the bit.
        parts.remove()
    missing, middle = parts.missing(), middle_of(wanted)
    if len(missing) < len(wanted):
        talk.say(f"{name}: {len(wanted) - len(missing)} of {len(wanted)} slices were finished before")
    trust: dict[str, Any] = {}
    decided: list[Choice] = []

    def on_choice(index: int, choice: "Choice") -> None:
        decided.append(choice)
        trust["choice"] = provenance.plain({"slice": index, **choice.as_dict()})
        talk.say(f"{name}: {choice_text(index, choice)}")
        if warning := choice_warning(choice):
            talk.warn(f"{name}: {warning}")

    with _kept_if_worth_it(parts, spread, plan.output != inputs.STREAM, talk):
        method = plan.method
        if plan.adapt:
            method, trust["adapted"] = trusting.adapted(method, scan, middle, plan.adapt, plan.device, name, talk)
        with talk.progress(name, len(missing), "slice") as bar:
            reconstruct_slices(scan, method, plan.settings, parts, plan.device, bar.advance, on_choice, spread, plan.uncertainty)
        if found := trusting.warn_outside(method, decided[0] if decided else None, scan, middle, name, talk):
            trust["outside"] = found
        trust["data_residual"] = [facts["data_residual"] for facts in parts.facts()]
        mask = scan.series(wanted[0]).mask if scan.mask is None else scan.mask
        sampling = {
            "pattern": scan.acquisition.pattern,
            "acceleration": scan.acquisition.acceleration,
            "effective_acceleration": round(effective_acceleration(mask, scan.matrix), 2),
        }
        formats.write_images(file, parts, {**stamp, **sampling, **trust})
        # Last: where it alone is missing, the whole output is made again.
        if spread is not None:
            formats.write_images(beside[0], spread, {**stamp, **sampling, "quantity": "standard deviation"})
            talk.say(f"{name}: how uncertain the images are is in {beside[0]}")
    return sampling, trust


@contextmanager
def _kept_if_worth_it(parts: "Parts", spread: "Parts | None", lasting: bool, talk: Talk) -> Iterator[None]:
    """Finished slices, and what was chosen for them, outlive what can be overcome later: an interruption, little memory, a full disk."""
    every = [parts] if spread is None else [parts, spread]
    try:
        yield
    except (KeyboardInterrupt, MemoryShortage, OutputError):
        if lasting and parts.anything():
            talk.warn("what is finished is kept: the same command goes on from there")
        else:
            _remove(every)
        raise
    except BaseException:
        _remove(every)
        raise
    _remove(every)


def _remove(every: "Sequence[Parts]") -> None:
    for parts in every:
        parts.remove()
