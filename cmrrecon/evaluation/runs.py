"""Names for results of one network with different weights."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

SHORT = 8  # Digits of a digest, as git shows them.


def weights_of(stamp: Mapping[str, Any] | None) -> dict[str, str | None]:
    """The weights that the provenance of a result names.

    Returns
    -------
    dict
        `weights`, the digest of the file, and `run`, the name of its folder; None if unknown.
    """
    known = stamp or {}
    return {"weights": known.get("config", {}).get("weights"), "run": known.get("run")}


def distinguish_runs(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The records, with a name of its own for each file of weights.

    A method with several weights becomes `network (run)`, by the folder of the weights. Where
    folders are unknown or have the same name, the first 8 digits of the digest replace them. A
    network with one file of weights keeps its name.

    Parameters
    ----------
    records : sequence of records
        Each with `method`, and `weights` and `run` if it is a network.
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
