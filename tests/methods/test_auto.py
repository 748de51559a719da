import json
import math
from dataclasses import replace

import pytest
import torch
from kinds import mask_of, normal

from cmrrecon.classical.coils import estimate_coils
from cmrrecon.classical.prepared import normalisation
from cmrrecon.classical.problem import Problem
from cmrrecon.classical.refined_maps import refined
from cmrrecon.data import Series
from cmrrecon.evaluation.protocols import score
from cmrrecon.methods.auto import MARGIN, Choice, choose, solve
from cmrrecon.methods.registry import find_method
from cmrrecon.sampling import make_mask
from cmrrecon.simulation import simulate
from cmrrecon.solvers import Solution
from cmrrecon.tools.errors import InputError

AUTO = {"weight": "auto", "iterations": "auto", "coils": "auto"}
CANDIDATES = find_method("auto").candidates


def scan(kind="cine", frames=8, seed=3, y=64, x=80):
    made = simulate(kind, frames=frames, slices=1, coils=6, y=y, x=x, seed=seed)
    return made.scan.series(0), made.image[:, 0]


def sampled(full, pattern="kt-gaussian", acceleration=8, acs=12):
    frames, _, y, x = full.kspace.shape
    mask = make_mask(pattern, frames=frames, y=y, x=x, acceleration=acceleration, acs=acs, seed=1)
    return Series(full.kspace * mask[:, None], mask_of(mask))


def psnr(images, truth):
    return score(images[:, None], truth[:, None], protocol="fullfov").psnr


@pytest.fixture(scope="module")
def cine():
    full, truth = scan()
    return sampled(full), truth


def test_choice_names_what_was_tried_and_takes_the_best(cine):
    choice = find_method("auto").choose(cine[0])
    assert {trial.method for trial in choice.trials} - {"kt-unrolled"} == set(CANDIDATES)
    assert choice.hidden.endswith("lines")
    chosen = next(t for t in choice.trials if (t.method, t.weight) == (choice.method, choice.weight))
    assert (choice.iterations, choice.weight) == (chosen.iterations, chosen.weight)
    margin = MARGIN / int(choice.hidden.split()[0]) ** 0.5
    classical = [trial for trial in choice.trials if trial.method != "kt-unrolled"]
    assert chosen.method == "kt-unrolled" or all(chosen.error * (1 - margin) <= trial.error for trial in classical)
    assert choice.error <= chosen.error
    assert choice.as_dict()["trials"][0]["error"] == choice.trials[0].error


def test_same_series_same_choice(cine):
    assert find_method("kt-wavelet").choose(cine[0]) == find_method("kt-wavelet").choose(cine[0])


def test_choice_does_not_depend_on_the_scale_of_kspace(cine):
    series, _ = cine
    choice, scaled = (find_method("temporal-tv").choose(s) for s in (series, series.scaled(1e-9)))
    assert (choice.weight, choice.iterations) == (scaled.weight, scaled.iterations)


@pytest.mark.parametrize(
    ("kind", "pattern", "acceleration"),
    [
        ("cine", "kt-gaussian", 8),
        ("cine", "uniform", 4),
        ("cine", "kt-radial", 8),
        ("t1map", "kt-gaussian", 6),
        ("perfusion", "kt-gaussian", 6),
    ],
)
def test_auto_is_close_to_the_best_single_method(kind, pattern, acceleration):
    full, truth = scan(kind)
    series = sampled(full, pattern, acceleration)
    scores = {name: psnr(find_method(name)(series), truth) for name in CANDIDATES}
    assert psnr(find_method("auto")(series), truth) >= max(scores.values()) - 0.2, scores


def test_given_settings_are_kept(cine):
    series, _ = cine
    choice = find_method("llr").choose(series, {"weight": 0.02})
    assert {trial.weight for trial in choice.trials} == {0.02}
    choice = find_method("llr").choose(series, {"iterations": 7})
    assert {trial.iterations for trial in choice.trials} == {7}
    assert len(choice.trials) > 1
    choice = find_method("llr").choose(series, {"weight": 0.02, "iterations": 7})
    assert (choice.weight, choice.iterations, choice.trials) == (0.02, 7, ())


def test_a_choice_of_another_slice_is_used(cine):
    series, _ = cine
    choice = find_method("sense").choose(series, {"weight": 0.5, "iterations": 3})
    assert torch.equal(find_method("sense")(series, choice=choice), find_method("sense")(series, {"weight": 0.5, "iterations": 3}))


