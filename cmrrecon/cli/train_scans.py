"""The scans that `cmrrecon train` uses: to train on, to validate with, and held out."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cmrrecon.cli import inputs
from cmrrecon.cli.console import Console
from cmrrecon.tools.errors import InputError, UsageError

if TYPE_CHECKING:
    from cmrrecon.training.distributed import Group
    from cmrrecon.training.entries import Entry
    from cmrrecon.training.recipe import Recipe

# The file in the folder of a run with what is known of the scans of a folder.
INDEX = "index.json"


class Scans(NamedTuple):
    """Entries of the scans to train on, to validate with, and held out."""

    training: "Sequence[Entry]" = ()
    validation: "Sequence[Entry]" = ()
    unseen: "Sequence[Entry]" = ()


def check_data(data: Path | None) -> None:
    """Refuse data that are no folder, before the folder of the run is made.

    Raises
    ------
    InputError
        If the path does not exist (`file-missing`) or is a file (`folder-needed`).
    """
    if data is None:
        return

    if not data.exists():
        raise InputError(
            "file-missing",
            f"--data {data} does not exist",
            "Training needs a store of `cmrrecon preprocess`, or a folder of fully sampled files",
            "Check the path",
        )

    if not data.is_dir():
        raise InputError(
            "folder-needed",
            f"--data {data} is a file",
            "Training needs a store of `cmrrecon preprocess`, or a folder of fully sampled files",
            "Give the folder that holds the file",
        )


def find_scans(
    data: Path | None,
    out: Path,
    recipe: "Recipe",
    hold_out: Sequence[str],
    only: Sequence[str],
    console: Console,
    group: "Group",
    *,
    dry_run: bool,
) -> Scans:
    """Divide the scans of a store or folder; there are none for a recipe that uses random scans.

    Parameters
    ----------
    data : Path
        The store, or a folder of fully sampled files; None for random scans.
    out : Path
        The folder of the run, which keeps what was found out about a folder of files.
    hold_out, only : sequence of str
        What names scans, such as `vendor=Siemens`.
    dry_run : bool
        Whether nothing may be written.

    Raises
    ------
    InputError
        If no scan in the folder can be used.
    UsageError
        If no scan fits (`scan-missing`).
    """
    if data is None:
        return Scans()

    with tempfile.TemporaryDirectory(prefix="cmrrecon-") as scratch:
        cache = (Path(scratch) if dry_run and not (out / INDEX).exists() else out) / INDEX
        entries = _entries(data, cache, console, group)
    return _divided(entries, recipe, hold_out, only)


def _entries(data: Path, cache: Path, console: Console, group: "Group") -> "list[dict[str, Any]]":
    """The entries of a store, or of files, which the first process reads once."""
    from cmrrecon import formats
    from cmrrecon.training.entries import index_scans, read_entries
    from cmrrecon.training.store import FINGERPRINT

    if (data / FINGERPRINT).is_file():
        return read_entries(data)

    files = [job.path for job in inputs.find_jobs([str(data)], formats.is_scan)]
    if group.rank == 0:
        console.say(
            f"{data} is no store of `cmrrecon preprocess`: its {len(files)} files are looked "
            "through once, and read as they are"
        )
        with console.progress(str(data), len(files), "file") as bar:
            found = index_scans(data, files, cache, bar.advance, console.warn)
    group.gather(None)
    if group.rank == 0:
        return found
    return index_scans(data, files, cache, lambda: None, lambda text: None)


def _divided(
    entries: "Sequence[Entry]", recipe: "Recipe", hold_out: Sequence[str], only: Sequence[str]
) -> Scans:
    """The entries that are wanted, divided by what they are for."""
    from cmrrecon.formats.names import fits, values_of
    from cmrrecon.training.entries import split

    wanted = [
        entry for entry in entries if not only or any(fits(entry, text, "--only") for text in only)
    ]
    unseen = [
        entry for entry in wanted if any(fits(entry, text, "--hold-out") for text in hold_out)
    ]
    if hold_out and not unseen:
        raise UsageError(
            "scan-missing",
            f"--hold-out {' '.join(hold_out)} fits no scan",
            f"It names scans to hold out; {values_of(wanted, hold_out)}",
            "Name one of these",
        )

    seen = [entry for entry in wanted if entry not in unseen]
    training, validation = split(seen, recipe.data.validation, recipe.schedule.seed)
    if not training:
        raise UsageError(
            "scan-missing",
            "No scan is left to train on",
            "Training needs at least one",
            "Change --only, --hold-out or the store",
        )
    return Scans(training, validation, unseen)
