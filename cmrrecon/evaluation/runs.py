"""Telling results of the same network with different weights apart."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

SHORT = 8  # digits of a digest, as git shows them


def weights_of(stamp: Mapping[str, Any] | None) -> dict[str, str | None]:
    """What a result's provenance tells of the weights: the file's digest (`weights`) and the name of its folder (`run`), if it knows."""
    known = stamp or {}
    return {"weights": known.get("config", {}).get("weights"), "run": known.get("run")}


def distinguish_runs(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The records, each method with several weights named `network (run)`, by the folder of the weights.

    Where folders are not known or have the same name, the first 8 digits of the digest stand for them. A network with one file of
    weights keeps its name.
    """
    runs: dict[Any, dict[str, set[Any]]] = defaultdict(lambda: defaultdict(set))
    for record in records:
        if record.get("weights"):
            runs[record["method"]][record["weights"]].add(record.get("run"))
    labels: dict[tuple[Any, str], str] = {}
    for method, weights in runs.items():
        folders = [next(iter(names)) for names in weights.values() if len(names) == 1]
        distinct = None not in folders and len(set(folders)) == len(weights)
        for digest, names in weights.items():
            labels[method, digest] = (
                f"{method} ({next(iter(names)) if distinct else digest[:SHORT]})"
                if len(weights) > 1
                else method
            )
    return [
        {
            **record,
            "method": labels.get((record["method"], record.get("weights") or ""), record["method"]),
        }
        for record in records
    ]