def test_fully_sampled_series_are_combined_and_nothing_else():
    full, _ = scan()
    choice = find_method("auto").choose(full)
    assert choice.weight == 0
    assert "fully sampled" in choice.hidden
    normalised = full.scaled(1 / normalisation(full))
    espirit = estimate_coils(normalised)
    for names, coils in (
        (("auto",), refined(normal(normalised, 1.0), espirit)),
        (("sense", "llr", "temporal-fourier", "tv", "low-rank-sparse"), espirit),
    ):
        problem = Problem.of(normal(normalised), coils)
        combined = problem.whole(problem.rhs) * normalisation(full)
        for name in names:
            images = find_method(name)(full)
            assert (images - combined).abs().max() < 1e-3 * combined.abs().max()


def test_with_only_calibration_lines_the_defaults_hold():
    full, _ = scan()
    mask = torch.zeros((1, 64, 1), dtype=torch.bool)
    mask[:, 26:38] = True
    series = Series(full.kspace * mask[:, None], mask_of(mask))
    choice = find_method("auto").choose(series)
    assert choice.method == CANDIDATES[0]
    assert "defaults" in choice.hidden
    assert not choice.trials
    assert torch.isfinite(find_method("auto")(series).abs()).all()


def test_a_single_frame_is_reconstructed_by_spatial_regularisation():
    full, truth = scan(frames=1)
    series = sampled(full, "uniform", 3, acs=16)
    images = find_method("auto")(series)
    assert psnr(images, truth) > psnr(find_method("zero-filled")(series), truth) + 3


def biased(factor):
    """Images that are too bright or too dark by a factor."""

    def solver(problem, *, weight=0.01, iterations=20, monitor=None):
        found = find_method("kt-wavelet").function()(problem, weight=weight, iterations=iterations)
        return Solution(factor * found.x, found.residuals)

    return solver


def test_methods_whose_errors_cancel_are_blended():
    full, _ = scan()
    series = sampled(full)
    solvers = {"bright": biased(1.5), "dark": biased(0.6)}
    settings = {"weight": 0.01, "iterations": 20, "coils": "auto"}
    choice = choose(series, normalisation(series), solvers, settings)
    assert {choice.method, choice.partner.method} == {"bright", "dark"}
    bright = choice.share if choice.partner.method == "bright" else 1 - choice.share
    assert bright == pytest.approx(0.44, abs=0.15)
    assert Choice.from_dict(json.loads(json.dumps(choice.as_dict()))) == choice
    images = {name: solve(series, 1.0, solvers, replace(choice, method=name, partner=None), settings)[0] for name in solvers}
    blended, _ = solve(series, 1.0, solvers, choice, settings)
    torch.testing.assert_close(blended, images["dark"].lerp(images["bright"], bright), rtol=1e-4, atol=1e-5 * float(blended.abs().max()))


@pytest.mark.parametrize(
    ("classical", "network", "taken"),
    [
        ({"a": 1.0}, 1.5, {"a"}),
        ({"a": 1.5}, 1.0, {"kt-unrolled"}),
        ({"a": 1.3}, 0.7, {"a", "kt-unrolled"}),
        # The second is better than the first, but not clearly, with so few lines.
        ({"a": 1.32, "b": 1.3}, 0.7, {"a", "kt-unrolled"}),
        # Two that are blended are far better than either, and than the network.
        ({"a": 1.3, "b": 0.7}, 1.3, {"a", "b"}),
    ],
)
def test_the_network_is_taken_if_it_is_clearly_better_left_if_worse_and_blended_between(classical, network, taken):
    full, _ = scan()
    series = sampled(full)
    solvers = {name: biased(factor) for name, factor in {**classical, "kt-unrolled": network}.items()}
    choice = choose(series, normalisation(series), solvers, {"weight": 0.01, "iterations": 20, "coils": "auto"})
    assert {choice.method, choice.partner.method if choice.partner else choice.method} == taken
    errors = {trial.method: trial.error for trial in choice.trials}
    if len(taken) == 2:
        assert choice.error < min(errors[name] for name in taken)
    else:
        assert choice.error == errors[choice.method]


