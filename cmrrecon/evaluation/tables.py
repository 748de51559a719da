"""Tables of scores: means by group, and the final values of each challenge.

A record is a dictionary that describes one scored file: `psnr`, `ssim`, `nmse`, `protocol` and, if
known, `order`, `method`, `base`, `modality`, `pattern`, `acceleration`, `centre`, `vendor` and
`coil` (`multi` or `single`). Values may come from JSON ("inf"). Records with a missing score (None
or NaN) are ignored.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cmrrecon.tools.errors import UsageError

Record = Mapping[str, Any]

METRICS = ("psnr", "ssim", "nmse")
DECIMALS = 4
ACCELERATIONS_2023_AND_TASK1 = (4, 8, 10)
VIEWS_2023 = {"cine_lax": "Cine", "cine_sax": "Cine", "T1map": "Mapping", "T2map": "Mapping"}
MODALITIES_2024 = {
    "cine_lax": "Cine",
    "cine_sax": "Cine",
    "cine_lvot": "Cine",
    "aorta_sag": "Aorta",
    "aorta_tra": "Aorta",
    "T1map": "Mapping",
    "T2map": "Mapping",
    "tagging": "Tagging",
    "flow2d": "Flow2d",
    "blackblood": "BlackBlood",
}
TASK1_ONLY = ("Flow2d", "BlackBlood")
PATTERNS_TASK2 = {"ktuniform": "ktUniform", "ktgaussian": "ktGaussian", "ktradial": "ktRadial"}


def grouped(records: Sequence[Record], by: str) -> dict[str, dict[str, float]]:
    """Average scores and count files for each value of one field.

    Different methods are never averaged together: if there are several, the labels are `method,
    value`.

    Parameters
    ----------
    records : sequence of records
        Scored files.
    by : str
        The field, such as `modality`, `pattern`, `acceleration`, `centre` or `vendor`.

    Returns
    -------
    dict
        By label, in sorted order: the number of files `n` and the means `psnr`, `ssim` and `nmse`.
        Missing values are labelled `unknown`.

    Raises
    ------
    UsageError
        If the records have different protocols or orders (`protocols-mixed`), because means over
        them would be meaningless.
    """
    scored = scored_alike(records)
    several = by != "method" and len({r.get("method") for r in scored}) > 1

    groups: dict[tuple[Any, ...], list[Record]] = defaultdict(list)
    for record in scored:
        value = record.get(by)
        groups[(record.get("method"), value) if several else (value,)].append(record)

    ordered = sorted(groups.items(), key=lambda item: [_sort_key(value) for value in item[0]])
    return {
        ", ".join(map(_label, key)): {"n": len(members), **_means(members)}
        for key, members in ordered
    }


def final_aggregate(
    records: Sequence[Record], year: int, expected: Mapping[tuple[str, str], int] | None = None
) -> dict[str, float]:
    """Compute the final values of a challenge over all scored files, by their official names.

    2023: scores are averaged over the patients for each view, coil type and R. Of the multi-coil
    and single-coil results, the larger value is used, even for the NMSE. These values are averaged
    over the views, then over R: `Cine_*` and `Mapping_*`. (The official function for the step over
    the views is called a mean, but its code returns the larger of two values.)

    2024, one task: scores are averaged over the files of each modality and pattern,
    `Cine_Uniform4_*`. `All_*` are unweighted means over these cells.

    2025, TaskR1: for each centre and vendor, PSNR and SSIM are sum / expected and NMSE is
    mean x (2 - n / expected), which penalises missing files. `Mean_of_all_centers_*_adj` are
    unweighted means over these groups. As in the official program, groups without a scored file are
    excluded.

    Parameters
    ----------
    records : sequence of records
        Scores by that year's protocol; bases, patterns and R that the challenge does not have are
        ignored.
    year : int
        2023, 2024 or 2025.
    expected : mapping of (str, str) to int, optional
        For 2025: the number of files expected for each centre and vendor. None: the number present.

    Returns
    -------
    dict
        Values by name, rounded to 4 decimals. Empty unless the records form one submission, with
        that year's protocol, one order, one method and, in 2024, one task.

    Raises
    ------
    UsageError
        If the year is unknown (`unknown-protocol`), or a group has more files than expected
        (`count-exceeded`).

    References
    ----------
    Main_Score.py of CmrxRecon/CMRxRecon, Val_Score2024.py of CmrxRecon/CMRxRecon2025-snippets,
    Test_Score2025.py of CmrxRecon/CMRx-evaluation-snippets.
    """
    if year not in (2023, 2024, 2025):
        raise UsageError(
            "unknown-protocol",
            f"There is no final aggregate for {year}",
            "The years are 2023, 2024 and 2025",
            "Use one of them",
        )

    scored = _scored(records)
    submissions = {(r.get("protocol"), r.get("order"), r.get("method")) for r in scored}
    if len(submissions) != 1 or submissions.pop()[0] != f"cmrxrecon{year}":
        return {}
    if year == 2023:
        return _final_2023(scored)
    if year == 2024:
        return _final_2024(scored)
    return _final_2025(scored, expected)


def _final_2023(records: Sequence[Record]) -> dict[str, float]:
    # Nested in the order of the steps: modality and R, view, coil type, files.
    cells: dict[tuple[str, float], dict[str, dict[str, list[Record]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for record in records:
        view, factor = record.get("base"), record.get("acceleration")
        if view in VIEWS_2023 and factor in ACCELERATIONS_2023_AND_TASK1:
            coil = record.get("coil") or "multi"
            cells[VIEWS_2023[view], float(factor)][view][coil].append(record)

    per_factor: dict[str, list[dict[str, float]]] = defaultdict(list)
    for (modality, _), views in sorted(cells.items()):
        best = []
        for coils in views.values():
            means = [_means(members) for members in coils.values()]
            best.append({metric: max(mean[metric] for mean in means) for metric in METRICS})
        per_factor[modality].append(_means(best))

    final: dict[str, float] = {}
    for modality, values in per_factor.items():
        final |= _named(modality, _means(values))
    return final


def _final_2024(records: Sequence[Record]) -> dict[str, float]:
    cells: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        modality, key = MODALITIES_2024.get(record.get("base") or ""), _pattern_key_2024(record)
        if modality and key and not (modality in TASK1_ONLY and key.startswith("kt")):
            cells[modality, key].append(record)
    if not cells or len({key.startswith("kt") for _, key in cells}) > 1:
        return {}

    # The official program rounds the cells before it averages them.
    means = {
        cell: {metric: round(value, DECIMALS) for metric, value in _means(members).items()}
        for cell, members in sorted(cells.items())
    }
    final: dict[str, float] = {}
    for (modality, key), mean in means.items():
        final |= _named(f"{modality}_{key}", mean)
    return final | _named("All", _means(means.values()))


def _pattern_key_2024(record: Record) -> str | None:
    """Return a record's column in the 2024 score table, such as `Uniform4`, or None."""
    pattern = str(record.get("pattern")).lower().replace("-", "")
    factor = record.get("acceleration")
    if pattern == "uniform":
        return f"Uniform{factor:g}" if factor in ACCELERATIONS_2023_AND_TASK1 else None
    return PATTERNS_TASK2.get(pattern)


