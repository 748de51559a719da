"""Iterative methods: given settings are kept, the others are decided per scan."""

import pytest
import torch

from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.classical.problem import Problem
from cmrrecon.methods.decision import Decision, Trial
from cmrrecon.methods.iterative import solved
from cmrrecon.methods.registry import find_method
from cmrrecon.methods.solver import IterativeOptions, Solver
from cmrrecon.operators.coils import rss
from cmrrecon.solvers import Solution

SMALL = {"frames": 4, "y": 48, "x": 48}
NAMES = ("sense", "llr", "temporal-fourier", "tv", "low-rank-sparse")


@pytest.fixture
def series(prepared):
    return prepared(**SMALL)


def test_the_same_series_gives_the_same_decision(series, sampled):
    method = find_method("kt-wavelet")
    again = PreparedSeries(sampled(**SMALL))
    assert method.decide(series, IterativeOptions()) == method.decide(again, IterativeOptions())


def test_the_decision_does_not_depend_on_the_scale_of_kspace(series, sampled):
    method = find_method("temporal-tv")
    scaled = PreparedSeries(sampled(**SMALL).scaled(1e-9))
    found = [method.decide(one, IterativeOptions()) for one in (series, scaled)]
    assert found[0].weight == found[1].weight
    assert found[0].iterations == found[1].iterations


@pytest.mark.parametrize("given", [{"weight": 0.02}, {"iterations": 7}])
def test_given_settings_are_kept(series, given):
    method = find_method("llr")
    decision = method.decide(series, method.options(given))
    ((name, value),) = given.items()
    assert {getattr(trial, name) for trial in decision.trials} == {value}
    assert getattr(decision, name) == value
    assert {trial.method for trial in decision.trials} == {"llr"}
    # The weight is searched unless it is given.
    assert (len(decision.trials) > 1) == ("weight" not in given)


def test_given_settings_need_no_trials(series):
    method = find_method("llr")
    decision = method.decide(series, method.options({"weight": 0.02, "iterations": 7}))
    assert (decision.weight, decision.iterations, decision.trials) == (0.02, 7, ())


def test_the_decision_of_another_slice_is_used(sampled):
    decided = Decision("sense", 0.5, 3, (), "of another slice")
    given = {"weight": 0.5, "iterations": 3}
    series, method = sampled(**SMALL), find_method("sense")
    assert torch.equal(method(series, decision=decided), method(series, given))


@pytest.mark.parametrize("name", NAMES)
def test_fully_sampled_series_are_only_combined(full, name):
    whole = PreparedSeries(full(**SMALL)[0])
    method = find_method(name)
    decision = method.decide(whole, IterativeOptions())
    assert (decision.weight, decision.maps, decision.trials) == (0, "espirit", ())
    problem = Problem.of(whole, whole.coils())
    combined = problem.whole(problem.rhs) * whole.scale
    images = method.reconstruct(whole, IterativeOptions(), decision).images
    assert (images - combined).abs().max() < 1e-3 * combined.abs().max()


def test_a_number_of_coils_is_kept(series):
    method = find_method("sense")
    options = method.options({"weight": 0.01, "iterations": 3, "coils": 2})
    outcome = method.reconstruct(series, options)
    assert outcome.fit.coils.maps.shape == (2, 48, 48)
    assert outcome.maps.shape == (6, 48, 48)


def test_the_outcome_solves_its_least_squares_term(series):
    """The images, on the scale of the term, explain almost all of the measured energy."""
    method = find_method("sense")
    outcome = method.reconstruct(series, method.options({"weight": 1e-6, "iterations": 30}))
    term = outcome.fit.term
    x = outcome.images[..., term.columns] / series.scale
    inside = rss(outcome.fit.coils.measured)[:, term.columns] > 0
    torch.testing.assert_close(x[:, inside], outcome.fit.x[:, inside])
    x = outcome.fit.x
    gradient = term.A.N(x) - term.rhs
    assert float(gradient.norm()) < 0.01 * float(term.rhs.norm())


def test_a_blend_lies_between_its_parts(series):
    solvers = {name: find_method(name).solver for name in ("sense", "llr")}
    first = Decision("sense", 0.01, 5, (), "")
    second = Decision("llr", 0.01, 5, (), "")
    both = Decision("sense", 0.01, 5, (), "", partner=Trial("llr", 0.01, 5, 0.1), share=0.25)
    one, other, blended = (
        solved(series, solvers, decision, IterativeOptions()).images
        for decision in (first, second, both)
    )
    inside = rss(series.coils().measured) > 0
    torch.testing.assert_close(blended[:, inside], one.lerp(other, 0.25)[:, inside])


def test_refined_maps_are_used_if_so_decided(series):
    method = find_method("sense")
    plain = Decision("sense", 0.01, 5, (), "")
    better = Decision("sense", 0.01, 5, (), "", maps="refined")
    first, second = (method.reconstruct(series, IterativeOptions(), d) for d in (plain, better))
    assert torch.equal(first.maps, series.coils().measured)
    assert not torch.equal(first.maps, second.maps)


def test_a_network_starts_from_the_weight_that_predicted_best(series):
    seen = []

    def network(problem, *, weight=1.0, iterations=2, monitor=None):
        seen.append(problem.weights)
        return Solution(problem.start, ())

    solvers = {
        "network": Solver.of("network", network, starts_from=("kt-wavelet", "untried")),
        "llr": find_method("llr").solver,
    }
    trials = (
        Trial("kt-wavelet", 0.01, 7, 0.3),
        Trial("kt-wavelet", 0.005, 9, 0.2),
        Trial("llr", 0.03, 5, 0.1),
    )
    blend = Decision("llr", 0.03, 5, trials, "", partner=Trial("network", 1.0, 2, 0.1), share=0.5)
    solved(series, solvers, blend, IterativeOptions())
    assert seen == [{"kt-wavelet": 0.005}]
