"""Where results go, and when they need not be made: whole or not at all, never replaced unasked, skipped when finished."""

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
    target : the file, or - for standard output
    sources : the files it is made from, which it must not replace
    stamp : its provenance, made when it is needed (it reads the inputs for their digest)
    make : writes the given file with the given provenance; returns more for the record
    beside : files that `finish` writes beside it
    finish : writes the files beside it with the given provenance
    """

    target: Path
    sources: Sequence[Path]
    stamp: Callable[[], dict[str, Any]]
    make: Callable[[Path, dict[str, Any]], Mapping[str, Any]]
    beside: Sequence[Path] = ()
    finish: Callable[[dict[str, Any]], None] = field(default=lambda stamp: None)


def deliver(
    product: Product, record: Mapping[str, Any], console: Console, *, overwrite: bool, dry_run: bool
) -> Mapping[str, Any]:
    """Make a product, unless it is finished or only a plan is wanted, and report it; returns the record with its `status`.

    Raises
    ------
    OutputError : one of its files exists but was made in another way, and `overwrite` was not given; or its folder cannot take it
    UsageError : it would replace what it is made from
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
        start, stamp = time.monotonic(), product.stamp()
        try:
            with _local_output(target) as file:
                made = product.make(file, stamp)
            product.finish(stamp)
        except CmrreconError:
            # Another process may have finished the same output in the meantime.
            if _same_recipe(target, stamp) and not overwrite:
                return _skipped(record, console)
            raise
        record = {
            **record,
            **made,
            "status": "done",
            "seconds": round(time.monotonic() - start, 2),
            "peak_memory_mb": peak_memory_mb(),
        }
    console.result(record, str(target))
    return record


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
                f"{folder} is no folder that can be written",
                f"{target} is to go there",
                "Name another output",
            )


def _skipped(record: Mapping[str, Any], console: Console) -> Mapping[str, Any]:
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
    """Refuse output options that contradict each other, name no format, or would flood a terminal."""
    if output is not None and out_dir is not None:
        raise UsageError(
            "options-conflict",
            "Both -o and --out-dir were given",
            "One of them says where the output goes",
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
            "-o - and --json both want standard output",
            "One stream carries one thing",
            "Leave --json out",
        )
    if output == STREAM and sys.stdout.isatty():
        raise UsageError(
            "output-terminal",
            "Standard output is a terminal",
            "A scan is binary and wants a pipe or a file",
            "Add | and the next command",
        )


def destination(job: Job, output: str | None, out_dir: Path | None, name: str) -> Path:
    """Where the output of a job goes: -o, else `name` below --out-dir, else `name` beside the input."""
    if output is not None:
        return Path(output)
    if out_dir is not None:
        return out_dir / job.folder / name
    return (Path() if job.is_stream else job.path.parent) / name


def refuse_shared_targets(targets: Mapping[Job, Path]) -> None:
    """Refuse inputs whose outputs would have one name."""
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
    """A file to write; for standard output a temporary own .h5 file that is copied there at the end."""
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
