"""`auto` picks the best of several methods; its network never makes a scan worse."""

import json
import math
from dataclasses import replace

import pytest
import torch
from kinds import normal
from refusals import refused

from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.classical.problem import Problem
from cmrrecon.classical.refined_maps import refined
from cmrrecon.data import LineMask, Series
from cmrrecon.methods import registry, shipped
from cmrrecon.methods.auto import TrainedNetwork
from cmrrecon.methods.base import Weights, finite
from cmrrecon.methods.decision import Decision, Trial
from cmrrecon.methods.iterative import solved
from cmrrecon.methods.registry import find_method
from cmrrecon.methods.solver import IterativeOptions, Solver
from cmrrecon.methods.trials import MARGIN, decide
from cmrrecon.solvers import Solution

NETWORK = "kt-unrolled"
CANDIDATES = ("kt-wavelet", "llr")
AUTOMATIC = IterativeOptions()
# Small, for tests of whether something works rather than how well.
SMALL = {"frames": 4, "y": 48, "x": 48}


def auto(network=None):
    """`auto` with or without a network."""
    method = find_method("auto")
    trained = network and TrainedNetwork(NETWORK, network, Weights("digest", {"envelope": "{}"}))
    return replace(method, trained=trained)


def classical(decision):
    return decision.best(lambda method: method != NETWORK)


def of_network(decision):
    return decision.best(lambda method: method == NETWORK)


@pytest.fixture(scope="module")
def shipped_decision(prepared):
    return find_method("auto").decide(prepared(**SMALL), AUTOMATIC)


def test_the_decision_names_the_trials_and_uses_the_best(shipped_decision):
    decision = shipped_decision
    assert {trial.method for trial in decision.trials} - {NETWORK} == set(CANDIDATES)
    assert decision.hidden.endswith("lines")
    chosen = next(
        t for t in decision.trials if (t.method, t.weight) == (decision.method, decision.weight)
    )
    assert decision.iterations == chosen.iterations
    margin = MARGIN / int(decision.hidden.split()[0]) ** 0.5
    others = [trial for trial in decision.trials if trial.method != NETWORK]
    assert chosen.method == NETWORK or all(
        chosen.error * (1 - margin) <= trial.error for trial in others
    )
    assert decision.error <= chosen.error
    assert decision.maps_errors is not None


@pytest.mark.parametrize(
    ("kind", "pattern", "acceleration", "size", "loss"),
    [
        ("cine", "kt-gaussian", 8, (6, 48, 64), 0.2),
        # Where all frames have the same lines, these hardly show which method is better. The
        # network alone is right for pictures, but not for a phantom.
        ("cine", "uniform", 4, (8, 64, 80), 0.3),
        ("cine", "kt-radial", 8, (6, 48, 64), 0.2),
        ("t1map", "kt-gaussian", 6, (8, 64, 80), 0.2),
        ("perfusion", "kt-gaussian", 6, (8, 64, 80), 0.2),
    ],
)
def test_auto_is_close_to_the_best_single_method(
    full, prepared, psnr, kind, pattern, acceleration, size, loss
):
    size = dict(zip(("frames", "y", "x"), size, strict=True))
    _, truth = full(kind, **size)
    series = prepared(pattern, acceleration, kind=kind, **size)

    def quality(name):
        method = find_method(name)
        decision = method.decide(series, AUTOMATIC)
        return psnr(method.reconstruct(series, AUTOMATIC, decision).images, truth)

    scores = {name: quality(name) for name in CANDIDATES}
    assert quality("auto") >= max(scores.values()) - loss, scores


def test_fully_sampled_series_are_combined_with_refined_maps(full):
    whole = PreparedSeries(full(**SMALL)[0])
    method = find_method("auto")
    decision = method.decide(whole, AUTOMATIC)
    assert (decision.weight, decision.maps, decision.trials) == (0, "refined", ())
    problem = Problem.of(whole, refined(whole, whole.coils()))
    combined = problem.whole(problem.rhs) * whole.scale
    images = method.reconstruct(whole, AUTOMATIC, decision).images
    assert (images - combined).abs().max() < 1e-3 * combined.abs().max()


