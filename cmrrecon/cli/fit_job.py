"""Fit one mapping series and report it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmrrecon.cli import environment, inputs, outputs
from cmrrecon.cli.console import Console
from cmrrecon.cli.inputs import Job
from cmrrecon.cli.label_files import Owners, label_map_of
from cmrrecon.tools.errors import InputError

if TYPE_CHECKING:
    from cmrrecon.evaluation.fit_task import FitTask
    from cmrrecon.evaluation.parametric_map import ParametricMap
    from cmrrecon.formats import Export


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The options that apply to every input.

    `claims` is the folder of `outputs.claim`; `owners` are the scans to which label maps belong.
    """

    times: Path | None
    model: str | None
    noise_floor: bool | None
    threshold: float
    labels: Path | None
    label_maps: Sequence[Path]
    insertions: Sequence[tuple[float, float, float, float]] | None
    levels: Sequence[str] | None
    window: tuple[float, float] | None
    output: str | None
    out_dir: Path | None
    format: str
    export: "Export"
    overwrite: bool
    dry_run: bool
    claims: Path
    owners: Owners = field(default_factory=dict)


def is_mapping_series(path: Path) -> bool:
    """Return whether a file found in a folder has images of a mapping series.

    The result is True for damaged files, so that they are reported.
    """
    from cmrrecon import formats
    from cmrrecon.evaluation.fit_task import MODEL_OF
    from cmrrecon.evaluation.references import acquisition_of

    if not formats.is_images(path):
        return False
    try:
        facts = acquisition_of(path, formats.read_provenance(path))
    except InputError:
        return True
    return facts.base.lower() in MODEL_OF


def fit_job(job: Job, plan: Plan, console: Console) -> None:
    """Fit one series, unless the map is already finished or this is a dry run."""
    from cmrrecon import formats
    from cmrrecon.evaluation.fit_task import FitTask
    from cmrrecon.evaluation.parametric_map import map_files
    from cmrrecon.evaluation.references import acquisition_of
    from cmrrecon.evaluation.weighting_times import times_path

    with inputs.local_input(job) as path:
        facts = acquisition_of(path, formats.read_provenance(path))
        table = times_path(plan.times, facts, None if job.is_stream else path)
        labels = None
        if plan.labels is not None:
            labels = label_map_of(plan.labels, plan.label_maps, facts, plan.owners)

        task = FitTask.of(
            path,
            table,
            model=plan.model,
            noise_floor=plan.noise_floor,
            threshold=plan.threshold,
            labels=labels,
            insertions=plan.insertions,
            levels=plan.levels,
        )
        parameter = task.model.parameter.replace("*", "star")
        name = f"{job.stem}_{parameter}.{plan.format}"
        target = outputs.destination(job, plan.output, plan.out_dir, name)
        outputs.claim(plan.claims, target, job.name)

        _check_placement(target, task, job, plan, console)
        sources = [path, table, *([] if labels is None else [labels])]
        files = map_files(target)
        product = _product(job.name, task, sources, files, plan, console)
        record = {
            "input": job.name,
            "parameter": task.model.parameter,
            "model": task.model.name,
            "formula": task.model.formula,
            "noise_floor": task.noise_floor,
            "times_ms": task.times.T.tolist(),
            "deviation": str(files[1]),
            "residual": str(files[2]),
        }
        outputs.deliver(product, record, console, overwrite=plan.overwrite, dry_run=plan.dry_run)


def _check_placement(target: Path, task: "FitTask", job: Job, plan: Plan, console: Console) -> None:
    """Refuse an output that could not be written; warn of what NIfTI and DICOM have to assume."""
    from cmrrecon import formats
    from cmrrecon.evaluation.parametric_map import map_files
    from cmrrecon.formats.geometry import geometry_of

    geometry = geometry_of(task.facts().get("geometry"))
    shape = (1, *task.series.images.shape[1:])
    for file in map_files(target):
        formats.check_export(file, geometry, shape, plan.export)
    for note in formats.placement_notes(target, geometry, plan.export):
        console.warn(f"{job.name}: {note}")


def _product(
    name: str,
    task: "FitTask",
    sources: Sequence[Path],
    files: Sequence[Path],
    plan: Plan,
    console: Console,
) -> outputs.Product:
    """Return the map as a product, with its deviation and residual beside it."""
    from cmrrecon.evaluation.parametric_map import PARTS
    from cmrrecon.tools import provenance

    made: list[ParametricMap] = []
    known = task.facts()

    def stamp() -> dict[str, Any]:
        config = {
            **known["config"],
            "model": task.model.name,
            "noise_floor": task.noise_floor,
            "threshold": plan.threshold,
            "insertions": plan.insertions,
            "levels": plan.levels,
            **({} if plan.window is None else {"window": plan.window}),
        }
        others = {key: value for key, value in known.items() if key != "config"}
        if options := plan.export.record():
            others["export"] = options
        return provenance.make(environment.command_line(), config=config, inputs=sources, **others)

    def make(file: Path, stamp: dict[str, Any]) -> Mapping[str, Any]:
        made.append(task.run())
        made[0].write(file, "values", stamp, window=plan.window, export=plan.export)
        _report(name, made[0], console)
        return _record(made[0])

    def finish(stamp: dict[str, Any]) -> None:
        for file, part in zip(files[1:], list(PARTS)[1:], strict=True):
            made[0].write(file, part, stamp, window=plan.window, export=plan.export)

    return outputs.Product(files[0], sources, stamp, make, files[1:], finish)


def _record(found: "ParametricMap") -> dict[str, Any]:
    """Return the members of the JSON line that describe a map; unknown numbers are None."""
    segments = [
        {key: _known(value) for key, value in asdict(segment).items()} for segment in found.segments
    ]
    return {
        "fitted": found.fitted,
        "failed": found.failed,
        "air": found.air,
        "not_finite": found.broken,
        "median_ms": _known(float(found.values.nanmedian())),
        "median_deviation_ms": _known(float(found.deviation.nanmedian())),
        "segments": segments,
    }


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _report(name: str, found: "ParametricMap", console: Console) -> None:
    """Print a line about a map, and the table of its segments."""
    floor = " with a noise floor" if found.noise_floor else ""
    deviation = float(found.deviation.nanmedian())
    known = "unknown" if math.isnan(deviation) else f"{deviation:.3g} ms"
    console.say(
        f"{name}: {found.parameter} by {found.model}{floor}, {found.fitted} pixels fitted, "
        f"{found.failed} failed, {found.air} air; median {float(found.values.nanmedian()):.4g} ms, "
        f"median standard deviation {known}"
    )

    if found.broken:
        console.warn(
            f"{name}: {found.broken} pixels have NaN or infinity in a weighting and were not fitted"
        )

    if found.segments:
        rows = [
            [
                str(segment.number),
                segment.name,
                f"{segment.mean:.1f}" if segment.pixels else "-",
                f"{segment.deviation:.1f}" if segment.pixels else "-",
                str(segment.pixels),
                str(segment.failed),
            ]
            for segment in found.segments
        ]
        columns = ["", "AHA segment", "mean ms", "SD ms", "pixels", "failed"]
        console.table(f"{found.parameter} of {name}", columns, rows)