@pytest.mark.parametrize(
    ("pattern", "acceleration", "classical", "network", "share"),
    [
        # Noise is two thirds of the error: whatever the network predicts, the blend is of equal parts.
        ("uniform", 2, 0.95, 1.05, 0.5),
        # More than half of the hidden lines' energy is unexplained: the network alone, even if it predicts as badly.
        ("uniform", 4, 1.1, 1.05, 0.0),
        # Frames of other lines are judged by the error itself: a blend whose share is fitted.
        ("kt-gaussian", 4, 1.1, 0.9, None),
    ],
)
def test_the_same_lines_in_all_frames_have_the_network_alone_where_much_is_unsettled(pattern, acceleration, classical, network, share):
    full, _ = scan()
    series = sampled(full, pattern, acceleration)
    solvers = {"a": biased(classical), "kt-unrolled": biased(network)}
    choice = choose(series, normalisation(series), solvers, {"weight": 0.01, "iterations": 20, "coils": "auto"})
    assert choice.share == share if share is not None else choice.share not in (0.0, 0.5)
    assert "kt-unrolled" in {choice.method, choice.partner.method if choice.partner else None}


@pytest.mark.parametrize(("network", "taken"), [(0.95, True), (0.3, False)])
def test_the_same_lines_in_all_frames_leave_out_a_network_that_predicts_far_worse(network, taken):
    full, _ = scan()
    series = sampled(full, "uniform", 4)
    solvers = {"a": biased(1.1), "kt-unrolled": biased(network)}
    choice = choose(series, normalisation(series), solvers, {"weight": 0.01, "iterations": 20, "coils": "auto"})
    errors = {trial.method: trial.error for trial in choice.trials}
    assert errors["kt-unrolled"] > errors["a"]
    assert (errors["kt-unrolled"] < 1.25 * errors["a"]) == taken
    assert (choice.method == "kt-unrolled") == taken


@pytest.mark.parametrize(("classical", "searched"), [(1.05, True), (3.0, False)])
def test_weights_are_searched_unless_the_network_is_taken_alone(classical, searched):
    full, _ = scan()
    series = sampled(full)
    solvers = {"a": biased(classical), "kt-unrolled": biased(1.0)}
    choice = choose(series, normalisation(series), solvers, {"weight": "auto", "iterations": 20, "coils": "auto"})
    assert (len({trial.weight for trial in choice.trials if trial.method == "a"}) > 1) == searched


def test_a_number_of_coils_is_kept_and_refines_no_maps():
    full, _ = scan()
    series = sampled(full)
    settings = {"weight": 0.01, "iterations": 10, "coils": 3}
    solvers = {"a": biased(1.0), "b": biased(1.2)}
    choice = choose(series, normalisation(series), solvers, settings, refine=True)
    assert (choice.maps, choice.maps_errors) == ("espirit", None)
    assert len(solve(series, normalisation(series), solvers, choice, settings)[1].maps) == 3


def test_an_unknown_noise_hedges(monkeypatch):
    monkeypatch.setattr("cmrrecon.methods.holdout.noise_energy", lambda *_: math.nan)
    full, _ = scan()
    series = sampled(full, "uniform", 4)
    solvers = {"a": biased(1.1), "kt-unrolled": biased(1.05)}
    choice = choose(series, normalisation(series), solvers, {"weight": 0.01, "iterations": 20, "coils": "auto"})
    assert (choice.share, choice.noise) == (0.5, None)


def test_a_method_is_not_blended_with_a_worse_one_of_the_same_error():
    full, _ = scan()
    series = sampled(full)
    solvers = {"bright": biased(1.1), "brighter": biased(1.3)}
    choice = choose(series, normalisation(series), solvers, {"weight": 0.01, "iterations": 20, "coils": "auto"})
    assert (choice.method, choice.partner, choice.share) == ("bright", None, 0.0)


def test_trials_that_diverge_lose():
    full, _ = scan()
    series = sampled(full)
    series = series.scaled(1 / normalisation(series))

    def broken(problem, *, weight=1.0, iterations=5, monitor):
        return find_method("sense").function()(problem, weight=float("nan"), iterations=iterations, monitor=monitor)

    choice = choose(series, normalisation(series), {"broken": broken, "sense": find_method("sense").function()}, AUTO)
    assert choice.method == "sense"


def test_too_few_calibration_lines_are_told():
    full, _ = scan()
    with pytest.raises(InputError, match="calibration lines"):
        find_method("auto")(sampled(full, acs=2))
