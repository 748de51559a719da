"""Agreement between and within readers: weighted kappa with bootstrap intervals.

Disagreements are weighted by the square of their difference. The bootstrap draws scans, because
the images of one scan are not independent.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrrecon.evaluation.reader_ratings import Answer, of_criterion, readers_of

DRAWS = 2000
LEVEL = 0.95
SEED = 0
# Draws from fewer scans show hardly any of the spread.
MIN_SCANS = 5
# Pairs of values, by scan.
Pairs = Mapping[int, Sequence[tuple[int, int]]]
# Pairs of values, by the numbers of the readers.
Groups = Mapping[tuple[int, ...], Pairs]


def agreement(
    answers: Sequence[Answer], criteria: Sequence[str], scale: Sequence[int]
) -> list[dict[str, Any]]:
    """Return the weighted kappa of each pair of readers, and of each reader with themselves.

    Parameters
    ----------
    answers : sequence of Answer
        Answers of all readers.
    criteria : sequence of str
        Criteria of the study.
    scale : sequence of int
        Possible values in ascending order.

    Returns
    -------
    list of dict
        `criterion`, `kind` (`between` or `within`), `readers`, the number of pairs of answers `n`
        and of `scans`, `kappa`, and its interval `low` to `high`. The row with the kind
        `between-mean` has the mean over all pairs of readers (Light's kappa), and `within-mean`
        that over readers. A kappa without variation of the answers is not defined: None.
    """
    rows = []
    for criterion in criteria:
        first = of_criterion(answers, criterion, repeat=False)
        second = of_criterion(answers, criterion, repeat=True)
        readers = readers_of(first)

        between: Groups = {
            (i, j): _paired(_by_image(first, i), _by_image(first, j))
            for i, j in combinations(readers, 2)
        }
        within: Groups = {(i,): _paired(_by_image(first, i), _by_image(second, i)) for i in readers}
        for kind, groups in (("between", between), ("within", within)):
            rows += _rows(criterion, kind, groups, scale)
    return rows


def weighted_kappa(
    table: NDArray[np.float64], weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return the weighted kappa of contingency tables; NaN where it is not defined.

    Parameters
    ----------
    table : array of shape (..., category, category)
        Counts or shares of pairs of answers.
    weights : array of shape (category, category), optional
        Weights of disagreement; None for the square of the difference of categories.

    Returns
    -------
    array of shape (...)
        1 - (weighted disagreement) / (weighted disagreement expected by chance).

    References
    ----------
    Cohen J. Weighted kappa: nominal scale agreement with provision for scaled disagreement or
    partial credit. Psychol Bull 1968;70:213-220.
    """
    steps = np.arange(table.shape[-1])
    w = (steps[:, None] - steps) ** 2 if weights is None else weights
    total = table.sum((-2, -1), keepdims=True)

    with np.errstate(invalid="ignore", divide="ignore"):
        share = table / total
        chance = share.sum(-1, keepdims=True) * share.sum(-2, keepdims=True)
        found: NDArray[np.float64] = 1 - (w * share).sum((-2, -1)) / (w * chance).sum((-2, -1))
    return np.where(np.isfinite(found), found, np.nan)


def kappa_interval(groups: Sequence[Pairs], scale: Sequence[int]) -> dict[str, Any]:
    """Return the mean weighted kappa of groups of paired answers with a bootstrap interval.

    Parameters
    ----------
    groups : sequence of mapping of int to sequence of (int, int)
        For each pair of readers, the pairs of answers by scan.
    scale : sequence of int
        Possible values in ascending order.

    Returns
    -------
    dict
        `n` pairs of answers, the number of `scans`, `kappa`, `low` and `high` (95 %, percentiles
        of 2000 draws of scans); None where not defined, for the interval also with fewer than
        5 scans.
    """
    scans = sorted({scan for group in groups for scan, pairs in group.items() if pairs})
    row = {"n": sum(len(pairs) for group in groups for pairs in group.values())}
    row["scans"] = len(scans)
    if not scans:
        return {**row, "kappa": None, "low": None, "high": None}

    tables = np.zeros((len(groups), len(scans), len(scale), len(scale)))
    for g, group in enumerate(groups):
        for s, scan in enumerate(scans):
            for a, b in group.get(scan, ()):
                tables[g, s, scale.index(a), scale.index(b)] += 1

    kappa = _mean(weighted_kappa(tables.sum(1)))
    shares = np.full(len(scans), 1 / len(scans))
    draws = np.random.default_rng(SEED).multinomial(len(scans), shares, DRAWS)
    drawn = _mean(weighted_kappa(np.einsum("ds,gskl->dgkl", draws.astype(np.float64), tables)))
    drawn = drawn[np.isfinite(drawn)]

    low = high = None
    if np.isfinite(kappa) and len(scans) >= MIN_SCANS and len(drawn):
        tail = 50 * (1 - LEVEL)
        low, high = (float(q) for q in np.percentile(drawn, (tail, 100 - tail)))
    return {**row, "kappa": float(kappa) if np.isfinite(kappa) else None, "low": low, "high": high}


def _rows(criterion: str, kind: str, groups: Groups, scale: Sequence[int]) -> list[dict[str, Any]]:
    """Return the rows of one kind of agreement: each group with answers, then their mean."""
    known = {readers: pairs for readers, pairs in groups.items() if pairs}
    rows = [
        {"criterion": criterion, "kind": kind, "readers": list(readers)}
        | kappa_interval([pairs], scale)
        for readers, pairs in known.items()
    ]
    if len(known) > 1:
        everyone = sorted({reader for readers in known for reader in readers})
        mean = kappa_interval(list(known.values()), scale)
        rows.append({"criterion": criterion, "kind": f"{kind}-mean", "readers": everyone} | mean)
    return rows


def _by_image(answers: Sequence[Answer], reader: int) -> dict[tuple[int, tuple[str, ...]], int]:
    """Return the answers of one reader by scan and methods."""
    return {(a.scan, a.methods): a.value for a in answers if a.reader == reader}


def _paired(
    first: Mapping[tuple[int, tuple[str, ...]], int],
    second: Mapping[tuple[int, tuple[str, ...]], int],
) -> Pairs:
    """Return the pairs of answers to the same images, by scan."""
    pairs: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for image, value in first.items():
        if image in second:
            pairs[image[0]].append((value, second[image]))
    return pairs


def _mean(kappas: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average over the last axis without the undefined values; NaN if there is none."""
    known = np.isfinite(kappas)
    count = known.sum(-1)
    total = np.where(known, kappas, 0).sum(-1)
    found: NDArray[np.float64] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return found
