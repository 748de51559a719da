"""Which scans there are to train on, what is known of them, and how they are shared between training and validation."""

import hashlib
import json
import random
import re
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


def facts_of(entry: Entry) -> dict[str, Any]:
    """What is known of a scan, with what follows from the official name of its scanner, such as Siemens_30T_Vida.

    That is its manufacturer ("Siemens"), its field ("3.0T"), and as `scanner` the centre and the name; None where it is not known.
    """
    vendor = entry["vendor"] or ""
    field = re.search(r"_(\d)(\d)T(_|$)", vendor)
    return {
        **entry,
        "scanner": f"{entry['centre']}/{vendor}" if entry["centre"] and vendor else None,
        "manufacturer": vendor.partition("_")[0] or None,
        "field": f"{field[1]}.{field[2]}T" if field else None,
    }


def fits(entry: Entry, text: str, option: str) -> bool:
    """Whether a scan has the fact that an option names, as in vendor=Siemens or scanner=Center005/Siemens_30T_Vida.

    Raises
    ------
    UsageError : it is not of this form, or there is no such fact
    """
    facts = facts_of(entry)
    key, equals, value = text.partition("=")
    if not equals or key not in facts:
        known = ", ".join(sorted(key for key, value in facts.items() if isinstance(value, str)))
        raise UsageError(
            f"{option} was given {text!r}", f"It wants fact=value; scans have the facts {known}", "Write for example vendor=Siemens"
        )
    return value == str(facts[key]) or (key == "vendor" and value == facts["manufacturer"])


def domain_of(entry: Entry, names: Sequence[str]) -> str:
    """The facts of a scan that name its domain, joined; "unknown" for what is not known."""
    facts = facts_of(entry)
    for name in names:
        if name not in facts:
            raise UsageError(f"Scans have no fact {name!r}", f"They have: {', '.join(sorted(facts))}", "Change data.domain")
    return "/".join(str(facts[name] or "unknown") for name in names)


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
