import pytest
import torch
from kinds import mask_of

from cmrrecon.data import Series
from cmrrecon.methods.holdout import hide
from cmrrecon.networks.e2e_varnet import E2EVarNet
from cmrrecon.networks.kt_unrolled import KtUnrolled
from cmrrecon.networks.unet import UNet
from cmrrecon.reconstruction import adapt as module
from cmrrecon.reconstruction.adapt import adapt
from cmrrecon.sampling import make_mask
from cmrrecon.simulation import simulate
from cmrrecon.tools.errors import UsageError


@pytest.fixture(scope="module")
def series():
    made = simulate("cine", frames=4, slices=1, coils=4, y=48, x=48, seed=3)
    mask = make_mask("kt-gaussian", frames=4, y=48, x=48, acceleration=3, acs=12, seed=1)
    return Series(made.scan.series(0).kspace * mask[:, None], mask_of(mask))


def network(kind="kt"):
    """Networks that know nothing: one with random weights, which spoils its starting point, and one that never was trained."""
    torch.manual_seed(0)
    if kind == "kt":
        made = KtUnrolled(cascades=2, channels=8, blocks=1, solver_steps=2).eval()
        torch.nn.init.normal_(made.unet.last.weight, std=0.3)
        return made
    return E2EVarNet(cascades=1, channels=4, pools=1, sensitivity_channels=4, sensitivity_pools=1).eval()


def run(kind, series, steps=10, seed=0):
    return adapt(network(kind), series, steps, lambda loss: None, seed)


@pytest.mark.parametrize("kind", ["kt", "varnet"])
def test_adaptation_helps_a_network_that_knows_nothing(series, kind):
    found = run(kind, series, 20)
    assert found.after < 0.999 * found.before
    assert found.steps > 0


@pytest.mark.parametrize("kind", ["kt", "varnet"])
def test_same_seed_same_weights(series, kind):
    first, again, other = (run(kind, series, 5, seed).network.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_the_given_network_stays_as_it_was(series):
    given = network()
    before = {key: value.clone() for key, value in given.state_dict().items()}
    adapt(given, series, 5, lambda loss: None)
    assert all(torch.equal(before[key], value) for key, value in given.state_dict().items())


def test_no_gain_keeps_the_weights_and_ends_early(series, monkeypatch):
    """Steps that make everything worse: the first weights are kept, and it stops after some looks."""
    monkeypatch.setattr(module, "RATE", 10.0)
    losses = []
    found = adapt(network(), series, 200, losses.append)
    assert found.steps == 0
    assert found.after == found.before
    assert len(losses) == module.LOOK_EVERY * module.PATIENCE
    given = network().state_dict()
    assert all(torch.equal(value, given[key]) for key, value in found.network.state_dict().items())


def test_the_three_parts_are_disjoint(series):
    judges = hide(series)
    rest = series.mask & ~judges
    generator = torch.Generator().manual_seed(0)
    drawn = [module._drawn(rest, generator) for _ in range(2)]
    for predicted in drawn:
        assert bool(predicted.any())
        assert not bool((predicted & judges).any())
        assert not bool((predicted & ~rest).any())
        assert bool((rest & ~predicted)[:, 18:30].all())
    assert not torch.equal(*drawn)


def test_a_network_without_kspace_is_refused(series):
    with pytest.raises(UsageError, match="no k-space"):
        adapt(UNet(channels=4, pools=1).eval(), series, 1, lambda loss: None)


def test_too_few_lines_are_told(series):
    mask = torch.zeros((1, 48, 1), dtype=torch.bool)
    mask[:, 18:30] = True
    with pytest.raises(UsageError, match="Too little"):
        adapt(network(), Series(series.kspace * mask[:, None], mask_of(mask)), 1, lambda loss: None)
