"""The decision, as a table: which trials, with which errors, lead to which selection."""

import json
import math

import pytest

from cmrrecon.methods.decision import Decision, Evidence, Trial, blend, select, start_trial

INF, NAN = math.inf, math.nan


def trial(method, error, weight=0.01):
    return Trial(method, weight, 20, error)


def evidence(errors, midpoints=None, **more):
    """Evidence with one trial per method; means of images not listed predict badly."""
    known = {frozenset(pair): error for pair, error in (midpoints or {}).items()}
    trials = [trial(method, error) for method, error in errors.items()]

    def midpoint(first, second):
        return known.get(frozenset((first, second)), 10.0)

    return Evidence(trials, midpoint, **{"margin": 0.1, **more})


def outcome(selection):
    partner = selection.partner and selection.partner.method
    return selection.trial.method, partner, selection.share, selection.error


# name: errors in trial order, errors of means, and (method, partner, share, error).
CLASSICAL = {
    "one method": ({"a": 0.2}, {}, ("a", None, 0, 0.2)),
    "the better one": ({"a": 0.2, "b": 0.17}, {}, ("b", None, 0, 0.17)),
    "better, but within the margin": ({"a": 0.2, "b": 0.181}, {}, ("a", None, 0, 0.2)),
    "a tie goes to the first": ({"a": 0.2, "b": 0.2}, {}, ("a", None, 0, 0.2)),
    "worse than an empty image is still the best": ({"a": 1.5, "b": 2.0}, {}, ("a", None, 0, 1.5)),
    "a blend of equals": ({"a": 0.2, "b": 0.2}, {"ab": 0.1}, ("a", "b", 0.5, 0.1)),
    "the better one has the larger share": (
        {"a": 0.2, "b": 0.12},
        {"ab": 0.1},
        ("a", "b", 2 / 3, 0.2 - 0.24 * 4 / 9),
    ),
    "a blend that gains too little": ({"a": 0.2, "b": 0.2}, {"ab": 0.199}, ("a", None, 0, 0.2)),
    "the best of the blends": (
        {"a": 0.2, "b": 0.2, "c": 0.2},
        {"ab": 0.15, "bc": 0.1, "ac": 0.12},
        ("b", "c", 0.5, 0.1),
    ),
    "a blend needs a minimum between its ends": (
        {"a": 0.2, "b": 0.1},
        {"ab": 0.14},
        ("b", None, 0, 0.1),
    ),
    "the first diverges": ({"a": INF, "b": 0.3}, {"ab": 0.1}, ("b", None, 0, 0.3)),
    "the second diverges": ({"a": 0.3, "b": INF}, {"ab": 0.1}, ("a", None, 0, 0.3)),
    "the second gives NaN": ({"a": 0.3, "b": NAN}, {"ab": 0.1}, ("a", None, 0, 0.3)),
    "their mean gives NaN": ({"a": 0.2, "b": 0.2}, {"ab": NAN}, ("a", None, 0, 0.2)),
    "all diverge": ({"a": INF, "b": INF}, {}, ("a", None, 0, INF)),
    "a perfect prediction": ({"a": 0.2, "b": 0.0}, {}, ("b", None, 0, 0.0)),
}
# Frames with different lines: `n` is the network.
NETWORK = {
    "clearly better": ({"a": 0.2, "n": 0.179}, {"an": 0.1}, ("n", None, 0, 0.179)),
    "clearly worse": ({"a": 0.2, "n": 0.251}, {"an": 0.1}, ("a", None, 0, 0.2)),
    "between, a hedge": ({"a": 0.2, "n": 0.2}, {"an": 0.1}, ("a", "n", 0.5, 0.1)),
    "between, and better, no blend": ({"a": 0.2, "n": 0.19}, {}, ("n", None, 0, 0.19)),
    "between, and worse, no blend": ({"a": 0.2, "n": 0.21}, {}, ("a", None, 0, 0.2)),
    "better, the blend hardly more": ({"a": 0.2, "n": 0.189}, {"an": 0.18}, ("n", None, 0, 0.189)),
    "hardly better, the blend more": (
        {"a": 0.2, "n": 0.192},
        {"an": 0.18},
        ("a", "n", 0.5 + 0.008 / 0.128, 0.18 - 0.008**2 / 0.256),
    ),
    "of equals the network": ({"a": 0.2, "n": 0.2}, {}, ("n", None, 0, 0.2)),
    "hedged with the better classical one": (
        {"a": 0.2, "b": 0.1, "n": 0.1},
        {"bn": 0.05, "an": 0.01},
        ("b", "n", 0.5, 0.05),
    ),
    "worse than a blend of two classical ones": (
        {"a": 0.2, "b": 0.2, "n": 0.12},
        {"ab": 0.1},
        ("a", "b", 0.5, 0.1),
    ),
    "hedged with the better part of a classical blend": (
        {"a": 0.2, "b": 0.199, "n": 0.105},
        {"ab": 0.1, "bn": 0.06},
        ("b", "n", 0.462 / 0.736, 0.199 - 0.462**2 / (4 * 0.368)),
    ),
    "gives NaN": ({"a": 0.2, "n": INF}, {}, ("a", None, 0, 0.2)),
    "the classical ones diverge": ({"a": INF, "n": 0.3}, {}, ("n", None, 0, 0.3)),
    "was not tried": ({"a": 0.2, "b": 0.1}, {}, ("b", None, 0, 0.1)),
}
# All frames have the same lines, and noise alone makes an error of 0.02.
FIXED = {
    "settled, equal parts": ({"a": 0.1, "n": 0.1}, {"an": 0.07}, ("a", "n", 0.5, 0.07)),
    "settled, clearly better": ({"a": 0.1, "n": 0.04}, {"an": 0.05}, ("a", "n", 0.5, 0.05)),
    "settled, rather worse": ({"a": 0.1, "n": 0.124}, {"an": 0.11}, ("a", "n", 0.5, 0.11)),
    "settled, far worse": ({"a": 0.1, "n": 0.126}, {"an": 0.05}, ("a", None, 0, 0.1)),
    "just settled": ({"a": 0.169, "n": 0.17}, {"an": 0.16}, ("a", "n", 0.5, 0.16)),
    "unsettled": ({"a": 0.171, "n": 0.17}, {"an": 0.1}, ("n", None, 0, 0.17)),
    "unsettled, rather worse": ({"a": 0.2, "n": 0.249}, {"an": 0.1}, ("n", None, 0, 0.249)),
    "unsettled, far worse": ({"a": 0.2, "n": 0.251}, {"an": 0.1}, ("a", None, 0, 0.2)),
    "with the better part of a classical blend": (
        {"a": 0.1, "b": 0.098, "n": 0.07},
        {"ab": 0.06, "bn": 0.05},
        ("b", "n", 0.5, 0.05),
    ),
}


