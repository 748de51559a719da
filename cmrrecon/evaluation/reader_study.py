"""Comparison of methods in a reader study: medians, rank tests with correction, preferences.

The unit of every test is the scan, because the answers of several readers to the same scan are not
independent: ratings are averaged over the readers, and preferences are decided by their majority.
Second readings of repeated images are left out here; they serve to measure agreement.
"""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from scipy import stats

from cmrrecon.evaluation.reader_ratings import SCALE, Answer, means_by_scan, of_criterion

LEVEL = 0.95


def summaries(
    answers: Sequence[Answer], methods: Sequence[str], criteria: Sequence[str]
) -> list[dict[str, Any]]:
    """Return median, quartiles and counts of the ratings by method and criterion.

    Parameters
    ----------
    answers : sequence of Answer
        Ratings of all readers.
    methods, criteria : sequence of str
        Methods and criteria of the study.

    Returns
    -------
    list of dict
        `criterion`, `method`, the number of ratings `n`, `median`, `q1`, `q3`, `mean`, and
        `counts`, the number of ratings of each value from 1 to 5.
    """
    rows = []
    for criterion in criteria:
        first = of_criterion(answers, criterion, repeat=False)
        for method in methods:
            values = [a.value for a in first if a.methods == (method,)]
            row: dict[str, Any] = {"criterion": criterion, "method": method, "n": len(values)}
            if values:
                q1, median, q3 = (float(q) for q in np.percentile(values, (25, 50, 75)))
                mean = float(np.mean(values))
                row |= {"median": median, "q1": q1, "q3": q3, "mean": mean}
            rows.append({**row, "counts": [values.count(value) for value in SCALE]})
    return rows


def rating_tests(
    answers: Sequence[Answer], methods: Sequence[str], criteria: Sequence[str]
) -> list[dict[str, Any]]:
    """Test whether the ratings of the methods differ.

    Two methods are compared with the Wilcoxon signed-rank test. More methods are compared with the
    Friedman test, followed by a Wilcoxon signed-rank test of each pair. The p-values of each kind
    of test are corrected by the method of Holm over all criteria (and pairs).

    Parameters
    ----------
    answers, methods, criteria : sequences
        See `summaries`.

    Returns
    -------
    list of dict
        `criterion`, `test` (`friedman` or `wilcoxon`), `methods`, the number of scans `n`, the
        `statistic`, `p` and `p_holm`; for a pair also the median `difference` of the first method
        from the second. A test without any scan has no `p`.

    Notes
    -----
    Scans with equal ratings of both methods are dropped from the Wilcoxon test. Its p-value is
    exact for up to 50 scans without ties, else from the normal approximation (SciPy's automatic
    choice).
    """
    rows = []
    for criterion in criteria:
        first = of_criterion(answers, criterion, repeat=False)
        scans, means = means_by_scan(first, methods)
        about = {"criterion": criterion, "n": len(scans)}

        if len(methods) > 2:
            statistic, p = friedman(means)
            friedman_row = {"test": "friedman", "methods": list(methods)}
            rows.append({**about, **friedman_row, "statistic": statistic, "p": p})
        for i, j in combinations(range(len(methods)), 2):
            statistic, p = wilcoxon(means[:, i], means[:, j])
            difference = float(np.median(means[:, i] - means[:, j])) if scans else None
            pair_row = {"test": "wilcoxon", "methods": [methods[i], methods[j]]}
            result = {"statistic": statistic, "p": p, "difference": difference}
            rows.append({**about, **pair_row, **result})

    return _corrected(rows)


def wilcoxon(first: Any, second: Any) -> tuple[float | None, float | None]:
    """Return statistic and two-sided p-value of the Wilcoxon signed-rank test.

    Equal samples have p = 1; without samples both are None.
    """
    if len(first) == 0:
        return None, None
    if np.allclose(first, second):
        return 0.0, 1.0
    # Means over readers that are equal can differ in the last digit.
    found = stats.wilcoxon(np.round(np.subtract(first, second), 9))
    return float(found.statistic), float(found.pvalue)


def friedman(values: Any) -> tuple[float | None, float | None]:
    """Return statistic and p-value of the Friedman test of an array (scan, method).

    Equal columns have p = 1; without samples both are None.
    """
    table = np.round(np.asarray(values, dtype=np.float64), 9)
    if len(table) == 0:
        return None, None
    if (table == table[:, :1]).all():
        return 0.0, 1.0
    found = stats.friedmanchisquare(*table.T)
    return float(found.statistic), float(found.pvalue)


def preferences(
    answers: Sequence[Answer], methods: Sequence[str], criteria: Sequence[str]
) -> list[dict[str, Any]]:
    """Return how often one method of a pair was preferred to the other.

    A scan prefers the method with more answers among its readers. The share is that of the scans
    with a preference, with the interval of Wilson; the p-value is that of the two-sided sign test,
    corrected by the method of Holm over all pairs and criteria.

    Parameters
    ----------
    answers, methods, criteria : sequences
        See `summaries`; the answers are preferences.

    Returns
    -------
    list of dict
        `criterion`, `methods`, the number of scans `n`, those that prefer the `first` and the
        `second` method and the `ties`, `share` with `low` and `high`, `p` and `p_holm`. `answers`
        has the numbers of single answers for the first, for neither and for the second method.
    """
    rows = []
    for criterion in criteria:
        everything = of_criterion(answers, criterion, repeat=False)
        for pair in combinations(methods, 2):
            mine = [a for a in everything if a.methods == pair]
            totals: dict[int, int] = {}
            for answer in mine:
                totals[answer.scan] = totals.get(answer.scan, 0) + answer.value

            first = sum(total > 0 for total in totals.values())
            second = sum(total < 0 for total in totals.values())
            counts = [sum(a.value == value for a in mine) for value in (1, 0, -1)]
            row = {"criterion": criterion, "methods": list(pair), "n": len(totals)}
            row |= {"first": first, "second": second, "ties": len(totals) - first - second}
            rows.append({**row, "answers": counts, "test": "sign", **sign_test(first, second)})

    return _corrected(rows)


def sign_test(first: int, second: int) -> dict[str, float | None]:
    """Return `share`, its interval `low` to `high` (Wilson, 95 %) and the `p` of the sign test."""
    if first + second == 0:
        return {"share": None, "low": None, "high": None, "p": None}
    found = stats.binomtest(first, first + second)
    interval = found.proportion_ci(LEVEL, method="wilson")
    share = first / (first + second)
    low, high = float(interval.low), float(interval.high)
    return {"share": share, "low": low, "high": high, "p": float(found.pvalue)}


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for the number of tests by the step-down method of Holm.

    References
    ----------
    Holm S. A simple sequentially rejective multiple test procedure. Scand J Statist 1979;6:65-70.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected = [math.nan] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected


def _corrected(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add `p_holm`, corrected over all tests of the same kind, to rows with a `p`."""
    found = [dict(row, p_holm=None) for row in rows]
    for test in {row["test"] for row in rows}:
        mine = [row for row in found if row["test"] == test and row["p"] is not None]
        for row, p in zip(mine, holm([row["p"] for row in mine]), strict=True):
            row["p_holm"] = p
    return found
