"""Trials: what is held out, tried and searched, and the decision that follows."""

import math

import pytest
import torch

from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.classical.sense import sense
from cmrrecon.classical.wavelets import kt_wavelet
from cmrrecon.data import LineMask, Series
from cmrrecon.methods.holdout import hide
from cmrrecon.methods.iterative import solved
from cmrrecon.methods.solver import IterativeOptions, Solver
from cmrrecon.methods.trials import MARGIN, Trials, decide, narrowed
from cmrrecon.operators.coils import rss
from cmrrecon.solvers import Solution

FIXED = IterativeOptions(weight=0.01, iterations=20)
NETWORK = "network"


@pytest.fixture
def decided(prepared, biased):
    """Decide between solvers with the given bias factors."""

    def run(factors, options=FIXED, pattern="kt-gaussian", acceleration=8):
        solvers = {name: biased(name, factor) for name, factor in factors.items()}
        series = prepared(pattern, acceleration)
        network = NETWORK if NETWORK in factors else None
        return decide(series, solvers, options, network=network)

    return run


def methods_of(decision):
    return {decision.method, decision.partner.method if decision.partner else decision.method}


def test_methods_whose_errors_cancel_are_blended(prepared, biased, decided):
    decision = decided({"bright": 1.5, "dark": 0.6})
    assert methods_of(decision) == {"bright", "dark"}
    one_of_bright = decision.partner.method == "bright"
    share = decision.share if one_of_bright else 1 - decision.share
    assert share == pytest.approx(0.44, abs=0.15)
    whole = prepared()
    solvers = {"bright": biased("bright", 1.5), "dark": biased("dark", 0.6)}
    alone = {name: solver.decision(FIXED, "") for name, solver in solvers.items()}
    images = {name: solved(whole, solvers, made, FIXED).images for name, made in alone.items()}
    blended = solved(whole, solvers, decision, FIXED).images
    expected = images["dark"].lerp(images["bright"], share)
    atol = 1e-5 * float(blended.abs().max())
    inside = rss(whole.coils().measured) > 0
    torch.testing.assert_close(blended[:, inside], expected[:, inside], rtol=1e-4, atol=atol)


@pytest.mark.parametrize(
    ("factors", "used"),
    [
        ({"a": 1.0, NETWORK: 1.5}, {"a"}),
        ({"a": 1.5, NETWORK: 1.0}, {NETWORK}),
        ({"a": 1.3, NETWORK: 0.7}, {"a", NETWORK}),
        # The second is better than the first, but with few lines not clearly.
        ({"a": 1.32, "b": 1.3, NETWORK: 0.7}, {"a", NETWORK}),
        # A blend of two is far better than either, and than the network.
        ({"a": 1.3, "b": 0.7, NETWORK: 1.3}, {"a", "b"}),
    ],
)
def test_a_network_is_used_if_clearly_better_dropped_if_worse_and_blended_between(
    decided, factors, used
):
    decision = decided(factors)
    assert methods_of(decision) == used
    errors = {trial.method: trial.error for trial in decision.trials}
    if len(used) == 2:
        assert decision.error < min(errors[name] for name in used)
    else:
        assert decision.error == errors[decision.method]


@pytest.mark.parametrize(
    ("pattern", "acceleration", "classical", "network", "share"),
    [
        # Most of the error is noise: a blend of equal parts, whatever the network predicts.
        ("uniform", 2, 0.95, 1.05, 0.5),
        # Much of the hold-out energy is unexplained: the network alone.
        ("uniform", 4, 0.9, 0.95, 0.0),
        # Frames with different lines are judged by the error itself: a blend with a fitted share.
        ("kt-gaussian", 4, 1.1, 0.9, None),
    ],
)
def test_the_same_lines_in_all_frames_use_the_network_alone_if_much_is_open(
    decided, pattern, acceleration, classical, network, share
):
    decision = decided({"a": classical, NETWORK: network}, FIXED, pattern, acceleration)
    assert decision.uses(NETWORK)
    assert decision.share == share if share is not None else decision.share not in (0.0, 0.5)


