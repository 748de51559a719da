"""Which scans there are to train on, what is known of them, and how they are shared between training and validation."""

import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cmrrecon import formats
from cmrrecon.errors import InputError, UsageError
from cmrrecon.formats.atomic import atomic
from cmrrecon.scan import require_cartesian
from cmrrecon.training.store import FINGERPRINT, Survey

Entry = Mapping[str, Any]


def read_entries(store: Path) -> list[dict[str, Any]]:
    """The fully sampled scans of a store, see `store.Survey`; paths relative to it.

    Raises
    ------
    InputError : none of its scans is fully sampled, or an older version has made it
    """
    entries = []
    for name in json.loads((store / FINGERPRINT).read_text())["files"]:
        entry = json.loads((store / name).with_suffix(".json").read_text())
        if entry["fully_sampled"]:
            if "limits" not in entry:
                raise InputError(f"{store} was made by an older version", "Entries of scans tell more now", "Make the store again")
            entries.append({**entry, "path": name})
    return _some(entries, store)


def index_scans(folder: Path, files: Sequence[Path], cache: Path, advance: Callable[[], None]) -> list[dict[str, Any]]:
    """The same of files as they were measured, each read once; the next time they are taken from `cache`, unless a file has changed.

    Parameters
    ----------
    folder, files : the entries' paths are relative to the folder
    cache : a JSON file
    advance : is called after each file

    Raises
    ------
    InputError : a file cannot be read, or none is fully sampled
    """
    stamps = [[str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    if cache.exists() and (known := json.loads(cache.read_text()))["files"] == stamps:
        return _some(known["entries"], folder)
    entries = []
    for path, (name, *_) in zip(files, stamps, strict=True):
        scan = formats.read(path)
        require_cartesian(scan, "Training")
        survey = Survey(scan)
        if survey.complete:
            for index in range(scan.shape[1]):
                survey.packed.read_slice(index)
            entries.append({**survey.entry(), "path": name, "labels": None})
        advance()
    with atomic(cache) as temporary:
        temporary.write_text(json.dumps({"files": stamps, "entries": entries}) + "\n")
    return _some(entries, folder)


def _some(entries: list[dict[str, Any]], where: Path) -> list[dict[str, Any]]:
    if not entries:
        raise InputError(f"No scan of {where} is fully sampled", "Training needs references", "Add fully sampled scans")
    return entries


def domain_of(entry: Mapping[str, Any], facts: Sequence[str]) -> str:
    """The facts of a scan that name its domain, joined; "unknown" for what the store does not know."""
    for fact in facts:
        if fact not in entry:
            raise UsageError(f"Scans have no fact {fact!r}", f"They have: {', '.join(sorted(entry))}", "Change data.domain")
    return "/".join(str(entry[fact] or "unknown") for fact in facts)


def split(entries: Sequence[Mapping[str, Any]], share: float, seed: int) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Scans to train on and to validate with: about this share of the subjects of every domain, the same whatever else is in the store."""
    train: list[Mapping[str, Any]] = []
    validation: list[Mapping[str, Any]] = []
    for entry in entries:
        subject = (entry["centre"], entry["vendor"], entry["subject"] or entry["path"])
        drawn = random.Random(digest(seed, "split", *subject)).random()
        (validation if drawn < share else train).append(entry)
    if share > 0 and not validation and len(train) > 1:
        # Chance left none of few subjects: take the last one.
        validation.append(train.pop())
    return train, validation


def digest(*parts: object) -> int:
    """A seed from anything that can be printed."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big")
