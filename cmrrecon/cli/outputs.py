"""Decide where results are written, and skip those that are already finished.

A file is either written completely or not at all. It is replaced only on request.
"""

import errno
import hashlib
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cmrrecon.cli.console import Console
from cmrrecon.cli.inputs import STREAM, Job
from cmrrecon.cli.standard_output import local_output
from cmrrecon.tools.atomic import never_replaced, output_error
from cmrrecon.tools.errors import InputError, OutputError, UsageError
from cmrrecon.tools.machine import peak_memory_mb
from cmrrecon.tools.strays import remove_strays_once

# Size of the inputs in bytes from which the time for their digests is worth a message.
LARGE = 4_000_000_000


@dataclass(frozen=True)
class Product:
    """One result to be made.

    Attributes
    ----------
    target : Path
        The output file, or - for standard output.
    sources : Sequence of Path
        The input files, which the output must not replace.
    stamp : Callable
        Returns the provenance; called only when needed, because it reads the inputs to compute
        their digests.
    make : Callable
        Writes the given file with the given provenance, and returns further members of the
        record. Their `status` is `part` if other shards still have slices to do.
    beside : Sequence of Path
        Additional files, which `finish` writes.
    finish : Callable
        Writes the additional files with the given provenance.
    summary : Callable or None
        Returns the message to print about the finished record.
    """

    target: Path
    sources: Sequence[Path]
    stamp: Callable[[], dict[str, Any]]
    make: Callable[[Path, dict[str, Any]], Mapping[str, Any]]
    beside: Sequence[Path] = ()
    finish: Callable[[dict[str, Any]], None] = field(default=lambda stamp: None)
    summary: Callable[[Mapping[str, Any]], str] | None = None


def deliver(
    product: Product, record: Mapping[str, Any], console: Console, *, overwrite: bool, dry_run: bool
) -> Mapping[str, Any]:
    """Make a product, unless it is already finished or this is a dry run, and report it.

    Parameters
    ----------
    product : Product
        The result to be made.
    record : Mapping
        Members of its JSON line.
    console : Console
        Where to report.
    overwrite : bool
        Whether an existing file may be replaced.
    dry_run : bool
        Whether to report the plan without making anything.

    Returns
    -------
    Mapping
        The record with its `status`: `done`, `skipped`, `planned` or `part`.

    Raises
    ------
    OutputError
        If one of the files exists but was made in another way and `overwrite` is false
        (`output-exists`), or the folder is not writable (`output-unwritable`).
    UsageError
        If an output would replace an input (`output-is-input`).
    """
    target = product.target
    refuse_inputs([target, *product.beside], product.sources)
    _check_folders([target, *product.beside])
    wanted = [path for path in (target, *product.beside) if str(path) != STREAM]
    if not dry_run:
        for folder in {path.parent.absolute() for path in wanted}:
            # This also restores folders that a killed process was about to replace.
            remove_strays_once(folder)

    # Path.exists fails on names that are too long.
    existing = [path for path in wanted if os.path.exists(path)]
    record = {"status": "planned", **record, "output": str(target)}

    if existing and not overwrite:
        if not _same_recipe(target, product.stamp()):
            raise OutputError(
                "output-exists",
                f"{existing[0]} exists and was made from another input or with other settings",
                "Outputs are replaced only on request",
                "Add --overwrite, or choose another output",
            )
        if len(existing) == 1 + len(product.beside):
            return _report_skipped(record, console)

    if not dry_run:
        _announce_digests(product.sources, console)
        new = [path for path in (target, *product.beside) if path not in existing]
        record = _make(product, record, overwrite=overwrite, new=[] if overwrite else new)
        if record["status"] == "skipped":
            return _report_skipped(record, console)
        if product.summary is not None:
            console.say(product.summary(record))
    console.result(record, None if record["status"] == "part" else str(target))
    return record


def _announce_digests(sources: Sequence[Path], console: Console) -> None:
    """Say what the digests of large inputs cost; they need the whole files."""
    size = sum(path.stat().st_size for path in sources if path.is_file())
    if size >= LARGE:
        console.say(
            f"computing the digest of {size / 1e9:.0f} GB of input, which reads all of it once"
        )


def _make(
    product: Product, record: Mapping[str, Any], *, overwrite: bool, new: Sequence[Path]
) -> dict[str, Any]:
    """Make a product and return its record; refuse to replace files that should be new."""
    target = product.target
    # The file that is written last; this process writes it only once all others are complete.
    last = [target, *product.beside][-1]
    start, stamp, before = time.monotonic(), product.stamp(), _identity(last)

    def finished_elsewhere() -> bool:
        """Return whether another process has finished the same output in the meantime."""
        changed = _identity(last) is not None and (not overwrite or _identity(last) != before)
        return changed and _same_recipe(target, stamp)

    try:
        with never_replaced(new):
            with local_output(target) as file:
                made = product.make(file, stamp)
            if made.get("status") != "part":
                product.finish(stamp)
    except OutputError as error:
        if error.code == "output-exists" and _same_recipe(target, stamp):
            # An equal command was faster; what is written beside the output is equal too.
            product.finish(stamp)
            return {**record, "status": "skipped"}
        # Any other error is a failure, even if a file of this process is complete already.
        if error.code != "parts-missing" or not finished_elsewhere():
            raise
        return {**record, "status": "skipped"}

    if made.get("status") == "part" and finished_elsewhere():
        return {**record, "status": "skipped"}
    return {
        **record,
        "status": "done",
        **made,
        "seconds": round(time.monotonic() - start, 2),
        "peak_memory_mb": peak_memory_mb(),
    }


