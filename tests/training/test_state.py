"""Steps that cannot be taken."""

import pytest
import torch

from cmrrecon.errors import NumericalError
from cmrrecon.training import checkpoint, loop, recipe
from cmrrecon.training.plan import Plan
from cmrrecon.training.state import MOST_BAD_STEPS, MOST_RETURNS, Run

SETTINGS = [
    "network.cascades=1", "network.channels=2", "network.pools=1", "network.sensitivity_channels=2", "network.sensitivity_pools=1",
    "schedule.average=0.9",
]  # fmt: skip


def a_run():
    return Run(recipe.load("e2e-varnet", SETTINGS), torch.device("cpu"), loop.ALONE, Plan())


def spoil(run, value=float("nan")):
    for parameter in run.network.parameters():
        parameter.grad = torch.full_like(parameter, value)


def weights(run):
    return [parameter.clone() for parameter in run.network.parameters()]


def same(found, expected):
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_step_without_finite_gradients_is_left_out(value):
    run = a_run()
    before = weights(run)
    spoil(run, value)
    run.update()
    assert same(weights(run), before)
    assert (run.step, run.bad_steps, run.returns) == (1, 1, 0)
    spoil(run, 0.1)
    run.update()
    assert not same(weights(run), before)
    assert (run.step, run.bad_steps) == (2, 0)


@pytest.mark.parametrize("kept", [True, False])
def test_after_several_of_them_weights_go_back_and_the_rate_is_halved(tmp_path, kept):
    run = a_run()
    rate = run.set_rate()
    if kept:
        spoil(run, 0.1)
        run.update()
        checkpoint.save(tmp_path / "epoch.pt", run.state())
    expected = weights(run)
    spoil(run, 0.1)
    run.update()
    assert not same(weights(run), expected)
    steps = run.step
    for _ in range(MOST_BAD_STEPS):
        spoil(run)
        run.update(tmp_path / "epoch.pt")
    assert same(weights(run), expected)
    assert (run.step, run.bad_steps, run.returns) == (steps + MOST_BAD_STEPS, 0, 1)
    assert run.set_rate() == rate / 2
    assert run.optimisers[0].param_groups[0]["lr"] == rate / 2


def test_it_ends_when_going_back_does_not_help():
    run = a_run()
    for _ in range(MOST_BAD_STEPS * (MOST_RETURNS + 1) - 1):
        spoil(run)
        run.update()
    spoil(run)
    with pytest.raises(NumericalError, match="halved 4 times"):
        run.update()
