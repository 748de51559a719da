"""Reconstruct a validation set for `cmrrecon submit`, and measure the seconds of each case."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmrrecon.cli import environment, running
from cmrrecon.cli.console import Console
from cmrrecon.cli.export_options import target_of
from cmrrecon.cli.inputs import Job, cost_of
from cmrrecon.cli.reconstruct_job import Plan, reconstruct_job
from cmrrecon.cli.reconstruct_messages import method_record
from cmrrecon.tools.errors import CmrreconError

if TYPE_CHECKING:
    from cmrrecon.methods.base import Method

# Seconds of earlier runs, beside the reconstructions.
SECONDS = "seconds.json"


def make_results(
    scans: Sequence[Job],
    folder: Path,
    method: str | None,
    checkpoint: Path | None,
    device: str,
    console: Console,
    *,
    overwrite: bool,
) -> tuple[list[Job], dict[str, float]]:
    """Reconstruct scans as `reconstruct --out-dir` does; finished ones are skipped.

    Failures are reported. `overwrite` replaces results that were made in another way.

    Returns
    -------
    results : list of Job
        The files that were made, in the folders of their scans.
    seconds : dict of str to float
        Seconds of each case, by the path of the result below the folder.
    """
    import typer

    from cmrrecon.reconstruction.scan import find
    from cmrrecon.reconstruction.task import checked_options
    from cmrrecon.tools.devices import choose_device

    chosen = find(method, checkpoint)
    quiet = Console(quiet=console.quiet, stdout_is_data=True)
    known = method_record(
        chosen,
        checked_options(chosen, {}, 0, 0),
        str(choose_device(device)),
        quiet,
        by_default=method is None and checkpoint is None,
    )
    plan = _plan(method, checkpoint, device, folder, known)
    environment.reuse_freed_memory()
    seconds = _stored_seconds(folder)

    def measured(job: Job) -> None:
        before, start = quiet.counts["done"], time.monotonic()
        try:
            with running.convert_errors(quiet):
                _reconstruct(job, plan, chosen, quiet, overwrite=overwrite)
        except CmrreconError as error:
            # `run_jobs` prints only the message, because `quiet` has no standard output.
            console.result(running.failure_record(job.name, error), None)
            raise
        if quiet.counts["done"] > before:
            target = target_of(job, chosen.name, None, folder, None)
            seconds[str(target.relative_to(folder))] = round(time.monotonic() - start, 2)
            _store_seconds(folder, seconds)

    try:
        running.run_jobs(scans, measured, quiet, cost=cost_of)
    except typer.Exit as end:
        # Cases that failed are listed with those that are missing.
        if end.exit_code == running.INTERRUPTED:
            raise
    targets = [(job, target_of(job, chosen.name, None, folder, None)) for job in scans]
    made = [Job(str(path), path, job.folder, found=True) for job, path in targets if path.exists()]
    return made, {str(folder / name): value for name, value in seconds.items()}


def _reconstruct(
    job: Job, plan: Plan, method: "Method", console: Console, *, overwrite: bool
) -> None:
    """Reconstruct a scan; `overwrite` replaces only results that were made in another way."""
    try:
        reconstruct_job(job, plan, method, console)
    except CmrreconError as error:
        if not overwrite or error.code != "output-exists":
            raise
        reconstruct_job(job, replace(plan, overwrite=True), method, console)


def _plan(
    method: str | None,
    checkpoint: Path | None,
    device: str,
    folder: Path,
    known: Mapping[str, Any],
) -> Plan:
    """Return the plan for all scans, with the default settings of the method."""
    from cmrrecon.formats import Export

    off = {"adapt": 0, "uncertainty": 0, "keep_oversampling": False, "recon_matrix": False}
    names = ("whiten", "slices", "output", "mask", "maps", "axes", "dataset", "format")
    automatic = dict.fromkeys(names)
    rest: dict[str, Any] = {**off, **automatic}

    return Plan(
        method=method,
        checkpoint=checkpoint,
        settings={},
        known=known,
        device=device,
        out_dir=folder,
        overwrite=False,
        dry_run=False,
        export=Export(),
        **rest,
    )


def _stored_seconds(folder: Path) -> dict[str, float]:
    """Return the seconds of earlier runs; empty if the file is missing or damaged."""
    try:
        stored = json.loads((folder / SECONDS).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    found = stored if isinstance(stored, dict) else {}
    return {name: float(value) for name, value in found.items() if isinstance(value, int | float)}


def _store_seconds(folder: Path, seconds: Mapping[str, float]) -> None:
    from cmrrecon.tools.atomic import atomic

    with atomic(folder / SECONDS) as temporary:
        temporary.write_text(json.dumps(seconds, indent=1, sort_keys=True), "utf-8")
