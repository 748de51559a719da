"""Reconstruct one input for the command line."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmrrecon.cli import environment, inputs, outputs
from cmrrecon.cli.console import Console
from cmrrecon.cli.console_listener import ConsoleListener
from cmrrecon.cli.export_options import target_of
from cmrrecon.cli.inputs import Job
from cmrrecon.cli.reconstruct_messages import plan_record, summary
from cmrrecon.cli.settings import SAMPLING, parse_slices, residual_text, sampling_text
from cmrrecon.cli.worker import Work

if TYPE_CHECKING:
    from cmrrecon.data import Scan
    from cmrrecon.formats import Export
    from cmrrecon.methods.base import Method
    from cmrrecon.reconstruction.task import Task

RESUMABLE = "finished slices are kept; run the same command again to resume"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The options that apply to every input; picklable, so that workers can use it.

    Attributes that are not described here are the options of the same name.

    Attributes
    ----------
    method, checkpoint : str, Path or None
        The reconstruction method; see `find`.
    settings : dict
        Options of the method.
    known : Mapping
        Members of every record, including the method.
    device : str
        Device for the computation.
    export : Export
        Options of NIfTI and DICOM files.
    """

    method: str | None
    checkpoint: Path | None
    settings: dict[str, Any]
    known: Mapping[str, Any]
    device: str
    adapt: int
    uncertainty: int
    whiten: bool | None
    keep_oversampling: bool
    recon_matrix: bool
    slices: str | None
    output: str | None
    out_dir: Path | None
    format: str | None
    export: "Export"
    mask: Path | None
    maps: Path | None
    axes: str | None
    dataset: str | None
    overwrite: bool
    dry_run: bool


def begin(plan: Plan) -> Work:
    """Set up this process; return the function that reconstructs a job with one loaded network."""
    from cmrrecon.reconstruction.scan import find

    environment.return_freed_memory()
    method = find(plan.method, plan.checkpoint)
    environment.reuse_freed_memory()
    return lambda job, console: reconstruct_job(job, plan, method, console)


def reconstruct_job(job: Job, plan: Plan, method: "Method", console: Console) -> None:
    """Reconstruct one input and report it."""
    from cmrrecon.reconstruction.result import beside_paths
    from cmrrecon.reconstruction.resume import Parts

    with inputs.local_input(job) as path:
        task = _task(_scan(path, plan), plan, method)
        _describe(task.scan, path, job, console)
        known = method.weights()
        if known and "copy" in known.metadata:
            console.say(f"{plan.checkpoint}: {known.metadata['copy']}")
        target = target_of(job, method.name, plan.output, plan.out_dir, plan.format)
        beside = beside_paths(target, plan.export, uncertainty=bool(plan.uncertainty))
        _check_export(task, target, job, plan, console)
        record = {
            "input": job.name,
            **plan.known,
            "shape": [task.scan.shape[0], len(task.slices), *task.image_shape],
            "device": str(task.device),
        }
        if plan.dry_run:
            record |= plan_record(task, beside, job.name, job.part, console)

        def make(file: Path, stamp: dict[str, Any]) -> dict[str, Any]:
            return _make(task, file, stamp, job, plan, console)

        def stamp_of() -> dict[str, Any]:
            stamp = task.provenance(environment.command_line())
            options = plan.export.record()
            return {**stamp, "export": options} if options else stamp

        product = outputs.Product(
            target,
            # The weights are an input too, although their digest stands elsewhere.
            [*task.inputs, *([plan.checkpoint] if plan.checkpoint else [])],
            stamp_of,
            make,
            beside,
            summary=lambda record: summary(job.name, record),
        )
        done = outputs.deliver(
            product, record, console, overwrite=plan.overwrite, dry_run=plan.dry_run
        )
        if done["status"] in ("done", "skipped"):
            for finished in (target, *beside):
                Parts.forget(finished)


