"""`cmrrecon preprocess`: a tree of CMRxRecon files to a training store."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmrrecon.cli import environment, inputs, options, outputs, running
from cmrrecon.cli.console import Console
from cmrrecon.cli.inputs import Job
from cmrrecon.tools.errors import UsageError

if TYPE_CHECKING:
    from cmrrecon.formats.labels import LabelRow

EXAMPLE = "Example: cmrrecon preprocess ChallengeData/MultiCoil --out-dir store --workers 8"


def preprocess(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders or quoted globs like 'data/**/*.mat'.", show_default=False
        ),
    ],
    out_dir: Annotated[Path, options.option("--out-dir", help="Folder of the store.")],
    coils: Annotated[
        int | None,
        options.option(
            "--coils",
            help="Compress to so many virtual coils.",
            min=1,
            show_default="keep all coils",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        options.option(
            "--labels",
            help="CSV of what is seen in which file, slice and box (file,slice,label,y0,y1,x0,x1); a store is relabelled.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int, options.option("--workers", help="Processes that work side by side.", min=1)
    ] = 1,
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
    """Make a training store: read, check and pack scans, with RSS references and the data set's fingerprint.

    A store that was interrupted goes on where it stopped. Empty slices are found and listed. Labels may be given later, or others:
    the files named are then labelled anew without being packed again.
    """
    console = Console(quiet=quiet, as_json=json)
    with running.command(console):
        from cmrrecon import formats
        from cmrrecon.training.store import add_scan, write_fingerprint

        jobs = inputs.find_jobs(files, formats.is_scan, shard)
        targets = _targets(jobs, out_dir)
        # Files of other shards count too: rows that name one of them do fit a file.
        everything = inputs.find_jobs(files, formats.is_scan) if shard and labels else jobs
        rows = None if labels is None else _rows(labels, [job.path for job in everything], console)
        if dry_run:
            _tell_plan(targets, console)
            return
        command = environment.command_line()
        pack = partial(
            add_scan,
            coils=coils,
            axes=axes,
            dataset=dataset,
            allow_partial=allow_partial,
            overwrite=overwrite,
            command=command,
        )
        work = {
            job: partial(pack, job.path, target, labels=None if rows is None else rows[job.path])
            for job, target in targets.items()
        }
        try:
            _pack(work, targets, str(out_dir), workers, console, fail_fast=fail_fast)
        finally:
            if any(target.exists() for target in targets.values()):
                console.say(f"fingerprint: {write_fingerprint(out_dir)}")


def _targets(jobs: Sequence[Job], out_dir: Path) -> dict[Job, Path]:
    """The file in the store for each input; UsageError for standard input and for shared files."""
    if any(job.is_stream for job in jobs):
        raise UsageError(
            "input-stream",
            "Standard input was given",
            "A store is made of files",
            "Give files or folders",
        )
    targets = {job: out_dir / job.folder / f"{job.stem}.h5" for job in jobs}
    outputs.refuse_shared_targets(targets)
    outputs.refuse_inputs(list(targets.values()), [job.path for job in jobs])
    return targets


def _tell_plan(targets: Mapping[Job, Path], console: Console) -> None:
    """What would be packed, and where."""
    for job, target in targets.items():
        record = {"status": "planned", "input": job.name, "output": str(target)}
        console.result(record, str(target))


def _pack(
    work: Mapping[Job, Callable[[], dict[str, Any]]],
    targets: Mapping[Job, Path],
    name: str,
    workers: int,
    console: Console,
    *,
    fail_fast: bool,
) -> None:
    """Do all the work, in several processes, and report what is in the store then."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    import torch

    # Files are the work to share out: one thread a process.
    pool = ProcessPoolExecutor(
        max(1, min(workers, len(work))), get_context("spawn"), torch.set_num_threads, (1,)
    )
    with console.progress(name, len(work), "file") as bar:
        futures = {job: pool.submit(do) for job, do in work.items()}

        def collect(job: Job) -> None:
            try:
                entry = futures[job].result()
            finally:
                bar.advance()
            console.result(
                {"input": job.name, "output": str(targets[job]), **entry}, str(targets[job])
            )
            for words in (*entry.get("remarks", ()), *entry.get("warnings", ())):
                console.warn(f"{job.name}: {words}")
            if entry["empty_slices"]:
                console.say(
                    f"{job.name}: slices {entry['empty_slices']} hold only zeros and are marked empty"
                )

        try:
            running.run_jobs(list(work), collect, console, fail_fast=fail_fast)
        finally:
            pool.shutdown(cancel_futures=True)


def _rows(labels: Path, paths: list[Path], console: Console) -> "dict[Path, list[LabelRow]]":
    """The rows of each file; what fits no file is told."""
    from cmrrecon.formats.labels import labels_of_files, read_labels

    rows = read_labels(labels)
    shared = labels_of_files(rows, paths)
    used = {row.file for found in shared.values() for row in found}
    lost = [row for row in rows if row.file not in used]
    if lost:
        console.warn(
            f"{len(lost)} of {len(rows)} rows of {labels} fit no file, first that of {lost[0].file}"
        )
    console.say(f"{sum(map(bool, shared.values()))} of {len(paths)} files have labels")
    return shared