def test_with_only_calibration_lines_the_first_candidate_uses_its_defaults(full):
    series, _ = full(**SMALL)
    lines = torch.zeros((1, 48, 1), dtype=torch.bool)
    lines[:, 18:30] = True
    few = PreparedSeries(Series(series.kspace * lines[:, None], LineMask(lines)))
    decision = find_method("auto").decide(few, AUTOMATIC)
    assert (decision.method, decision.trials) == (CANDIDATES[0], ())
    assert finite(find_method("auto").reconstruct(few, AUTOMATIC, decision).images)


def test_a_single_frame_is_reconstructed_by_spatial_regularisation(full, prepared, psnr):
    _, truth = full(frames=1)
    series = prepared("uniform", 3, 16, frames=1)
    method = find_method("auto")
    decision = method.decide(series, AUTOMATIC)
    assert {trial.method for trial in decision.trials} - {NETWORK} == {"l1-wavelet", "tv"}
    images = method.reconstruct(series, AUTOMATIC, decision).images
    assert psnr(images, truth) > psnr(find_method("zero-filled")(series.series), truth) + 3


def test_too_few_calibration_lines_are_refused(sampled):
    with refused("calibration-too-small"):
        find_method("auto")(sampled("uniform", acs=2, **SMALL))


def test_the_time_average_calibrates_where_no_frame_has_enough_lines(sampled, full, psnr):
    series, (_, truth) = sampled("kt-uniform", 4, acs=0, **SMALL), full(**SMALL)
    zero_filled = psnr(find_method("zero-filled")(series), truth)
    assert psnr(find_method("auto")(series), truth) > zero_filled + 10


def test_the_network_is_tried_and_both_errors_are_reported(prepared, small_network):
    decision = auto(small_network()).decide(prepared(**SMALL), AUTOMATIC)
    tried = [trial.error for trial in decision.trials if trial.method == NETWORK]
    assert of_network(decision).error == min(tried)
    assert of_network(decision).iterations == 2
    assert classical(decision).method in CANDIDATES
    assert 0 < decision.noise < classical(decision).error
    assert Decision.from_dict(json.loads(json.dumps(decision.as_dict()))) == decision


def test_a_spoiled_network_is_not_used(prepared, small_network):
    """The guard: a network that fails on a scan does not reach its images."""
    series = prepared(**SMALL)
    spoiled, without = auto(small_network(spoiled=3.0)), auto()
    decision = spoiled.decide(series, AUTOMATIC)
    assert of_network(decision).error > 1.5 * classical(decision).error
    assert not decision.uses(NETWORK)
    images = spoiled.reconstruct(series, AUTOMATIC, decision).images
    plain = without.decide(series, AUTOMATIC)
    torch.testing.assert_close(images, without.reconstruct(series, AUTOMATIC, plain).images)


@pytest.fixture(scope="module")
def broken(small_network):
    """A network that returns NaN."""
    made = small_network()
    with torch.no_grad():
        made.unet.last.bias.fill_(float("nan"))
    return made


def test_a_network_that_returns_nan_is_not_used(prepared, broken):
    decision = auto(broken).decide(prepared(**SMALL), AUTOMATIC)
    assert decision.method in CANDIDATES
    assert not decision.uses(NETWORK)


def test_a_network_that_fails_on_a_later_slice_is_replaced(prepared, broken):
    series, method = prepared(**SMALL), auto(broken)
    tried = (
        Trial("kt-wavelet", 0.01, 5, 0.3),
        Trial("llr", 0.02, 7, 0.2),
        Trial(NETWORK, 1, 2, 0.1),
    )
    decision = Decision(NETWORK, 1.0, 2, tried, "12 lines", partner=tried[0], share=0.3)
    images = method.reconstruct(series, AUTOMATIC, decision).images
    solvers = {"llr": find_method("llr").solver}
    safe = Decision("llr", 0.02, 7, (), "")
    assert torch.equal(images, solved(series, solvers, safe, AUTOMATIC).images)


def test_without_trials_nothing_replaces_images_that_are_not_finite(prepared, broken):
    with refused("result-not-finite"):
        auto(broken).reconstruct(
            prepared(**SMALL), AUTOMATIC, Decision(NETWORK, 1.0, 2, (), "given")
        )


