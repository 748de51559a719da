"""Names for results of the same network with different weights."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

SHORT = 8  # Digits of an abbreviated digest.


def weights_of(stamp: Mapping[str, Any] | None) -> dict[str, str | None]:
    """Return the weights that are named in the provenance of a result.

    Returns
    -------
    dict
        `weights`, the digest of the file, and `run`, the name of its folder; each is None if
        unknown.
    """
    known = stamp or {}
    return {"weights": known.get("config", {}).get("weights"), "run": known.get("run")}


def distinguish_runs(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rename methods in records so that each file of weights has its own name.

    A network with several files of weights becomes `network (run)`, after the folder of the
    weights. If folders are unknown or have the same name, the first 8 digits of the digest are used
    instead. A network with only one file of weights keeps its name.

    Parameters
    ----------
    records : sequence of records
        Each has `method`, and for a network also `weights` and `run`.
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
            run = next(iter(names)) if distinct else digest[:SHORT]
            labels[method, digest] = f"{method} ({run})" if len(weights) > 1 else method

    return [
        {
            **record,
            "method": labels.get((record["method"], record.get("weights") or ""), record["method"]),
        }
        for record in records
    ]