def _final_2025(
    records: Sequence[Record], expected: Mapping[tuple[str, str], int] | None
) -> dict[str, float]:
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in (r for r in records if r.get("acceleration") is not None):
        groups[record.get("centre") or "Unknown", record.get("vendor") or "Unknown"].append(record)
    if not groups:
        return {}

    values = {}
    for group, members in sorted(groups.items()):
        n = len(members)
        files = n if expected is None else expected.get(group, n)
        if n > files:
            raise UsageError(
                "count-exceeded",
                f"{'/'.join(group)} has {n} scored files, but {files} are expected",
                "There cannot be more files than expected",
                "Correct the expected number",
            )
        mean = _means(members)
        values[group] = {
            "psnr": mean["psnr"] * n / files,
            "ssim": mean["ssim"] * n / files,
            "nmse": mean["nmse"] * (2 - n / files),
        }

    final: dict[str, float] = {}
    for (centre, vendor), value in values.items():
        final |= _named(f"{centre}_{vendor}", value, "_adj")
    return final | _named("Mean_of_all_centers", _means(values.values()), "_adj")


def scored_alike(records: Iterable[Record]) -> list[Record]:
    """Return the records with all three scores after checking that protocol and order agree.

    Raises
    ------
    UsageError
        If there are several protocols or orders (`protocols-mixed`).
    """
    scored = _scored(records)
    rules = {(r.get("protocol"), r.get("order")) for r in scored}
    if len(rules) > 1:
        names = ", ".join(sorted(str(protocol) for protocol, _ in rules))
        raise UsageError(
            "protocols-mixed",
            f"The scores have {len(rules)} protocols or orders: {names}",
            "All scores in a table must have the same protocol and order",
            "Make one table for each",
        )
    return scored


def _scored(records: Iterable[Record]) -> list[Record]:
    """Return the records with all three scores."""
    return [
        r
        for r in records
        if all(r.get(metric) is not None and not math.isnan(float(r[metric])) for metric in METRICS)
    ]


def _means(records: Iterable[Record]) -> dict[str, float]:
    """Average each metric."""
    values = [[float(record[metric]) for metric in METRICS] for record in records]
    return {
        metric: math.fsum(column) / len(column)
        for metric, column in zip(METRICS, zip(*values, strict=True), strict=True)
    }


def _named(name: str, values: Mapping[str, float], ending: str = "") -> dict[str, float]:
    """Name the values `name_PSNR` and so on, and round them."""
    return {
        f"{name}_{metric.upper()}{ending}": round(values[metric], DECIMALS) for metric in METRICS
    }


def _label(value: object) -> str:
    return "unknown" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _sort_key(value: object) -> tuple[int, float, str]:
    """Sort numbers by size first, then names, then unknown values."""
    if isinstance(value, int | float):
        return 0, float(value), ""
    return (2, 0.0, "") if value is None else (1, 0.0, str(value))