def slices_of(job: Job, *, slices: str | None, axes: str | None, dataset: str | None) -> int:
    """Return the number of slices to reconstruct in a job; 1 if its file cannot be read."""
    from cmrrecon import formats
    from cmrrecon.tools.errors import CmrreconError

    try:
        scan = formats.read(job.path, axes=axes, dataset=dataset)
        return len(parse_slices(slices, scan.shape[1]))
    except CmrreconError:
        # The shard that gets the file reports the problem.
        return 1


def _scan(path: Path, plan: Plan) -> "Scan":
    from cmrrecon.reconstruction.inputs import as_scan

    return as_scan(path, plan.mask, plan.axes, dataset=plan.dataset, maps=plan.maps)


def _task(scan: "Scan", plan: Plan, method: "Method") -> "Task":
    """Return the reconstruction task of a scan."""
    from cmrrecon.reconstruction.task import Task

    return Task.of(
        scan,
        method,
        plan.settings,
        slices=parse_slices(plan.slices, scan.shape[1]),
        device=plan.device,
        adapt=plan.adapt,
        uncertainty=plan.uncertainty,
        keep_oversampling=plan.keep_oversampling,
        recon_matrix=plan.recon_matrix,
        axes=plan.axes,
        dataset=plan.dataset,
        folder=plan.checkpoint.absolute().parent.name if plan.checkpoint else None,
        whiten=plan.whiten,
    )


def _check_export(task: "Task", target: Path, job: Job, plan: Plan, console: Console) -> None:
    """Refuse an output that could not be written; warn of what NIfTI and DICOM have to assume."""
    from cmrrecon import formats

    if str(target) == inputs.STREAM:
        return
    shape = (task.scan.shape[0], len(task.slices), *task.image_shape)
    formats.check_export(target, task.geometry, shape, plan.export)
    for note in formats.placement_notes(target, task.geometry, plan.export):
        console.warn(f"{job.name}: {note}")


def _describe(scan: "Scan", path: Path, job: Job, console: Console) -> None:
    """Print the axes of the scan and the assumptions of the reader."""
    axes = zip(scan.axes, scan.shape, strict=True)
    console.detail(f"{job.name}: " + ", ".join(f"{axis} {length}" for axis, length in axes))
    for note in inputs.notes_of(scan):
        console.say(note.replace(str(path), job.name))


def _make(
    task: "Task", file: Path, stamp: dict[str, Any], job: Job, plan: Plan, console: Console
) -> dict[str, Any]:
    """Reconstruct into a file and return further members of the record.

    If shards share the slices, the last shard to finish writes the file.
    """
    from cmrrecon.reconstruction.result import Result, uncertainty_path
    from cmrrecon.reconstruction.resume import OnDisk
    from cmrrecon.reconstruction.slices import run, run_part
    from cmrrecon.tools.provenance import recipe_hash

    layers = {"images": file}
    if task.uncertainty:
        layers["uncertainty"] = uncertainty_path(file)
    store = OnDisk(layers, recipe_hash(stamp), task.slices)

    result: Result | None
    if job.part is None:
        with (
            store.kept_if_resumable(plan.output != inputs.STREAM, lambda: console.warn(RESUMABLE)),
            ConsoleListener(console, job.name) as listener,
        ):
            result = run(task, store, listener, stamp)
            written = result.write(file, plan.export)
    else:
        wanted = job.part.among(task.slices)
        with store.shared(), ConsoleListener(console, job.name) as listener:
            result = run_part(task, wanted, store, listener, stamp)
            if result is None:
                # Other shards have not finished their slices yet.
                return {"status": "part", "slices": wanted, "slices_missing": store.missing()}
            written = result.write(file, plan.export)

    made = {key: value for key, value in result.provenance.items() if key not in stamp}
    sampling = {key: made[key] for key in SAMPLING if key in made}
    console.detail(f"{job.name}: {sampling_text(**sampling)}{residual_text(result.residuals)}")
    if plan.export.also is not None:
        made["also"] = str(written[1])
    if task.uncertainty:
        console.say(f"{job.name}: the uncertainties are in {written[-1]}")
        made["uncertainty"] = str(written[-1])
    return made
