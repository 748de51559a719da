"""Find the scans for `cmrrecon train`: for training, for validation, and held out."""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cmrrecon.cli import inputs
from cmrrecon.cli.console import Console
from cmrrecon.tools.errors import InputError, UsageError
from cmrrecon.tools.scratch import scratch_folder

if TYPE_CHECKING:
    from cmrrecon.training.distributed import Group
    from cmrrecon.training.entries import Entry
    from cmrrecon.training.recipe import Recipe

# File in the folder of a run that stores the properties of the scans in a data folder.
INDEX = "index.json"


class Scans(NamedTuple):
    """Entries of the scans for training, for validation, and held out."""

    training: "Sequence[Entry]" = ()
    validation: "Sequence[Entry]" = ()
    unseen: "Sequence[Entry]" = ()


def check_data(data: Path | None) -> None:
    """Refuse data that are not a folder, before the folder of the run is created.

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
            "Training needs a store made by `cmrrecon preprocess`, or a folder of fully sampled "
            "files",
            "Check the path",
        )

    if not data.is_dir():
        raise InputError(
            "folder-needed",
            f"--data {data} is a file",
            "Training needs a store made by `cmrrecon preprocess`, or a folder of fully sampled "
            "files",
            "Use the folder that contains the file",
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
    """Divide the scans of a store or folder; return none for a recipe that uses random scans.

    Parameters
    ----------
    data : Path
        The store, or a folder of fully sampled files; None for random scans.
    out : Path
        Folder of the run, where the index of a folder of files is kept.
    hold_out, only : sequence of str
        Properties that select scans, such as `vendor=Siemens`.
    dry_run : bool
        Whether to write nothing.

    Raises
    ------
    InputError
        If no scan in the folder can be used.
    UsageError
        If no scan matches (`scan-missing`).
    """
    if data is None:
        return Scans()

    with scratch_folder() as scratch:
        cache = out / INDEX
        if dry_run:
            # A copy of the index of the run, if there is one, saves reading its files again.
            cache = scratch / INDEX
            with suppress(OSError):
                shutil.copyfile(out / INDEX, cache)

        entries = _entries(data, cache, console, group)
    return _divide(entries, recipe, hold_out, only)


def _entries(data: Path, cache: Path, console: Console, group: "Group") -> "list[dict[str, Any]]":
    """Return the entries of a store, or of files that the first process reads once."""
    from cmrrecon import formats
    from cmrrecon.training.entries import index_scans, read_entries
    from cmrrecon.training.store import FINGERPRINT

    if (data / FINGERPRINT).is_file():
        return read_entries(data)

    files = [job.path for job in inputs.find_jobs([str(data)], formats.is_scan)]
    if group.rank == 0:
        console.say(
            f"{data} is not a store made by `cmrrecon preprocess`, so its {len(files)} files are "
            "indexed once and read directly"
        )
        with console.progress(str(data), len(files), "file") as bar:
            found = index_scans(data, files, cache, bar.advance, console.warn)
    group.gather(None)
    if group.rank == 0:
        return found
    return index_scans(data, files, cache, lambda: None, lambda text: None)


def _divide(
    entries: "Sequence[Entry]", recipe: "Recipe", hold_out: Sequence[str], only: Sequence[str]
) -> Scans:
    """Select the entries and divide them into training, validation and held-out scans."""
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
            f"--hold-out {' '.join(hold_out)} matches no scan",
            f"It must select scans to hold out; {values_of(wanted, hold_out)}",
            "Choose one of these values",
        )

    seen = [entry for entry in wanted if entry not in unseen]
    training, validation = split(seen, recipe.data.validation, recipe.schedule.seed)
    if not training:
        raise UsageError(
            "scan-missing",
            "No scan is left for training",
            "Training needs at least one scan",
            "Change --only, --hold-out or the store",
        )
    return Scans(training, validation, unseen)
