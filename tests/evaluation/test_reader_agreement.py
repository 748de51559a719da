"""Weighted kappa: published values, independent computation, intervals."""

import numpy as np
import pytest

from cmrrecon.evaluation.reader_agreement import agreement, kappa_interval, weighted_kappa
from cmrrecon.evaluation.reader_ratings import SCALE, Answer

# Shares of diagnoses by two psychiatrists, and weights of disagreement (Cohen 1968, table 1).
COHEN = np.array([[0.44, 0.07, 0.09], [0.05, 0.20, 0.05], [0.01, 0.03, 0.06]])
WEIGHTS = np.array([[0.0, 1, 3], [1, 0, 6], [3, 6, 0]])


def by_loops(pairs, scale):
    """Quadratic kappa from the definition, answer by answer."""
    observed = np.mean([(a - b) ** 2 for a, b in pairs])
    first, second = zip(*pairs, strict=True)
    chance = np.mean([(a - b) ** 2 for a in first for b in second])
    return 1 - observed / chance


def table_of(pairs):
    table = np.zeros((5, 5))
    for a, b in pairs:
        table[a - 1, b - 1] += 1
    return table


def answers_of(reader, values, *, repeat=False):
    return [Answer(reader, i, ("m",), "q", int(v), repeat) for i, v in enumerate(values)]


def test_kappa_gives_the_values_of_cohen():
    assert weighted_kappa(COHEN, WEIGHTS) == pytest.approx(0.348, abs=5e-4)
    assert weighted_kappa(COHEN, 1 - np.eye(3)) == pytest.approx(0.492, abs=5e-4)
    assert weighted_kappa(COHEN) == pytest.approx(1 - 0.60 / 1.10)


def test_kappa_is_that_of_its_definition():
    rng = np.random.default_rng(0)
    first = rng.integers(1, 6, 40)
    pairs = list(zip(first, np.clip(first + rng.integers(-1, 2, 40), 1, 5), strict=True))
    assert weighted_kappa(table_of(pairs)) == pytest.approx(by_loops(pairs, SCALE))


def test_with_equal_marginals_kappa_is_the_correlation():
    first = np.array([1, 2, 3, 4, 5, 1, 2, 3, 4, 5])
    second = np.array([2, 1, 3, 5, 4, 1, 2, 4, 3, 5])
    kappa = weighted_kappa(table_of(zip(first, second, strict=True)))
    assert kappa == pytest.approx(np.corrcoef(first, second)[0, 1])


def test_kappa_without_variation_is_not_defined():
    assert np.isnan(weighted_kappa(table_of([(3, 3), (3, 3)])))
    row = kappa_interval([{1: [(3, 3)], 2: [(3, 3)]}], SCALE)
    assert (row["n"], row["kappa"], row["low"]) == (2, None, None)


def test_intervals_contain_kappa_and_shrink_with_more_scans():
    rng = np.random.default_rng(1)
    first = rng.integers(1, 6, 400)
    second = np.clip(first + rng.integers(-1, 2, 400), 1, 5)
    width = []
    for scans in (25, 400):
        group = {i: [(int(first[i]), int(second[i]))] for i in range(scans)}
        row = kappa_interval([group], SCALE)
        assert row == kappa_interval([group], SCALE)
        assert row["low"] < row["kappa"] < row["high"]
        width.append(row["high"] - row["low"])
    # The standard error falls with the square root of the number of scans.
    assert 2.5 < width[0] / width[1] < 6.5


def test_answers_to_one_scan_are_drawn_together():
    rng = np.random.default_rng(2)
    pairs = [(int(a), int(b)) for a, b in rng.integers(1, 6, (20, 2))]
    apart = kappa_interval([{i: [pair] for i, pair in enumerate(pairs)}], SCALE)
    copied = kappa_interval([{i: [pair] * 4 for i, pair in enumerate(pairs)}], SCALE)
    assert copied["n"] == 4 * apart["n"]
    assert [copied[k] for k in ("kappa", "low", "high")] == pytest.approx(
        [apart[k] for k in ("kappa", "low", "high")]
    )


def test_rows_are_given_for_pairs_of_readers_readers_and_means():
    rng = np.random.default_rng(4)
    truth = rng.integers(1, 6, 30)
    noisy = np.clip(truth + rng.integers(-2, 3, 30), 1, 5)
    answers = answers_of(1, truth) + answers_of(2, truth) + answers_of(3, noisy)
    answers += answers_of(1, truth[:10], repeat=True) + answers_of(3, noisy[:10], repeat=True)
    rows = {(row["kind"], *row["readers"]): row for row in agreement(answers, ["q"], SCALE)}
    assert set(rows) == {
        ("between", 1, 2),
        ("between", 1, 3),
        ("between", 2, 3),
        ("between-mean", 1, 2, 3),
        ("within", 1),
        ("within", 3),
        ("within-mean", 1, 3),
    }
    assert rows["between", 1, 2]["kappa"] == 1
    assert rows["between", 1, 3]["kappa"] == pytest.approx(
        by_loops(list(zip(truth, noisy, strict=True)), SCALE)
    )
    mean = np.mean([rows["between", i, j]["kappa"] for i, j in ((1, 2), (1, 3), (2, 3))])
    assert rows["between-mean", 1, 2, 3]["kappa"] == pytest.approx(mean)
    assert rows["within", 1]["n"] == 10
