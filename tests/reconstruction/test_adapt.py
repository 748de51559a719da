"""A network that learns on a single scan, without ground truth."""

import pytest
import torch
from kinds import mask_of
from refusals import refused

from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.data import LineMask, Series
from cmrrecon.methods.holdout import hide
from cmrrecon.networks.e2e_varnet import E2EVarNet
from cmrrecon.networks.kt_unrolled import KtUnrolled
from cmrrecon.networks.unet import UNet
from cmrrecon.reconstruction import adapt as module
from cmrrecon.reconstruction.adapt import adapt
from cmrrecon.sampling import make_mask, undersample
from cmrrecon.simulation import simulate


@pytest.fixture(scope="module")
def series():
    made = simulate("cine", frames=4, slices=1, coils=4, y=48, x=48, seed=3)
    mask = make_mask("kt-gaussian", frames=4, y=48, x=48, acceleration=3, acs=12, seed=1)
    return Series(made.scan.series(0).kspace * mask[:, None], mask_of(mask))


@pytest.fixture(scope="module")
def prepared(series):
    return PreparedSeries(series)


def network(kind="kt"):
    """Untrained networks.

    One has random weights, which spoil its starting point; the other is as constructed.
    """
    torch.manual_seed(0)
    if kind == "kt":
        made = KtUnrolled(cascades=2, channels=8, blocks=1, solver_steps=2).eval()
        torch.nn.init.normal_(made.unet.last.weight, std=0.3)
        return made
    sizes = {"channels": 4, "pools": 1, "sensitivity_channels": 4, "sensitivity_pools": 1}
    return E2EVarNet(cascades=1, **sizes).eval()


def run(kind, prepared, steps=10, seed=0):
    return adapt(network(kind), prepared, steps, lambda step, loss: None, seed)


@pytest.mark.parametrize("kind", ["kt", "varnet"])
def test_adaptation_helps_an_untrained_network(prepared, kind):
    found = run(kind, prepared, 10)
    assert found.after < 0.999 * found.before
    assert found.steps > 0
    assert not found.network.training
    assert not any(p.requires_grad for p in found.network.parameters())


@pytest.mark.parametrize("kind", ["kt", "varnet"])
def test_same_seed_same_weights(prepared, kind):
    first, again, other = (run(kind, prepared, 5, seed).network.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_the_given_network_is_unchanged(prepared):
    given = network()
    before = {key: value.clone() for key, value in given.state_dict().items()}
    seen = []
    adapt(given, prepared, 5, lambda step, loss: seen.append(step))
    assert seen == [1, 2, 3, 4, 5]
    assert all(torch.equal(before[key], value) for key, value in given.state_dict().items())


def test_no_gain_keeps_the_weights_and_ends_early(prepared, monkeypatch):
    """Steps that make everything worse: the first weights are kept, and training stops soon."""
    monkeypatch.setattr(module, "RATE", 10.0)
    monkeypatch.setattr(module, "PATIENCE", 2)
    steps = []
    found = adapt(network(), prepared, 50, lambda step, loss: steps.append(step))
    assert found.steps == 0
    assert found.after == found.before
    assert len(steps) == module.VALIDATE_EVERY * module.PATIENCE
    given = network().state_dict()
    assert all(torch.equal(value, given[key]) for key, value in found.network.state_dict().items())


def test_the_parts_are_disjoint(series):
    validation = hide(series)
    rest = series.mask.without(validation)
    generator = torch.Generator().manual_seed(0)
    drawn = [module._drawn(rest, generator) for _ in range(2)]
    for predicted in drawn:
        assert bool(predicted.any())
        assert not bool((predicted & validation).any())
        assert not bool((predicted & ~rest.samples).any())
        assert bool((rest.samples & ~predicted)[:, 18:30].all())
    assert not torch.equal(*drawn)


@pytest.mark.parametrize("kind", ["kt", "varnet"])
def test_samples_that_compare_methods_are_not_used(prepared, kind):
    """The samples by which `auto` decides are not given, predicted or used for validation."""
    compared = hide(prepared.series)
    task = module._task(network(kind), prepared)
    assert not bool((task.rest.samples & compared).any())
    assert not bool((task.validation & compared).any())
    assert not bool((task.validation & task.rest.samples).any())
    together = task.rest.samples | task.validation | compared
    assert torch.equal(together, prepared.mask.samples)


def test_a_network_without_kspace_is_refused(prepared):
    with refused("not-adaptable"):
        adapt(UNet(channels=4, pools=1).eval(), prepared, 1, lambda step, loss: None)


def test_windows_without_calibration_lines_in_every_frame_are_refused():
    made = simulate("cine", frames=6, slices=1, coils=3, y=48, x=48, seed=0).scan
    series = undersample(made, "kt-uniform", 3, acs=0, seed=1).series(0)
    with refused("not-adaptable"):
        adapt(network("windows"), PreparedSeries(series), 1, lambda step, loss: None)


def test_too_few_lines_are_refused(series):
    lines = torch.zeros((1, 48, 1), dtype=torch.bool)
    lines[:, 18:30] = True
    few = PreparedSeries(Series(series.kspace * lines[:, None], LineMask(lines)))
    with refused("not-adaptable"):
        adapt(network(), few, 1, lambda step, loss: None)


def test_trajectories_are_refused():
    pytest.importorskip("finufft")
    made = simulate("cine", frames=3, slices=1, coils=3, y=32, x=32, spokes=9)
    with refused("needs-cartesian"):
        adapt(network(), PreparedSeries(made.scan.series(0)), 1, lambda step, loss: None)


def test_networks_can_learn_from_single_samples(series):
    mask = make_mask("kt-radial", frames=4, y=48, x=48, acceleration=3, acs=12, seed=1)
    radial = PreparedSeries(Series(series.kspace * mask[:, None], mask_of(mask)))
    found = adapt(network(), radial, 2, lambda step, loss: None)
    assert found.after <= found.before
