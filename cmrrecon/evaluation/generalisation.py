"""Tables of how scores change between domains and between methods.

Groups of files have mean scores with bootstrap intervals; methods are compared in pairs. Records
are described in `tables`. The bootstrap draws files. Since files of the same subject are not
independent, intervals over few subjects are too narrow.
"""

import math
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cmrrecon.evaluation.tables import METRICS, Record, scored_alike
from cmrrecon.formats.names import fits
from cmrrecon.tools.errors import UsageError

DRAWS = 2000
LEVEL = 0.95
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
# Two records belong to the same k-space if they agree in these fields.
SAME_KSPACE = ("reference", "pattern", "acceleration", "acs", "seed", "slices")
DIGITS = {"psnr": ".2f", "ssim": ".4f", "nmse": ".3g"}


def domain(record: Record) -> str:
    """Return centre and vendor, joined by a slash."""
    return "/".join(str(record.get(fact) or "unknown") for fact in DOMAIN)


def placed(records: Iterable[Record], unseen: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Add to each record its `domain`, and `seen`: whether it was `seen` or `unseen` in training.

    A record is unseen if it matches any of the domains or facts in `unseen`, see `is_part`.
    """
    found = []
    for record in records:
        held = any(is_part(record, name) for name in unseen)
        found.append({**record, "domain": domain(record), "seen": "unseen" if held else "seen"})
    return found


def is_part(record: Record, name: str) -> bool:
    """Return whether a record has a domain (centre or centre/vendor) or a fact (base=T1map)."""
    if "=" in name:
        return fits(record, name, "--unseen")
    whole = domain(record)
    return whole == name or whole.startswith(f"{name}/")


def check_axes(axes: Sequence[str]) -> None:
    """Refuse unknown axes of tables.

    Raises
    ------
    UsageError
        If there is no such axis (`unknown-axis`).
    """
    for axis in axes:
        if axis not in AXES:
            raise UsageError(
                "unknown-axis",
                f"There is no axis {axis!r}",
                f"The axes are {', '.join(AXES)}",
                "Choose some of these, separated by commas",
            )


def table(records: Sequence[Record], axes: Sequence[str]) -> list[dict[str, Any]]:
    """Return a table with one row for each method and combination of values on the axes.

    Parameters
    ----------
    records : sequence of records
        Scored files.
    axes : sequence of str
        Names in `AXES`; without any, there is one row for each method.

    Returns
    -------
    list of dict
        In each row, the value on each axis, the number of files `n`, and the `interval` of each
        metric.

    Raises
    ------
    UsageError
        If an axis is unknown (`unknown-axis`), or if the scores have different protocols
        (`protocols-mixed`).
    """
    check_axes(axes)
    keys = with_method(axes)
    groups: dict[tuple[Any, ...], list[Record]] = defaultdict(list)
    for record in scored_alike(records):
        groups[tuple(record.get(key) for key in keys)].append(record)

    rows = []
    for values, members in sorted(groups.items(), key=lambda item: [str(v) for v in item[0]]):
        row: dict[str, Any] = {**dict(zip(keys, values, strict=True)), "n": len(members)}
        for metric in METRICS:
            row[metric] = interval([float(member[metric]) for member in members])
        rows.append(row)
    return rows


def paired(records: Sequence[Record], first: str, second: str) -> dict[str, dict[str, float]]:
    """Compare two methods by the mean difference of their scores over the same files.

    Parameters
    ----------
    records : sequence of records
        Scored files.
    first, second : str
        The methods; differences are second - first.

    Returns
    -------
    dict
        The `interval` of the difference, by metric.

    Raises
    ------
    UsageError
        If no file was scored for both (`records-unpaired`), or if two files of one method belong to
        the same k-space (`records-ambiguous`).
    """
    scans: dict[tuple[Any, ...], dict[Any, Record]] = defaultdict(dict)
    for record in scored_alike(records):
        scan = tuple(record.get(key) for key in SAME_KSPACE)
        if record.get("method") in scans[scan]:
            raise UsageError(
                "records-ambiguous",
                f"Two files of {record.get('method')} are of the same scan, pattern and R; one is "
                f"{record.get('input')}",
                "A paired difference needs exactly one file of each method for the same k-space",
                "Score only one of these files at a time",
            )
        scans[scan][record.get("method")] = record

    pairs = [methods for methods in scans.values() if first in methods and second in methods]
    if not pairs:
        raise UsageError(
            "records-unpaired",
            f"No file was scored for both {first} and {second}",
            "A paired difference needs files that were scored for both methods",
            "Score the same files for both methods",
        )
    return {
        metric: interval(
            [float(pair[second][metric]) - float(pair[first][metric]) for pair in pairs]
        )
        for metric in METRICS
    }


def differences(
    records: Sequence[Record], axes: Sequence[str], first: str, others: Sequence[str]
) -> list[dict[str, Any]]:
    """List paired differences between one method and others, over all files and within groups.

    Parameters
    ----------
    records : sequence of records
        Scored files.
    axes : sequence of str
        The combinations of values on these axes form the groups; the axis `method` is ignored.
    first : str
        The method that the others are compared with.
    others : sequence of str
        The other methods.

    Returns
    -------
    list of dict
        In each row, the value on each axis (`all` in the first rows), `method`, the number of pairs
        `n`, and the `interval` of the difference of each metric.
    """
    keys = [axis for axis in axes if axis != "method"]
    groups: dict[tuple[Any, ...], list[Record]] = {tuple("all" for _ in keys): list(records)}
    for record in records if keys else ():
        groups.setdefault(tuple(record.get(key) for key in keys), []).append(record)

    rows = []
    for values, members in groups.items():
        present = {record.get("method") for record in members}
        for other in others:
            if not {first, other} <= present:
                continue
            found = paired(members, first, other)
            place = dict(zip(keys, values, strict=True))
            rows.append({**place, "method": other, "n": found["psnr"]["n"], **found})
    return rows


def interval(values: Sequence[float]) -> dict[str, float]:
    """Return mean, sample standard deviation and 95 % bootstrap interval of the mean.

    The limits of the interval are percentiles of the means of 2000 resamples, drawn with
    replacement. The draws are always the same.

    Parameters
    ----------
    values : sequence of float
        At least one value.

    Returns
    -------
    dict
        `mean`, `std`, `low`, `high`, and the number of values `n`.
    """
    n = len(values)
    mean = sum(values) / n
    std = 0.0
    if n > 1:
        squares = [(value - mean) ** 2 for value in values]
        # An infinite PSNR makes the mean infinite.
        std = (sum(squares) / (n - 1)) ** 0.5 if math.isfinite(mean) else math.inf

    draw = random.Random(0)
    means = sorted(sum(draw.choices(values, k=n)) / n for _ in range(DRAWS)) if n > 1 else [mean]
    ends = [means[round(share * (len(means) - 1))] for share in ((1 - LEVEL) / 2, (1 + LEVEL) / 2)]
    return {"mean": mean, "std": std, "low": ends[0], "high": ends[1], "n": n}


def with_method(axes: Sequence[str]) -> list[str]:
    """Add the axis `method`, which every table has."""
    return [*axes, *(["method"] if "method" not in axes else [])]


def cells(row: Mapping[str, Any], axes: Sequence[str]) -> list[str]:
    """Format a row of `table`: axes, method, number of files, each metric as mean [low, high]."""
    names = ["unknown" if row[key] is None else str(row[key]) for key in with_method(axes)]
    figures = [
        f"{row[m]['mean']:{d}} [{row[m]['low']:{d}}, {row[m]['high']:{d}}]"
        for m, d in DIGITS.items()
    ]
    return [*names, str(row["n"]), *figures]
