"""Comparison of methods in a reader study, against worked examples and SciPy."""

import numpy as np
import pytest
from scipy import stats

from cmrrecon.evaluation.reader_ratings import Answer, means_by_scan
from cmrrecon.evaluation.reader_study import (
    friedman,
    holm,
    preferences,
    rating_tests,
    sign_test,
    summaries,
    wilcoxon,
)

# Times to round first base by three methods (Hollander and Wolfe 1973, p. 140).
ROUNDING = """
5.40 5.50 5.55 5.85 5.70 5.75 5.20 5.60 5.50 5.55 5.50 5.40 5.90 5.85 5.70 5.45 5.55 5.60
5.40 5.40 5.35 5.45 5.50 5.35 5.25 5.15 5.00 5.85 5.80 5.70 5.25 5.20 5.10 5.65 5.55 5.45
5.60 5.35 5.45 5.05 5.00 4.95 5.50 5.50 5.40 5.45 5.55 5.50 5.55 5.55 5.35 5.45 5.50 5.55
5.50 5.45 5.25 5.65 5.60 5.40 5.70 5.65 5.55 6.30 6.30 6.25
"""
METHODS = ("a", "b", "c")


def ratings(values, reader=1, methods=METHODS, criterion="q", repeat=False):
    return [
        Answer(reader, scan, (method,), criterion, int(value), repeat)
        for scan, row in enumerate(values, 1)
        for method, value in zip(methods, row, strict=True)
    ]


def choices(values, reader=1, pair=("a", "b")):
    return [Answer(reader, scan, pair, "q", value, False) for scan, value in enumerate(values, 1)]


def test_friedman_gives_the_values_of_the_textbook():
    values = np.array(ROUNDING.split(), dtype=float).reshape(22, 3)
    statistic, p = friedman(values)
    assert statistic == pytest.approx(11.1429, abs=1e-4)
    assert p == pytest.approx(0.003805, abs=1e-6)


def test_wilcoxon_is_exact_for_few_scans():
    # All six differences have the same sign: two of 2^6 assignments are as extreme.
    first = np.array([1.1, 2.2, 3.3, 4.4, 5.5, 6.6])
    assert wilcoxon(first, np.zeros(6)) == pytest.approx((0, 2 / 64))


def test_equal_and_missing_ratings_have_no_difference():
    assert wilcoxon([3, 4], [3, 4]) == (0, 1)
    assert friedman(np.full((4, 3), 2)) == (0, 1)
    assert wilcoxon([], []) == (None, None)
    assert friedman(np.zeros((0, 3))) == (None, None)


def test_holm_steps_down():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


def test_scans_are_the_unit_of_the_tests():
    rng = np.random.default_rng(3)
    values = [rng.integers(1, 6, (12, 3)) for _ in range(2)]
    answers = ratings(values[0]) + ratings(values[1], reader=2)
    rows = rating_tests(answers, METHODS, ["q"])
    means = (values[0] + values[1]) / 2
    expected = stats.friedmanchisquare(*means.T)
    assert (rows[0]["test"], rows[0]["n"]) == ("friedman", 12)
    assert rows[0]["p"] == rows[0]["p_holm"] == pytest.approx(expected.pvalue)

    pairs = [(0, 1), (0, 2), (1, 2)]
    found = [stats.wilcoxon(means[:, i], means[:, j]) for i, j in pairs]
    assert [row["p"] for row in rows[1:]] == pytest.approx([one.pvalue for one in found])
    assert [row["p_holm"] for row in rows[1:]] == pytest.approx(holm([r["p"] for r in rows[1:]]))
    assert [row["statistic"] for row in rows[1:]] == pytest.approx([r.statistic for r in found])
    median = np.median(means[:, 0] - means[:, 1])
    assert (rows[1]["difference"], rows[1]["methods"]) == (pytest.approx(median), ["a", "b"])


def test_two_methods_are_compared_by_wilcoxon_alone_and_corrected_over_criteria():
    values = np.array([[1, 4], [2, 5], [1, 3], [2, 4], [1, 5], [3, 4]])
    answers = ratings(values, methods=("a", "b"), criterion="x")
    answers += ratings(values[:, ::-1], methods=("a", "b"), criterion="y")
    rows = rating_tests(answers, ("a", "b"), ["x", "y"])
    assert [row["test"] for row in rows] == ["wilcoxon", "wilcoxon"]
    assert [row["p_holm"] for row in rows] == pytest.approx([2 * row["p"] for row in rows])


def test_readers_who_skipped_a_method_do_not_count_for_the_scan():
    answers = ratings([[1, 2, 3]]) + ratings([[5, 5, 5]], reader=2)[:2]
    scans, means = means_by_scan(answers, METHODS)
    assert scans == [1]
    assert means.tolist() == [[1, 2, 3]]


def test_summaries_leave_out_second_readings():
    answers = ratings([[1, 5, 3], [2, 5, 3], [4, 5, 3]])
    again = ratings([[5, 1, 1]], repeat=True)
    rows = summaries([*answers, *again], [*METHODS, "d"], ["q"])
    assert [row["counts"] for row in rows[:2]] == [[1, 1, 0, 1, 0], [0, 0, 0, 0, 3]]
    assert (rows[0]["median"], rows[0]["q1"], rows[0]["q3"]) == (2, 1.5, 3)
    assert rows[3]["n"] == 0
    assert "median" not in rows[3]


def test_the_majority_of_the_readers_decides_for_a_scan():
    answers = choices([1, 1, -1, 0]) + choices([1, -1, -1, 0], 2) + choices([-1, 0, -1, 1], 3)
    (row,) = preferences(answers, ("a", "b"), ["q"])
    # Scans: 1 of 3 for a, tie, b, a.
    assert (row["n"], row["first"], row["ties"], row["second"]) == (4, 2, 1, 1)
    assert row["answers"] == [4, 3, 5]
    assert row["share"] == pytest.approx(2 / 3)


def test_the_sign_test_and_its_interval_have_known_values():
    row = sign_test(9, 1)
    assert row["p"] == pytest.approx(22 / 1024)
    # Wilson's interval, written out.
    z, n, p = stats.norm.ppf(0.975), 10, 0.9
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert (row["low"], row["high"]) == pytest.approx((middle - half, middle + half))
    assert sign_test(0, 0)["p"] is None
