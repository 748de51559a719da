"""Which scans there are to train on, what is known of them, and how they are shared between training and validation."""

import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cmrrecon import formats
from cmrrecon.data import require_cartesian
from cmrrecon.formats.names import facts_of
from cmrrecon.tools.atomic import atomic
from cmrrecon.tools.errors import CmrreconError, InputError, UsageError
from cmrrecon.training.store import FINGERPRINT, Survey

Entry = Mapping[str, Any]


def read_entries(store: Path) -> list[dict[str, Any]]:
    """The fully sampled scans of a store, see `store.Survey`; paths relative to it.

    Raises
    ------
    InputError : none of its scans is fully sampled, or an older version has made it
    """
    try:
        names = json.loads((store / FINGERPRINT).read_text())["files"]
        found = {
            name: json.loads((store / name).with_suffix(".json").read_text()) for name in names
        }
        complete = {name: entry for name, entry in found.items() if entry["fully_sampled"]}
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(
            "store-damaged",
            f"{store} is no store that can be read ({type(error).__name__})",
            f"{FINGERPRINT} and a .json file beside each scan describe a store",
            "Run `cmrrecon preprocess` again",
        ) from error
    if any("limits" not in entry for entry in complete.values()):
        raise InputError(
            "store-outdated",
            f"{store} was made by an older version",
            "Entries of scans hold more now",
            "Make the store again",
        )
    entries = [{**entry, "path": name} for name, entry in complete.items()]
    return _some(entries, store)


def index_scans(
    folder: Path,
    files: Sequence[Path],
    cache: Path,
    advance: Callable[[], None],
    warn: Callable[[str], None],
) -> list[dict[str, Any]]:
    """The same of files as they were measured, each read once; the next time they are taken from `cache`, unless a file has changed.

    Parameters
    ----------
    folder, files : the entries' paths are relative to the folder
    cache : a JSON file, written after every file
    advance : is called after each file
    warn : is told of files that cannot be read, which are left out

    Raises
    ------
    InputError : none of them is fully sampled
    """
    known: dict[str, Any] = json.loads(cache.read_text()) if cache.exists() else {}
    found: dict[str, Any] = {}
    for path in files:
        name, stamp = str(path.relative_to(folder)), [path.stat().st_size, path.stat().st_mtime_ns]
        if name in known and known[name]["stamp"] == stamp:
            found[name] = known[name]
        else:
            try:
                found[name] = {"stamp": stamp, "entry": _looked_through(path, name)}
            except CmrreconError as error:
                warn(f"{error} It is left out.")
                continue
            with atomic(cache) as temporary:
                temporary.write_text(json.dumps({**known, **found}) + "\n")
        advance()
    return _some([made["entry"] for made in found.values() if made["entry"] is not None], folder)


def _looked_through(path: Path, name: str) -> dict[str, Any] | None:
    """The entry of a file; None if it is not fully sampled."""
    scan = formats.read(path)
    require_cartesian(scan.mask, scan.path or "The scan", "Training")
    survey = Survey(scan)
    if not survey.complete:
        return None
    for index in range(scan.shape[1]):
        survey.packed.read_slice(index)
    return {**survey.entry(), "path": name, "labels": None}


def _some(entries: list[dict[str, Any]], where: Path) -> list[dict[str, Any]]:
    if not entries:
        raise InputError(
            "reference-missing",
            f"No scan of {where} is fully sampled",
            "Training needs references",
            "Add fully sampled scans",
        )
    return entries


def domain_of(entry: Entry, names: Sequence[str]) -> str:
    """The facts of a scan that name its domain, joined; "unknown" for what is not known."""
    facts = facts_of(entry)
    for name in names:
        if name not in facts:
            raise UsageError(
                "unknown-fact",
                f"Scans have no fact {name!r}",
                f"They have: {', '.join(sorted(facts))}",
                "Change data.domain",
            )
    return "/".join(str(facts[name] or "unknown") for name in names)


def split(entries: Sequence[Entry], share: float, seed: int) -> tuple[list[Entry], list[Entry]]:
    """Scans to train on and to validate with: about this share of the subjects, the same whatever else is in the store.

    All scans of a subject go together. If chance leaves nobody of few subjects to validate with, it is the one nearest to it.
    """

    def drawn(entry: Entry) -> float:
        subject = (entry["centre"], entry["vendor"], entry["subject"] or entry["path"])
        return random.Random(digest(seed, "split", *subject)).random()

    draws = sorted({drawn(entry) for entry in entries})
    if share <= 0 or len(draws) < 2:
        return list(entries), []
    # Above the first, who validates in any case, and not above the last, who trains.
    limit = min(max(share, draws[1]), draws[-1]) if share <= draws[0] else min(share, draws[-1])
    return [entry for entry in entries if drawn(entry) >= limit], [
        entry for entry in entries if drawn(entry) < limit
    ]


def digest(*parts: object) -> int:
    """A seed from anything that can be printed."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big")