@pytest.mark.parametrize(("network", "used"), [(0.9, True), (0.3, False)])
def test_the_same_lines_leave_out_a_network_that_predicts_far_worse(decided, network, used):
    decision = decided({"a": 0.95, NETWORK: network}, FIXED, "uniform", 4)
    errors = {trial.method: trial.error for trial in decision.trials}
    assert errors[NETWORK] > errors["a"]
    assert (errors[NETWORK] < 1.25 * errors["a"]) == used
    assert (decision.method == NETWORK) == used


def test_unknown_noise_hedges(decided, monkeypatch):
    monkeypatch.setattr("cmrrecon.methods.holdout.noise_energy", lambda *_: math.nan)
    decision = decided({"a": 1.1, NETWORK: 1.05}, FIXED, "uniform", 4)
    assert (decision.share, decision.noise) == (0.5, None)


@pytest.mark.parametrize(("classical", "searched"), [(0.95, True), (3.0, False)])
def test_weights_are_searched_unless_the_network_is_used_alone(decided, classical, searched):
    options = IterativeOptions(iterations=20)
    decision = decided({"a": classical, NETWORK: 1.1}, options)
    weights = {trial.weight for trial in decision.trials if trial.method == "a"}
    assert (len(weights) > 1) == searched
    assert {trial.weight for trial in decision.trials if trial.method == NETWORK} == {0.01}


@pytest.mark.parametrize(("best", "chosen"), [(0.01, 0.01), (0.005, 0.005)])
def test_a_network_starts_from_the_weight_that_predicts_better(prepared, best, chosen):
    known = []

    def start(problem, *, weight=0.01, iterations=20, monitor=None):
        bias = 1.0 if weight == best else 1.5
        return Solution(bias * kt_wavelet(problem, iterations=20).x, ())

    def network(problem, *, weight=1.0, iterations=2, monitor=None):
        known.append(problem.solutions["start"])
        return Solution(known[-1], ())

    solvers = {
        "start": Solver.of("start", start),
        NETWORK: Solver.of(NETWORK, network, starts_from=("start",)),
    }
    decision = decide(prepared("kt-gaussian", 8), solvers, IterativeOptions(), network=NETWORK)
    errors = {trial.weight: trial.error for trial in decision.trials if trial.method == "start"}
    assert errors[chosen] == min(errors.values()) == decision.best(lambda m: m == NETWORK).error


def test_a_method_is_not_blended_with_a_worse_one_of_the_same_error(decided):
    decision = decided({"bright": 1.1, "brighter": 1.3})
    assert (decision.method, decision.partner, decision.share) == ("bright", None, 0.0)


def test_a_number_of_coils_is_kept_and_refines_no_maps(prepared, biased):
    options = IterativeOptions(weight=0.01, iterations=5, coils=3)
    solvers = {"a": biased("a", 1.0), "b": biased("b", 1.2)}
    decision = decide(prepared(), solvers, options, refine=True)
    assert (decision.maps, decision.maps_errors) == ("espirit", None)
    assert len(solved(prepared(), solvers, decision, options).fit.coils.maps) == 3


def test_the_maps_that_predict_better_are_used(prepared, biased):
    solvers = {"a": biased("a", 1.0), "b": biased("b", 1.2)}
    decision = decide(prepared(), solvers, FIXED, refine=True)
    espirit, refined = decision.maps_errors
    assert decision.maps == ("refined" if refined < espirit else "espirit")
    assert decision.trials[0].error == min(espirit, refined)


def test_trials_that_diverge_lose(prepared):
    def broken(problem, *, weight=1.0, iterations=5, monitor):
        return Solution(torch.full_like(problem.start, math.nan), (0.0,))

    solvers = {"broken": Solver.of("broken", broken), "sense": Solver.of("sense", sense)}
    decision = decide(prepared(), solvers, IterativeOptions())
    assert decision.method == "sense"
    assert decision.trials[0].error == math.inf