def _identity(path: Path) -> tuple[int, int] | None:
    """Return two numbers that change when a file or folder is replaced; None without one."""
    if not os.path.exists(path):
        return None
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def refuse_inputs(targets: Sequence[Path], sources: Sequence[Path]) -> None:
    """Refuse targets that would replace an input."""
    # Path.resolve fails on links that point to themselves.
    originals = {os.path.realpath(source) for source in sources}
    for target in targets:
        if str(target) != STREAM and os.path.realpath(target) in originals:
            raise UsageError(
                "output-is-input",
                f"{target} is one of the inputs",
                "An output must not replace its own input",
                "Choose another output",
            )


def _check_folders(targets: Sequence[Path]) -> None:
    """Refuse targets whose name is too long, or whose folder cannot be created or written to."""
    for target in targets:
        folder = next(parent for parent in target.absolute().parents if parent.exists())
        if str(target) != STREAM and not (folder.is_dir() and os.access(folder, os.W_OK)):
            raise OutputError(
                "output-unwritable",
                f"{folder} is not a writable folder",
                f"{target} would be written there",
                "Choose another output",
            )
        if str(target) != STREAM and len(os.fsencode(target.name)) > os.pathconf(
            folder, "PC_NAME_MAX"
        ):
            raise output_error(target, OSError(errno.ENAMETOOLONG, ""))


def _report_skipped(record: Mapping[str, Any], console: Console) -> Mapping[str, Any]:
    """Report a product that is already finished."""
    console.say(f"{record['output']} is already finished and was skipped; --overwrite replaces it")
    record = {**record, "status": "skipped"}
    console.result(record, str(record["output"]))
    return record


def _same_recipe(target: Path, stamp: Mapping[str, Any]) -> bool:
    """Return whether the output exists and was made with the same recipe."""
    from cmrrecon import formats
    from cmrrecon.tools import provenance

    if str(target) == STREAM or not os.path.exists(target):
        return False
    try:
        stored = formats.read_provenance(target)
    except InputError:
        return False
    return stored is not None and provenance.recipe_hash(stored) == provenance.recipe_hash(stamp)


def check_output(
    output: str | None,
    out_dir: Path | None,
    jobs: int,
    what: Literal["a scan", "images"],
    *,
    as_json: bool,
) -> None:
    """Refuse output options that conflict, name no known format, or write a scan to a terminal."""
    if output is not None and out_dir is not None:
        raise UsageError(
            "options-conflict",
            "Both -o and --out-dir were given",
            "Only one of them can set where the output is written",
            "Leave one of them out",
        )
    if output is not None and jobs > 1:
        raise UsageError(
            "output-shared",
            f"-o names a single file, but there are {jobs} inputs",
            "Several inputs need a folder for their outputs",
            "Use --out-dir",
        )
    if output not in (None, STREAM):
        from cmrrecon import formats

        formats.check_suffix(output, what)

    if output == STREAM and as_json:
        raise UsageError(
            "options-conflict",
            "-o - and --json both write to standard output",
            "Standard output can carry either a scan or JSON lines",
            "Leave out --json",
        )
    if output == STREAM and sys.stdout.isatty():
        raise UsageError(
            "output-terminal",
            "Standard output is a terminal",
            "A scan is binary data and needs a pipe or a file",
            "Add | and the next command",
        )


def destination(job: Job, output: str | None, out_dir: Path | None, name: str) -> Path:
    """Return the path of an output: `-o`, else below `--out-dir`, else beside the input."""
    if output is not None:
        return Path(output)
    if out_dir is not None:
        return out_dir / job.folder / name
    return (Path() if job.is_stream else job.path.parent) / name


def refuse_shared_targets(targets: Mapping[Job, Path]) -> None:
    """Refuse inputs whose outputs would have the same name."""
    owners: dict[str, Job] = {}
    for job, target in targets.items():
        # A relative and an absolute path can name the same file.
        first = owners.setdefault(os.path.realpath(target), job)
        if first is not job:
            raise UsageError(
                "output-shared",
                f"The outputs of {first.name} and {job.name} would both be {target}",
                "Every input needs its own output",
                "Run a separate command for each of them",
            )


def claim(claims: Path, target: Path, name: str) -> None:
    """Reserve an output that is known only once its input has been read.

    Parameters
    ----------
    claims : Path
        Folder that all workers of this run share, with an empty file for each reserved output.
    target : Path
        The output.
    name : str
        Name of the input.

    Raises
    ------
    UsageError
        If another input of this run has the same output (`output-shared`).
    """
    digest = hashlib.sha256(os.fsencode(os.path.realpath(target))).hexdigest()
    try:
        (claims / digest).touch(exist_ok=False)
    except FileExistsError:
        raise UsageError(
            "output-shared",
            f"The outputs of {name} and of another input would both be {target}",
            "Every input needs its own output",
            "Run a separate command for each of them",
        ) from None