def test_a_network_that_predicts_better_is_used(prepared):
    """A network as good as low rank, against SENSE."""
    best = find_method("llr").function

    def knows(problem, *, weight=1.0, iterations=100, monitor=None):
        return Solution(best(problem, weight=0.03, iterations=60).x, (0.0, 0.0))

    solvers = {"sense": find_method("sense").solver, NETWORK: Solver.of(NETWORK, knows)}
    series = prepared("kt-gaussian", 6)
    assert decide(series, solvers, AUTOMATIC, network=NETWORK).method == NETWORK


def test_without_weights_auto_is_classical(monkeypatch, prepared):
    monkeypatch.setattr(registry, "load_shipped", lambda: None)
    method = find_method("auto")
    decision = method.decide(prepared(**SMALL), AUTOMATIC)
    assert of_network(decision) is None
    assert {trial.method for trial in decision.trials} == set(CANDIDATES)
    assert method.weights() is None
    assert method.adaptable(AUTOMATIC) is None
    assert method.training_facts(decision) == {}


@pytest.mark.parametrize("options", [{"weight": 0.01}, {"iterations": 10}])
def test_settings_of_the_classical_methods_leave_the_network_out(prepared, small_network, options):
    method = auto(small_network())
    chosen = method.options(options)
    assert of_network(method.decide(prepared(**SMALL), chosen)) is None
    assert method.adaptable(chosen) is None
    assert method.adaptable(method.options({"coils": 3})).network is method.trained.network


@pytest.mark.parametrize(
    ("frames", "pattern"), [(1, "uniform"), (2, "kt-uniform"), (3, "kt-radial")]
)
def test_the_network_takes_part_with_any_frames_and_masks(prepared, small_network, frames, pattern):
    series = prepared(pattern, 3, frames=frames, y=64, x=64)
    method = auto(small_network())
    decision = method.decide(series, AUTOMATIC)
    assert of_network(decision) is not None
    assert finite(method.reconstruct(series, AUTOMATIC, decision).images)


def test_auto_with_the_network_scales_with_kspace(sampled, small_network):
    series, method = sampled(**SMALL), auto(small_network(spoiled=0.01))
    images = method(series)
    atol = 1e-3 * float(images.abs().max())
    torch.testing.assert_close(method(series.scaled(1e-7)) * 1e7, images, rtol=1e-2, atol=atol)


def test_the_training_range_counts_only_if_the_network_is_used(small_network):
    method = auto(small_network())
    trial = Trial(NETWORK, 1.0, 2, 0.1)
    assert method.weights().digest == "digest"
    assert method.training_facts(Decision(NETWORK, 1.0, 2, (trial,), "")) == {"envelope": "{}"}
    blended = Decision("llr", 1.0, 2, (trial,), "", partner=trial, share=0.2)
    assert method.training_facts(blended) == {"envelope": "{}"}
    assert method.training_facts(Decision("llr", 1.0, 2, (trial,), "")) == {}
    assert method.training_facts(None) == {}


def test_a_network_can_be_replaced(small_network):
    first, second = small_network(), small_network(0.1)
    method = auto(first)
    other = method.adaptable(AUTOMATIC).adopt(second)
    assert (method.trained.network, other.trained.network) == (first, second)
    assert other.trained.name == NETWORK


def test_missing_weights_are_none(monkeypatch, tmp_path):
    monkeypatch.setattr(shipped, "shipped_file", lambda: tmp_path / "none.safetensors")
    assert shipped.load_shipped() is None


def test_every_auto_has_its_own_network():
    """Adapting or moving one network does not change another."""
    first, second = find_method("auto"), find_method("auto")
    assert first.trained.network is not second.trained.network
    assert math.isclose(
        *(sum(float(p.sum()) for p in m.trained.network.parameters()) for m in (first, second))
    )


def test_images_do_not_depend_on_earlier_requests_for_coils(prepared, small_network):
    series, method = prepared(**SMALL), auto(small_network())
    decision = method.decide(series, AUTOMATIC)
    shared = method.reconstruct(series, AUTOMATIC, decision).images
    fresh = method.reconstruct(normal(series.series, series.scale), AUTOMATIC, decision).images
    assert torch.equal(shared, fresh)
