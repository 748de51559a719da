"""The design of a reader study: everything is shown, in random order, on both sides."""

from collections import Counter
from itertools import pairwise

import pytest

from cmrrecon.evaluation.reader_design import default_repeats, design


def drawn(seed="s", **changes):
    settings = {"scans": 10, "methods": 3, "pairs": False, "repeats": 2, "readers": 3, **changes}
    return design(seed=seed, **settings)


def test_the_same_seed_gives_the_same_design_and_another_a_different_one():
    assert drawn() == drawn()
    assert drawn() != drawn("t")
    assert drawn().images != drawn("t").images


@pytest.mark.parametrize("pairs", [False, True])
def test_every_reader_sees_everything_once_and_the_repeats_twice(pairs):
    found = drawn(pairs=pairs)
    assert sorted(found.images) == [(s, m) for s in range(10) for m in range(3)]
    assert len(set(found.orders)) == 3
    for order in found.orders:
        counts = Counter(frozenset(shown) for shown in order)
        assert len(counts) == 30
        twice = [shown for shown, count in counts.items() if count == 2]
        scans = Counter(found.images[image][0] for shown in twice for image in shown)
        assert sorted(scans.values()) == [6 if pairs else 3] * 2
        assert len(order) == 36


@pytest.mark.parametrize("pairs", [False, True])
def test_a_scan_does_not_follow_itself_and_repeats_come_late(pairs):
    found = drawn(pairs=pairs, readers=20)
    for order in found.orders:
        scans = [found.images[shown[0]][0] for shown in order]
        assert all(a != b for a, b in pairwise(scans))
        seen = {}
        for position, shown in enumerate(order):
            first = seen.setdefault(frozenset(shown), position)
            assert first == position or first < 18 <= position


def test_each_method_is_on_the_left_for_half_of_the_scans_and_repeats_change_sides():
    found = drawn(pairs=True)
    for order in found.orders:
        left = Counter()
        seen = {}
        for shown in order:
            if frozenset(shown) in seen:
                assert seen[frozenset(shown)] == shown[::-1]
            else:
                seen[frozenset(shown)] = shown
                left[tuple(found.images[image][1] for image in shown)] += 1
        assert set(left.values()) == {5}


def test_repeats_of_all_scans_or_none_are_possible():
    assert len(drawn(repeats=10).orders[0]) == 60
    assert len(drawn(repeats=0).orders[0]) == 30
    assert len(drawn(scans=1, repeats=1).orders[0]) == 6
    assert [default_repeats(n) for n in (1, 5, 6, 20)] == [1, 1, 2, 4]
