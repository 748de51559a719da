"""Where results go, and when they need not be made.

A file appears whole or not at all, is never replaced unasked, and is skipped when it is finished.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cmrrecon.cli.console import Console
from cmrrecon.cli.inputs import STREAM, Job
from cmrrecon.tools.errors import CmrreconError, InputError, OutputError, UsageError
from cmrrecon.tools.machine import peak_memory_mb


@dataclass(frozen=True)
class Product:
    """One result to make.

    Attributes
    ----------
    target : Path
        The file, or - for standard output.
    sources : Sequence of Path
        The files that it is made from and must not replace.
    stamp : Callable
        Gives its provenance; called when needed, because it reads the inputs for their digest.
    make : Callable
        Writes the given file with the given provenance, and returns more for the record. Its
        `status` is `part` where other shards have yet to do their slices.
    beside : Sequence of Path
        Files that `finish` writes beside it.
    finish : Callable
        Writes the files beside it with the given provenance.
    summary : Callable or None
        Gives the line that is printed about the finished record.
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
    """Make a product, unless it is finished or only a plan is wanted, and report it.

    Parameters
    ----------
    product : Product
        The result to make.
    record : Mapping
        Members of its JSON line.
    console : Console
        Where it is reported.
    overwrite : bool
        Whether an existing file may be replaced.
    dry_run : bool
        Whether only the plan is wanted.

    Returns
    -------
    Mapping
        The record with its `status`: `done`, `skipped`, `planned` or `part`.

    Raises
    ------
    OutputError
        If one of its files exists but was made in another way and `overwrite` was not given
        (`output-exists`), or its folder is not writable (`output-unwritable`).
    UsageError
        If it would replace what it is made from (`output-is-input`).
    """
    target = product.target
    refuse_inputs([target, *product.beside], product.sources)
    _check_folders([target, *product.beside])
    existing = [path for path in (target, *product.beside) if str(path) != STREAM and path.exists()]
    record = {"status": "planned", **record, "output": str(target)}

    if existing and not overwrite:
        if not _same_recipe(target, product.stamp()):
            raise OutputError(
                "output-exists",
                f"{existing[0]} exists and was made from another input or with other settings",
                "Outputs are replaced only on request",
                "Add --overwrite, or name another output",
            )
        if len(existing) == 1 + len(product.beside):
            return _skipped(record, console)

    if not dry_run:
        record = _made(product, record, overwrite=overwrite)
        if record["status"] == "skipped":
            return _skipped(record, console)
        if product.summary is not None:
            console.say(product.summary(record))
    console.result(record, None if record["status"] == "part" else str(target))
    return record


def _made(product: Product, record: Mapping[str, Any], *, overwrite: bool) -> dict[str, Any]:
    """The record of a product after making it."""
    target = product.target
    start, stamp, before = time.monotonic(), product.stamp(), _identity(target)

    def finished_elsewhere() -> bool:
        """Whether another process has finished the same output in the meantime."""
        anew = not overwrite or _identity(target) != before
        return anew and _same_recipe(target, stamp)

    try:
        with _local_output(target) as file:
            made = product.make(file, stamp)
        if made.get("status") != "part":
            product.finish(stamp)
    except CmrreconError:
        if not finished_elsewhere():
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
    """A pair of numbers that changes when a file is replaced; None without a file."""
    if not path.is_file():
        return None
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def refuse_inputs(targets: Sequence[Path], sources: Sequence[Path]) -> None:
    """Refuse targets that would replace what they are made from."""
    # Path.resolve fails on links that lead to themselves.
    originals = {os.path.realpath(source) for source in sources}
    for target in targets:
        if str(target) != STREAM and os.path.realpath(target) in originals:
            raise UsageError(
                "output-is-input",
                f"{target} is one of the inputs",
                "An output must not replace what it is made from",
                "Name another output",
            )


def _check_folders(targets: Sequence[Path]) -> None:
    """Refuse targets in a folder that cannot be made or written."""
    for target in targets:
        folder = next(parent for parent in target.absolute().parents if parent.exists())
        if str(target) != STREAM and not (folder.is_dir() and os.access(folder, os.W_OK)):
            raise OutputError(
                "output-unwritable",
                f"{folder} is not a folder that can be written to",
                f"{target} goes there",
                "Name another output",
            )


def _skipped(record: Mapping[str, Any], console: Console) -> Mapping[str, Any]:
    """Report a product that is finished already."""
    console.say(f"{record['output']} is finished: skipped, --overwrite makes it again")
    record = {**record, "status": "skipped"}
    console.result(record, str(record["output"]))
    return record


def _same_recipe(target: Path, stamp: Mapping[str, Any]) -> bool:
    """Whether a file exists that carries the same recipe."""
    from cmrrecon import formats
    from cmrrecon.tools import provenance

    if str(target) == STREAM or not target.is_file():
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
    """Refuse output options that contradict each other, name no format, or flood a terminal."""
    if output is not None and out_dir is not None:
        raise UsageError(
            "options-conflict",
            "Both -o and --out-dir were given",
            "Only one of them can say where the output goes",
            "Leave one out",
        )
    if output is not None and jobs > 1:
        raise UsageError(
            "output-shared",
            f"-o names one file, but there are {jobs} inputs",
            "Several inputs need a folder",
            "Use --out-dir",
        )
    if output not in (None, STREAM):
        from cmrrecon import formats

        formats.check_suffix(output, what)

    if output == STREAM and as_json:
        raise UsageError(
            "options-conflict",
            "-o - and --json both write to standard output",
            "It carries either a scan or JSON lines",
            "Leave --json out",
        )
    if output == STREAM and sys.stdout.isatty():
        raise UsageError(
            "output-terminal",
            "Standard output is a terminal",
            "A scan is binary and needs a pipe or a file",
            "Add | and the next command",
        )


def destination(job: Job, output: str | None, out_dir: Path | None, name: str) -> Path:
    """Where the output of a job goes: `-o`, else below `--out-dir`, else beside the input."""
    if output is not None:
        return Path(output)
    if out_dir is not None:
        return out_dir / job.folder / name
    return (Path() if job.is_stream else job.path.parent) / name


def refuse_shared_targets(targets: Mapping[Job, Path]) -> None:
    """Refuse inputs whose outputs would have the same name."""
    owners: dict[Path, Job] = {}
    for job, target in targets.items():
        first = owners.setdefault(target, job)
        if first is not job:
            raise UsageError(
                "output-shared",
                f"{first.name} and {job.name} would both become {target}",
                "Every input needs an output of its own",
                "Do them in two commands",
            )


@contextmanager
def _local_output(target: Path) -> Iterator[Path]:
    """A `with` block with the file to write; for stdout a temporary `.h5` that is copied there."""
    if str(target) != STREAM:
        yield target
        return

    with tempfile.TemporaryDirectory(prefix="cmrrecon-") as folder:
        path = Path(folder) / "stdout.h5"
        yield path
        try:
            with open(path, "rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(
                "output-unwritable",
                f"Standard output cannot be written ({error.strerror})",
                "The result goes there",
                "Make room, or name a file with -o",
            ) from error
