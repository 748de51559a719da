"""`cmrrecon preprocess`: pack a tree of CMRxRecon files into a training store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmrrecon.cli import environment, inputs, options, outputs, running, skipping
from cmrrecon.cli.console import Console
from cmrrecon.cli.help import examples
from cmrrecon.cli.inputs import Job
from cmrrecon.cli.worker import Work
from cmrrecon.cli.workers import memory_of, run_in_parallel
from cmrrecon.tools.errors import UsageError

if TYPE_CHECKING:
    from cmrrecon.formats.labels import LabelRow

EXAMPLE = examples(
    "cmrrecon preprocess ChallengeData/MultiCoil --out-dir store --workers 8",
    "cmrrecon preprocess ChallengeData/ --out-dir store --labels lesions.csv",
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The options that apply to every input.

    Attributes
    ----------
    targets : Mapping
        The file in the store for each input.
    rows : Mapping or None
        Labels of each file; None keeps the labels that are in the store.
    settings : dict
        Other arguments of `add_scan`.
    """

    targets: Mapping[Job, Path]
    rows: "Mapping[Path, list[LabelRow]] | None"
    settings: dict[str, Any]


def preprocess(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders or quoted globs such as 'data/**/*.mat'.", show_default=False
        ),
    ],
    out_dir: Annotated[Path, options.option("--out-dir", help="Folder of the store.")],
    coils: Annotated[
        int | None,
        options.option(
            "--coils",
            help="Number of virtual coils to compress to.",
            metavar="N",
            min=1,
            show_default="keep all coils",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        options.option(
            "--labels",
            help="CSV table of labels with the columns file, slice, label, y0, y1, x0 and x1; "
            "files that are already in the store get the new labels.",
            show_default=False,
        ),
    ] = None,
    workers: options.Workers = 1,
    allow_partial: options.AllowPartial = False,
    axes: options.Axes = None,
    dataset: options.Dataset = None,
    shard: options.Shard = None,
    overwrite: options.Overwrite = False,
    fail_fast: options.FailFast = False,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Make a training store: read, check and pack scans, with RSS references.

    An interrupted command resumes where it stopped. Empty slices are detected
    and listed. Labels can be added or changed later without repacking. Files in
    a folder that are already undersampled are skipped; name them explicitly to
    store them without a reference.
    """
    console = Console(quiet=quiet, as_json=json)
    with running.command(console):
        from cmrrecon import formats
        from cmrrecon.training.store import write_fingerprint

        everything = inputs.find_jobs(files, formats.is_scan)
        targets = _targets(everything, out_dir)
        jobs = inputs.jobs_of_shard(everything, shard, console, cost=skipping.cost_of_full)
        targets = {job: targets[job] for job in jobs}

        # Labels are matched against all files, so that rows of other shards do not count as
        # unmatched.
        rows = None if labels is None else _rows(labels, [job.path for job in everything], console)
        if dry_run:
            _print_plan(targets, console)
            return

        settings = {
            "coils": coils,
            "axes": axes,
            "dataset": dataset,
            "allow_partial": allow_partial,
            "overwrite": overwrite,
            "command": environment.command_line(),
        }
        try:
            run_in_parallel(
                jobs,
                partial(_begin, Plan(targets=targets, rows=rows, settings=settings)),
                workers,
                console,
                fail_fast=fail_fast,
                cost=skipping.cost_of_full,
                memory=partial(memory_of, axes=axes, dataset=dataset),
            )
        finally:
            skipping.report_total(jobs, console)
            if any(target.exists() for target in targets.values()):
                console.say(f"fingerprint: {write_fingerprint(out_dir)}")


def _targets(jobs: Sequence[Job], out_dir: Path) -> dict[Job, Path]:
    """Return the file in the store for each input; refuse standard input and shared targets."""
    if any(job.is_stream for job in jobs):
        raise UsageError(
            "input-stream",
            "Standard input cannot be packed",
            "A store is made from files",
            "Use files or folders as inputs",
        )
    targets = {job: out_dir / job.folder / f"{job.stem}.h5" for job in jobs}
    outputs.refuse_shared_targets(targets)
    outputs.refuse_inputs(list(targets.values()), [job.path for job in jobs])
    return targets


def _print_plan(targets: Mapping[Job, Path], console: Console) -> None:
    """Print which files would be written."""
    for job, target in targets.items():
        record = {"status": "planned", "input": job.name, "output": str(target)}
        console.result(record, str(target))


def _begin(plan: Plan) -> Work:
    """Return the function that packs a job."""
    return lambda job, console: _pack(job, plan, console)


def _pack(job: Job, plan: Plan, console: Console) -> None:
    """Add one input to the store and report the new entry."""
    from cmrrecon.training.store import add_scan

    if job.found and (reason := _undersampled(job, plan)):
        skipping.skip(job, reason, console)
        return

    target = plan.targets[job]
    rows = None if plan.rows is None else plan.rows[job.path]
    entry = add_scan(job.path, target, labels=rows, **plan.settings)
    console.result({"input": job.name, "output": str(target), **entry}, str(target))

    for text in (*entry.get("remarks", ()), *entry.get("warnings", ())):
        console.warn(f"{job.name}: {text}")
    if entry["empty_slices"]:
        console.say(
            f"{job.name}: slices {entry['empty_slices']} contain only zeros and are marked empty"
        )


def _undersampled(job: Job, plan: Plan) -> str | None:
    """Return why a file counts as undersampled; None if it is complete or only lacks edges."""
    from cmrrecon import formats
    from cmrrecon.data import CartesianMask

    scan = formats.read(job.path, axes=plan.settings["axes"], dataset=plan.settings["dataset"])
    reason = skipping.reason_of(job, scan)
    if reason is not None or scan.full_by_rule:
        return reason
    mask = scan.mask or scan.first_series().mask
    return (
        "according to its samples"
        if isinstance(mask, CartesianMask) and mask.coverage.gaps
        else None
    )


def _rows(labels: Path, paths: list[Path], console: Console) -> "dict[Path, list[LabelRow]]":
    """Return the label rows of each file, and warn about rows that match no file."""
    from cmrrecon.formats.labels import labels_of_files, read_labels

    rows = read_labels(labels)
    shared = labels_of_files(rows, paths)
    used = {row.file for found in shared.values() for row in found}

    unmatched = [row for row in rows if row.file not in used]
    if unmatched:
        console.warn(
            f"{len(unmatched)} of {len(rows)} rows of {labels} match no file; the first names "
            f"{unmatched[0].file}"
        )
    console.say(f"{sum(map(bool, shared.values()))} of {len(paths)} files have labels")
    return shared