def test_a_solver_that_finishes_at_once_is_judged_by_its_end(prepared):
    def exact(problem, *, weight=1.0, iterations=100, monitor):
        return Solution(problem.start, (0.0, 0.0))

    decision = decide(prepared(), {"exact": Solver.of("exact", exact)}, IterativeOptions(1.0))
    assert [trial.iterations for trial in decision.trials] == [2]


def test_a_trial_ends_when_its_prediction_no_longer_improves(prepared):
    steps = []

    def worse(problem, *, weight=1.0, iterations=100, monitor):
        x = problem.start
        for step in range(1, iterations + 1):
            steps.append(step)
            x = 1.1 * x
            if monitor(step, x):
                break
        return Solution(x, tuple(map(float, steps)))

    decision = decide(prepared(), {"worse": Solver.of("worse", worse)}, IterativeOptions(1.0))
    assert decision.trials[0].iterations < len(steps) < 100


def test_given_settings_are_not_tried(prepared, biased):
    decision = decide(prepared(), {"a": biased("a", 1.0)}, FIXED)
    assert (decision.weight, decision.iterations, decision.trials) == (0.01, 20, ())


@pytest.mark.parametrize(("given", "weight"), [(None, 0.0), (0.3, 0.3)])
def test_fully_sampled_series_need_no_regularisation(full, biased, given, weight):
    whole = PreparedSeries(full()[0])
    solvers = {"a": biased("a", 1.0), "b": biased("b", 1.0)}
    decision = decide(whole, solvers, IterativeOptions(given, 7), refine=True)
    assert (decision.method, decision.weight, decision.iterations) == ("a", weight, 7)
    assert (decision.maps, decision.trials) == ("refined", ())
    assert decide(whole, solvers, IterativeOptions()).maps == "espirit"


def test_with_only_calibration_lines_the_defaults_hold(full, biased):
    series, _ = full()
    lines = torch.zeros((1, 64, 1), dtype=torch.bool)
    lines[:, 26:38] = True
    few = PreparedSeries(Series(series.kspace * lines[:, None], LineMask(lines)))
    decision = decide(few, {"a": biased("a", 1.0), "b": biased("b", 1.0)}, IterativeOptions())
    assert (decision.method, decision.weight, decision.iterations) == ("a", 0.01, 20)
    assert (decision.trials, decision.error) == ((), None)


def test_the_margin_is_smaller_if_more_is_held_out(prepared):
    whole = prepared()
    hidden = whole.mask.chosen(hide(whole.series))
    made = Trials(whole, hidden, narrowed(whole, whole.coils()))
    count = int(hidden.samples.sum())
    assert made.evidence().margin == pytest.approx(MARGIN / math.sqrt(count))
    assert not made.evidence().same_lines


@pytest.mark.parametrize(("pattern", "third"), [("kt-gaussian", True), ("kt-radial", False)])
def test_trials_of_lines_see_a_third_of_the_columns(prepared, pattern, third):
    whole = prepared(pattern)
    coils = whole.coils()
    columns, seen = narrowed(whole, coils).columns, coils.columns
    width = seen.stop - seen.start
    expected = math.ceil(width / 3) if third else width
    assert columns.stop - columns.start == expected
    assert seen.start <= columns.start < columns.stop <= seen.stop


def test_the_columns_are_those_that_change(full):
    """Only a few columns beat; they are among those tried."""
    series, _ = full()
    images = torch.fft.ifft(torch.fft.ifftshift(series.kspace, dim=-1), dim=-1)
    still = images.mean(0, keepdim=True).expand_as(images).clone()
    moving = torch.fft.fftshift(still, dim=-1)
    moving[..., 40:44] *= torch.linspace(0.2, 2, len(images))[:, None, None, None]
    kspace = torch.fft.fftshift(torch.fft.fft(torch.fft.ifftshift(moving, dim=-1), dim=-1), dim=-1)
    whole = PreparedSeries(Series(kspace, LineMask(torch.ones((1, 64, 1), dtype=torch.bool))))
    columns = narrowed(whole, whole.coils()).columns
    assert columns.start <= 40
    assert columns.stop >= 44
