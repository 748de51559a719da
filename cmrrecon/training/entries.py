"""Entries of the scans to train on, and their split into training and validation."""

import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from cmrrecon import formats
from cmrrecon.data import require_cartesian
from cmrrecon.formats.names import facts_of
from cmrrecon.tools.atomic import atomic
from cmrrecon.tools.errors import CmrreconError, InputError, OutputError, UsageError
from cmrrecon.training.seals import unsealed
from cmrrecon.training.store import FINGERPRINT, Survey

Entry = Mapping[str, Any]

# Number of newly read files after which the index of a folder is written.
FILES_A_WRITE = 50


def read_entries(store: Path) -> list[dict[str, Any]]:
    """Return the entries of the fully sampled scans of a store; paths are relative to the store.

    Raises
    ------
    InputError
        If none of its scans is fully sampled (`reference-missing`), or if the store was created by
        an older version (`store-outdated`), or is damaged (`store-damaged`).
    """
    try:
        names = unsealed(store / FINGERPRINT)["files"]
        found = {name: unsealed((store / name).with_suffix(".json")) for name in names}
        complete = {name: entry for name, entry in found.items() if entry["fully_sampled"]}
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(
            "store-damaged",
            f"{store} cannot be read as a store ({type(error).__name__})",
            f"{FINGERPRINT} and a .json file beside each scan describe a store",
            "Run `cmrrecon preprocess` again",
        ) from error

    if any("limits" not in entry for entry in complete.values()):
        raise InputError(
            "store-outdated",
            f"{store} was created by an older version",
            "The entries of its scans lack information",
            "Create the store again",
        )

    entries = [{**entry, "path": name} for name, entry in complete.items()]
    return _not_empty(entries, store)


def index_scans(
    folder: Path,
    files: Sequence[Path],
    cache: Path,
    advance: Callable[[], None],
    warn: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Return the entries of raw files; each file is read once.

    Later calls read the entries from `cache`, unless a file has changed.

    Parameters
    ----------
    folder : Path
        The folder to which the paths of the entries are relative.
    files : sequence of Path
        The files.
    cache : Path
        The JSON file of the entries; if it is damaged, it is made again. It is written at the end,
        also after an interruption, and before that after every `FILES_A_WRITE` new files.
    advance : callable
        Called after each file.
    warn : callable
        Receives a message for each file that cannot be read and is left out.

    Raises
    ------
    InputError
        If none of the scans is fully sampled (`reference-missing`).
    """
    found: dict[str, Any] = {}

    with _Index(cache) as index:
        for path in files:
            try:
                name, state = str(path.relative_to(folder)), path.stat()
                stamp = [state.st_size, state.st_mtime_ns]
                if index.known.get(name, {}).get("stamp") != stamp:
                    index.add(name, {"stamp": stamp, "entry": _surveyed(path, name)})
                found[name] = index.known[name]
            except CmrreconError as error:
                warn(f"{error} It is left out.")
            finally:
                advance()

    return _not_empty(
        [made["entry"] for made in found.values() if made["entry"] is not None], folder
    )


class _Index:
    """The cache of `index_scans`, written on exit, and earlier after `FILES_A_WRITE` new files."""

    def __init__(self, path: Path) -> None:
        self.path, self.unwritten = path, 0
        self.known: dict[str, Any] = {}
        # Without a readable cache, all files are read again.
        with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
            self.known = {
                name: {"stamp": made["stamp"], "entry": made["entry"]}
                for name, made in json.loads(path.read_text()).items()
            }

    def add(self, name: str, made: dict[str, Any]) -> None:
        self.known[name] = made
        self.unwritten += 1
        if self.unwritten >= FILES_A_WRITE:
            self.write()

    def write(self) -> None:
        with atomic(self.path) as temporary:
            temporary.write_text(json.dumps(self.known) + "\n")
        self.unwritten = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        if self.unwritten:
            # A failure to write must not hide the error that ended the loop.
            with suppress(*([] if kind is None else [OutputError])):
                self.write()


def _surveyed(path: Path, name: str) -> dict[str, Any] | None:
    """Return the entry of a file, or None if the file is not fully sampled."""
    scan = formats.read(path)
    require_cartesian(scan.mask, scan.path or "The scan", "Training")

    survey = Survey(scan)
    if not survey.complete:
        return None
    for index in range(scan.shape[1]):
        survey.packed.read_slice(index)
    return {**survey.entry(), "path": name, "labels": None}


def _not_empty(entries: list[dict[str, Any]], where: Path) -> list[dict[str, Any]]:
    if not entries:
        raise InputError(
            "reference-missing",
            f"No scan in {where} is fully sampled",
            "Training needs fully sampled scans as references",
            "Add fully sampled scans",
        )
    return entries


def domain_of(entry: Entry, names: Sequence[str]) -> str:
    """Return the domain of a scan: the named properties, joined, with "unknown" for missing ones.

    Raises
    ------
    UsageError
        If there is no property with this name (`unknown-fact`).
    """
    facts = facts_of(entry)

    for name in names:
        if name not in facts:
            raise UsageError(
                "unknown-fact",
                f"Scans have no property {name!r}",
                f"Their properties are: {', '.join(sorted(facts))}",
                "Change data.domain",
            )
    return "/".join(str(facts[name] or "unknown") for name in names)


def split(entries: Sequence[Entry], share: float, seed: int) -> tuple[list[Entry], list[Entry]]:
    """Split scans into a training set and a validation set.

    All scans of a subject stay together. The random number of a subject does not depend on what
    else is in the store.

    Parameters
    ----------
    entries : sequence of Entry
        The scans.
    share : float
        The approximate fraction of the subjects in the validation set. If there are few subjects
        and none is drawn, the one with the smallest random number is used.
    seed : int
        Determines the random numbers.
    """

    def drawn(entry: Entry) -> float:
        subject = (entry["centre"], entry["vendor"], entry["subject"] or entry["path"])
        return random.Random(digest(seed, "split", *subject)).random()

    draws = sorted({drawn(entry) for entry in entries})
    if share <= 0 or len(draws) < 2:
        return list(entries), []

    # Larger than the smallest number, so that one subject is for validation, and no larger than the
    # largest, so that one is for training.
    limit = min(max(share, draws[1]), draws[-1]) if share <= draws[0] else min(share, draws[-1])
    return [entry for entry in entries if drawn(entry) >= limit], [
        entry for entry in entries if drawn(entry) < limit
    ]


def digest(*parts: object) -> int:
    """Return a seed derived from anything that can be printed."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big")
