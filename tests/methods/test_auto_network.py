"""`auto` with a network among its candidates: taken where it predicts better, left where it does not, never in the way."""

import json

import pytest
import torch
from kinds import mask_of

from cmrrecon.classical.prepared import normalisation
from cmrrecon.data import Series
from cmrrecon.methods import registry as methods
from cmrrecon.methods import shipped
from cmrrecon.methods.auto import Choice, choose
from cmrrecon.methods.registry import find_method
from cmrrecon.networks.kt_unrolled import KtUnrolled
from cmrrecon.sampling import make_mask
from cmrrecon.simulation import simulate
from cmrrecon.solvers import Solution


def cine(frames=6, pattern="kt-gaussian", acceleration=6, x=64):
    made = simulate("cine", frames=frames, slices=1, coils=5, y=64, x=x, seed=3)
    mask = make_mask(pattern, frames=frames, y=64, x=x, acceleration=acceleration, acs=12, seed=1)
    return Series(made.scan.series(0).kspace * mask[:, None], mask_of(mask))


def network(spoiled=0.0):
    torch.manual_seed(0)
    made = KtUnrolled(cascades=2, channels=8, blocks=1, solver_steps=2).eval()
    with torch.no_grad():
        made.unet.last.weight.normal_(std=spoiled)
    return made


@pytest.fixture
def given(monkeypatch):
    """What `auto` takes for the shipped network."""

    def give(made):
        monkeypatch.setattr(methods, "shipped_network", lambda: made)

    return give


def test_auto_tries_the_network_and_tells_both_errors(given):
    given(network())
    choice = find_method("auto").choose(cine())
    of_network, classical = choice.contest()
    assert of_network.method == "kt-unrolled"
    assert classical.method in find_method("auto").candidates
    assert of_network.error == min(trial.error for trial in choice.trials if trial.method == "kt-unrolled")
    assert of_network.iterations == 2
    assert 0 < choice.noise < classical.error
    assert Choice.from_dict(json.loads(json.dumps(choice.as_dict()))) == choice


def test_a_spoiled_network_is_left_alone(given):
    """The guard: a network that breaks on a scan does not reach its images."""
    series = cine()
    given(None)
    without = find_method("auto")(series)
    given(network(spoiled=3.0))
    choice = find_method("auto").choose(series)
    of_network, classical = choice.contest()
    assert of_network.error > 1.5 * classical.error
    assert choice.method != "kt-unrolled"
    assert choice.partner is None or choice.partner.method != "kt-unrolled"
    torch.testing.assert_close(find_method("auto")(series), without)


def test_a_network_that_gives_nan_is_left_alone(given):
    broken = network()
    with torch.no_grad():
        broken.unet.last.bias.fill_(float("nan"))
    given(broken)
    assert find_method("auto").choose(cine()).method in find_method("auto").candidates


def test_a_network_that_predicts_better_is_taken():
    """One that is as good as low rank, against SENSE."""
    series = cine()
    best = find_method("llr").function()

    def knows(problem, *, weight=1.0, iterations=100, monitor=None):
        return Solution(best(problem, weight=0.03, iterations=60).x, (0.0, 0.0))

    solvers = {"sense": find_method("sense").function(), "kt-unrolled": knows}
    choice = choose(series, normalisation(series), solvers, {"weight": "auto", "iterations": "auto", "coils": "auto"})
    assert choice.method == "kt-unrolled"


def test_without_weights_auto_is_classical(given):
    given(None)
    choice = find_method("auto").choose(cine())
    assert choice.contest() is None
    assert {trial.method for trial in choice.trials} == set(find_method("auto").candidates)


@pytest.mark.parametrize("options", [{"weight": 0.01}, {"iterations": 10}])
def test_settings_of_the_classical_methods_leave_the_network_out(given, options):
    given(network())
    assert find_method("auto").choose(cine(), options).contest() is None


@pytest.mark.parametrize(("frames", "pattern"), [(1, "uniform"), (2, "kt-uniform"), (3, "kt-radial")])
def test_auto_takes_part_with_any_frames_and_masks(given, frames, pattern):
    given(network())
    series = cine(frames=frames, pattern=pattern, acceleration=3)
    assert find_method("auto").choose(series).contest() is not None
    assert bool(torch.isfinite(torch.view_as_real(find_method("auto")(series))).all())


def test_auto_with_the_network_scales_with_kspace(given):
    given(network(spoiled=0.01))
    series = cine()
    images = find_method("auto")(series)
    torch.testing.assert_close(find_method("auto")(series.scaled(1e-7)) * 1e7, images, rtol=1e-2, atol=1e-3 * float(images.abs().max()))


def test_other_methods_know_of_no_network(given):
    given(network())
    assert {trial.method for trial in find_method("llr").choose(cine()).trials} == {"llr"}


def test_missing_weights_are_none(monkeypatch, tmp_path):
    monkeypatch.setattr(shipped, "FILE", tmp_path / "none.safetensors")
    assert shipped.shipped_network.__wrapped__() is None
    assert shipped.shipped_digest.__wrapped__() is None