@pytest.mark.parametrize("case", CLASSICAL)
@pytest.mark.parametrize("network", [None, "n"])
def test_without_a_network(case, network):
    errors, midpoints, expected = CLASSICAL[case]
    found = outcome(select(evidence(errors, midpoints, network=network)))
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("case", NETWORK)
@pytest.mark.parametrize("margin", [0.1, 0.09])
def test_with_a_network(case, margin):
    errors, midpoints, expected = NETWORK[case]
    found = outcome(select(evidence(errors, midpoints, network="n", margin=margin)))
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("case", FIXED)
def test_with_a_network_and_the_same_lines_in_all_frames(case):
    errors, midpoints, expected = FIXED[case]
    found = select(evidence(errors, midpoints, network="n", same_lines=True, noise=0.02))
    assert outcome(found) == pytest.approx(expected)


@pytest.mark.parametrize("error", [0.1, 0.5])
def test_unknown_noise_of_the_same_lines_hedges(error):
    found = select(evidence({"a": error, "n": error}, {"an": 0.1}, network="n", same_lines=True))
    assert outcome(found) == ("a", "n", 0.5, 0.1)


def test_the_same_lines_do_not_matter_without_a_network():
    found = select(evidence({"a": 0.2, "b": 0.1}, same_lines=True, noise=0.02))
    assert outcome(found) == ("b", None, 0, 0.1)


def test_the_network_is_judged_by_the_hedge_and_not_by_the_margin():
    found = select(evidence({"a": 0.2, "n": 0.17}, network="n", margin=0.5))
    assert outcome(found) == ("n", None, 0, 0.17)


