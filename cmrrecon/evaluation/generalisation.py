"""How scores change between domains: means with their uncertainty by group, and paired differences between two methods.

Records are those of `tables`. Files are the units that are drawn again; files of one subject are not independent, so intervals over few
subjects are too narrow.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cmrrecon.evaluation.tables import METRICS, Record, scored_alike
from cmrrecon.formats.names import fits
from cmrrecon.tools.errors import UsageError

DRAWS, LEVEL = 2000, 0.95
DOMAIN = ("centre", "vendor")
AXES = (
    "domain",
    "seen",
    "method",
    "modality",
    "base",
    "pattern",
    "acceleration",
    "centre",
    "vendor",
    "subject",
)


def domain(record: Record) -> str:
    """Centre and vendor, joined."""
    return "/".join(str(record.get(fact) or "unknown") for fact in DOMAIN)


def placed(records: Iterable[Record], unseen: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The records with their domain, and whether it was `seen` in training: it is not if it is one of `unseen`, or begins so."""
    found = []
    for record in records:
        held = any(is_part(record, name) for name in unseen)
        found.append({**record, "domain": domain(record), "seen": "unseen" if held else "seen"})
    return found


def is_part(record: Record, name: str) -> bool:
    """Whether a record is of the domain of that name (centre or centre/vendor), or has the fact named as in base=T1map."""
    if "=" in name:
        return fits(record, name, "--unseen")
    where = domain(record)
    return where == name or where.startswith(f"{name}/")


def table(records: Sequence[Record], axes: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each combination of the axes, and of the methods.

    Returns
    -------
    rows {axis: value, .., n, and of each metric its mean, std and the ends `low`, `high` of a bootstrap interval of the mean}

    Raises
    ------
    UsageError : an unknown axis, or scores of several protocols
    """
    for axis in axes:
        if axis not in AXES:
            raise UsageError(
                "unknown-axis",
                f"There is no axis {axis!r}",
                f"The axes are: {', '.join(AXES)}",
                "Choose among them, separated by commas",
            )
    keys = [*axes, *(["method"] if "method" not in axes else [])]
    groups: dict[tuple[Any, ...], list[Record]] = defaultdict(list)
    for record in scored_alike(records):
        groups[tuple(record.get(key) for key in keys)].append(record)
    rows = []
    for values, members in sorted(
        groups.items(), key=lambda item: [str(value) for value in item[0]]
    ):
        row: dict[str, Any] = {**dict(zip(keys, values, strict=True)), "n": len(members)}
        for metric in METRICS:
            row[metric] = spread([float(member[metric]) for member in members])
        rows.append(row)
    return rows


def paired(records: Sequence[Record], first: str, second: str) -> dict[str, dict[str, float]]:
    """Mean difference second - first of two methods over the files that both have, with its interval, by metric.

    Raises
    ------
    UsageError : no file was scored for both, or several of one method that only their masks tell apart
    """
    by_reference: dict[tuple[Any, ...], dict[Any, Record]] = defaultdict(dict)
    for record in scored_alike(records):
        same = tuple(
            record.get(key)
            for key in ("reference", "pattern", "acceleration", "acs", "seed", "slices")
        )
        if record.get("method") in by_reference[same]:
            raise UsageError(
                "records-ambiguous",
                f"Two files of {record.get('method')} are of one scan, pattern and R: {record.get('input')} is one",
                "Differences are between two files of the same k-space",
                "Score one of them at a time",
            )
        by_reference[same][record.get("method")] = record
    pairs = [methods for methods in by_reference.values() if first in methods and second in methods]
    if not pairs:
        raise UsageError(
            "records-unpaired",
            f"No file was scored for both {first} and {second}",
            "A paired difference needs such files",
            "Score both",
        )
    return {
        metric: spread([float(pair[second][metric]) - float(pair[first][metric]) for pair in pairs])
        for metric in METRICS
    }


def differences(
    records: Sequence[Record], axes: Sequence[str], first: str, others: Sequence[str]
) -> list[dict[str, Any]]:
    """`paired` differences of other methods to the first, over all files and within every combination of the axes but the method.

    Returns
    -------
    rows {axis: value ("all" in the first ones), method, n, and of each metric its `spread`}
    """
    keys = [axis for axis in axes if axis != "method"]
    groups: dict[tuple[Any, ...], list[Record]] = {tuple("all" for _ in keys): list(records)}
    for record in records if keys else ():
        groups.setdefault(tuple(record.get(key) for key in keys), []).append(record)
    rows = []
    for values, members in groups.items():
        present = {record.get("method") for record in members}
        for other in others:
            if {first, other} <= present:
                found = paired(members, first, other)
                rows.append(
                    {
                        **dict(zip(keys, values, strict=True)),
                        "method": other,
                        "n": found["psnr"]["n"],
                        **found,
                    }
                )
    return rows


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean, sample standard deviation, and the ends of a bootstrap interval of the mean (percentiles, always the same draws)."""
    n = len(values)
    mean = sum(values) / n
    std = (sum((value - mean) ** 2 for value in values) / (n - 1)) ** 0.5 if n > 1 else 0.0
    draw = random.Random(0)
    means = sorted(sum(draw.choices(values, k=n)) / n for _ in range(DRAWS)) if n > 1 else [mean]
    ends = [means[round(share * (len(means) - 1))] for share in ((1 - LEVEL) / 2, (1 + LEVEL) / 2)]
    return {"mean": mean, "std": std, "low": ends[0], "high": ends[1], "n": n}


def cells(row: Mapping[str, Any], axes: Sequence[str]) -> list[str]:
    """A row of `table` as text: the axes, the method, the number of files, and each metric as mean [low, high]."""
    keys = [*axes, *(["method"] if "method" not in axes else [])]
    digits = {"psnr": 2, "ssim": 4, "nmse": 4}
    figures = [
        f"{row[m]['mean']:.{digits[m]}f} [{row[m]['low']:.{digits[m]}f}, {row[m]['high']:.{digits[m]}f}]"
        for m in METRICS
    ]
    return [
        *("unknown" if row[key] is None else str(row[key]) for key in keys),
        str(row["n"]),
        *figures,
    ]
