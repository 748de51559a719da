"""The identity of a run: its recipe, plan and scans. A run continues only with the same ones."""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from cmrrecon import __version__
from cmrrecon.tools import provenance
from cmrrecon.tools.atomic import atomic, output_error
from cmrrecon.tools.errors import InputError, UsageError
from cmrrecon.tools.files import input_error
from cmrrecon.training.distributed import Group
from cmrrecon.training.entries import Entry
from cmrrecon.training.plan import Plan, make_plan
from cmrrecon.training.recipe import Recipe
from cmrrecon.training.saving import LAST

RUN, LOCK = "run.json", ".lock"


@contextmanager
def only_run(out: Path) -> Iterator[None]:
    """Lock a folder, so that no other process trains in it.

    Raises
    ------
    UsageError
        If another process does (`folder-busy`).
    OutputError
        If the folder cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(out / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise output_error(out, error) from error

    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                "folder-busy",
                f"Another run is using {out}",
                "Each run needs a folder of its own",
                "Wait for it to end, or give another --out-dir",
            ) from error
        yield
    finally:
        os.close(descriptor)


def agreed_plan(
    out: Path,
    recipe: Recipe,
    training: Sequence[Entry],
    validation: Sequence[Entry],
    unseen: Sequence[Entry],
    device: torch.device,
    group: Group,
    *,
    checkpointing: bool | None = None,
    workers: int | None = None,
    write: bool = True,
) -> Plan:
    """Return the plan of the run in this folder, which is the same for all processes.

    Checkpointing of activations and the number of threads may change, because they change results
    by rounding errors at most. The plan is written into the folder unless `write` is false.

    Raises
    ------
    UsageError
        If the folder contains a run of another recipe (`recipe-mismatch`), on other scans
        (`scans-mismatch`) or with another number of processes (`processes-mismatch`).
    InputError
        If the description of the run in the folder is damaged (`run-damaged`).
    """
    path = out / RUN
    known = _known(path) if (out / LAST).exists() and path.exists() else None

    asked = json.loads(json.dumps(provenance.plain(recipe.as_dict())))
    scans = {
        "training": digest(training),
        "validation": digest(validation),
        "unseen": digest(unseen),
    }

    if known is not None:
        _check_same(out, known, asked, scans, group.size)

    plan = group.gather(
        _plan(recipe, training, device, known, checkpointing, workers) if group.rank == 0 else None
    )[0]

    if group.rank == 0 and write:
        with atomic(path) as temporary:
            run = {
                "cmrrecon": __version__,
                "recipe": asked,
                "scans": scans,
                "processes": group.size,
                "plan": plan.as_dict(),
            }
            temporary.write_text(json.dumps(run, indent=1) + "\n")

    made: Plan = plan
    return made


def _known(path: Path) -> dict[str, Any]:
    """Return the identity of the run in a folder; refuse a damaged one (`run-damaged`)."""
    try:
        known = json.loads(path.read_text())
        parts = {key: known[key] for key in ("recipe", "scans", "processes", "plan")}
        parts["recipe"]["schedule"]["epochs"]
        Plan(**parts["plan"])
    except OSError as error:
        raise input_error(path, error) from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise InputError(
            "run-damaged",
            f"{path} is damaged",
            "It describes the run in this folder, which continues only with the same recipe",
            "Restore the file, or give another --out-dir",
        ) from error
    return parts


def _check_same(
    out: Path,
    known: Mapping[str, Any],
    asked: Mapping[str, Any],
    scans: Mapping[str, str],
    processes: int,
) -> None:
    """Refuse to continue with another recipe, other scans or another number of processes."""
    longer = {
        **asked,
        "schedule": {**asked["schedule"], "epochs": known["recipe"]["schedule"]["epochs"]},
    }

    if longer != known["recipe"]:
        raise UsageError(
            "recipe-mismatch",
            f"{out} contains a run of another recipe, which differs in "
            f"{', '.join(_changed(known['recipe'], longer))}",
            "A run continues with its own recipe; only schedule.epochs may change",
            "Give another --out-dir",
        )

    if scans != known["scans"]:
        raise UsageError(
            "scans-mismatch",
            f"{out} contains a run on other scans",
            "A run continues with its own store, --only and --hold-out",
            "Give another --out-dir",
        )

    if processes != known["processes"]:
        raise UsageError(
            "processes-mismatch",
            f"{out} contains a run of {known['processes']} processes, and this one has {processes}",
            "Each process has its share of an epoch's batches, so their number cannot change",
            f"Start {known['processes']} processes, or give another --out-dir",
        )


def _changed(known: Mapping[str, Any], asked: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the keys in which two recipes differ."""
    found = []
    for key in sorted({*known, *asked}):
        a, b = known.get(key), asked.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _changed(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key}")
    return found


def _plan(
    recipe: Recipe,
    training: Sequence[Entry],
    device: torch.device,
    known: Any,
    checkpointing: bool | None,
    workers: int | None,
) -> Plan:
    """Return a new plan, or the run's own plan with the options of this call."""
    if known is None:
        return make_plan(recipe, training, device, checkpointing=checkpointing, workers=workers)

    plan = known["plan"]
    plan["checkpointing"] = plan["checkpointing"] if checkpointing is None else checkpointing
    plan["workers"] = workers or plan["workers"]
    return Plan(**plan)


def digest(entries: Sequence[Entry]) -> str:
    """Return a digest of the entries, to recognise the same scans with the same properties."""
    return hashlib.sha256(
        json.dumps([dict(entry) for entry in entries], sort_keys=True).encode()
    ).hexdigest()[:16]