@pytest.mark.parametrize(
    ("errors", "weight"),
    [
        # Trials of one method with growing weights; only clear gains count.
        ([0.2, 0.17], 1),
        ([0.2, 0.185], 0),
        ([0.2, 0.185, 0.17], 2),
        ([0.2, 0.15, 0.14], 1),
        ([INF, 0.2], 1),
    ],
)
def test_the_leader_of_a_method_is_its_first_trial_not_clearly_beaten(errors, weight):
    trials = [trial("a", error, float(step)) for step, error in enumerate(errors)]
    made = Evidence(trials, lambda *_: INF, 0.1)
    assert made.leaders()["a"].weight == weight
    assert select(made).trial.weight == weight


@pytest.mark.parametrize(
    ("trials", "weight"),
    [
        ([(0.01, 0.3)], 0.01),
        ([(0.01, 0.3), (0.005, 0.28)], 0.005),
        ([(0.01, 0.3), (0.005, 0.295)], 0.01),
        ([(0.01, 0.3), (0.005, 0.28), (0.025, 0.27)], 0.025),
        # Trials that failed do not count.
        ([(0.01, math.inf), (0.005, 0.3)], 0.005),
        ([(0.01, math.inf)], None),
        ([], None),
    ],
)
def test_a_network_starts_from_the_first_weight_that_no_other_clearly_beats(trials, weight):
    made = [Trial("other", 0.5, 5, 0.1)]
    made += [Trial("start", tried, 5, error) for tried, error in trials]
    found = start_trial(made, "start")
    assert (found and found.weight) == weight


def test_blends_are_of_the_leaders():
    trials = [trial("a", 0.2, 1.0), trial("a", 0.1, 2.0), trial("b", 0.1, 3.0)]
    found = select(Evidence(trials, lambda *_: 0.05, 0.1))
    assert (found.trial.weight, found.partner.weight) == (2.0, 3.0)


@pytest.mark.parametrize(
    ("first", "second", "middle", "share", "error"),
    [
        (1.0, 1.0, 0.0, 0.5, 0.0),
        (0.4, 0.4, 0.3, 0.5, 0.3),
        # The minimum lies beyond one of the ends.
        (0.1, 0.5, 0.25, 0.0, 0.1),
        (0.5, 0.1, 0.25, 1.0, 0.1),
        # No minimum: a straight line, or one that bends down.
        (0.4, 0.4, 0.4, 0.0, 0.4),
        (0.4, 0.4, 0.5, 0.0, 0.4),
        (INF, 0.4, 0.1, 0.0, INF),
        (0.4, NAN, 0.1, 0.0, INF),
    ],
)
def test_the_error_of_a_blend_is_a_parabola(first, second, middle, share, error):
    found = blend(trial("a", first), trial("b", second), lambda *_: middle)
    assert found == pytest.approx((share, error))


DECISION = Decision(
    "a",
    0.01,
    20,
    (trial("a", 0.3), trial("b", 0.2), trial("n", 0.25)),
    "12 lines",
    partner=trial("n", 0.25),
    share=0.4,
    noise=0.02,
    maps="refined",
    maps_errors=(0.31, 0.3),
    error=0.15,
)


def test_a_decision_survives_json():
    assert Decision.from_dict(json.loads(json.dumps(DECISION.as_dict()))) == DECISION
    plain = Decision("a", 0.01, 20, (), "why")
    assert Decision.from_dict(json.loads(json.dumps(plain.as_dict()))) == plain


def test_a_decision_knows_its_parts():
    assert [DECISION.uses(method) for method in "anb"] == [True, True, False]
    assert DECISION.best().method == "b"
    assert DECISION.best(lambda method: method != "b").method == "n"
    assert DECISION.best(lambda method: method == "c") is None
    assert Decision("a", 0.01, 20, (), "why").best() is None


@pytest.mark.parametrize(("error", "warned"), [(0.99, False), (1.0, True), (INF, True)])
def test_a_prediction_like_that_of_an_empty_image_causes_a_warning(error, warned):
    made = Decision("a", 0.01, 20, (trial("a", 2.0), trial("b", error)), "12 lines")
    assert (made.warning() is not None) == warned
    assert Decision("a", 0.01, 20, (), "why").warning() is None
