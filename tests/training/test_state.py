"""Steps with non-finite gradients, and what the state of a run remembers."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from refusals import refused

from cmrrecon.losses.distribution_alignment import symmetric_divergence
from cmrrecon.networks.labelled import Labels
from cmrrecon.training import checkpoint, loop, recipe
from cmrrecon.training.batch import Batch
from cmrrecon.training.plan import Plan
from cmrrecon.training.state import MOST_BAD_STEPS, MOST_RETURNS, Run, update_average

SETTINGS = [
    "network.cascades=1",
    "network.channels=2",
    "network.pools=1",
    "network.sensitivity_channels=2",
    "network.sensitivity_pools=1",
    "schedule.average=0.9",
]


SDUM = [
    "network.cascades=2",
    "network.frames=1",
    "network.channels=[4,8]",
    "network.blocks=[2,1]",
    "network.map_features=[2,2,2,2,2]",
    "network.map_size=[32,34]",
]
UNET = "{features=4, dims=[4,4,4], prompt_dims=[2,2,2], prompt_lengths=[2,2,2], prompt_sizes=[4,4,4], encoder_blocks=[1,1,1], decoder_blocks=[1,1,1], skip_blocks=[1,1,1], bottleneck_blocks=1}"  # noqa: E501
GENRE = ["network.cascades=1", f"network.unet={UNET}", f"network.sensitivity_unet={UNET}"]


def a_run():
    return Run(recipe.load("e2e-varnet", SETTINGS), torch.device("cpu"), loop.ALONE, Plan())


def spoil(run, value=float("nan")):
    for parameter in run.network.parameters():
        parameter.grad = torch.full_like(parameter, value)


def weights(run):
    return [parameter.clone() for parameter in run.network.parameters()]


def same(found, expected):
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_what_a_network_draws_depends_on_process_and_batch_alone():
    run = Run(recipe.load("sdum", SDUM), torch.device("cpu"), loop.ALONE, Plan())
    kspace = torch.randn(1, 1, 2, 32, 34, dtype=torch.complex64)
    mask = torch.ones(1, 1, 32, 1, dtype=torch.bool)
    nothing = torch.zeros(1)
    labels = (Labels("uniform", 8, "Cine"),)
    batch = Batch(kspace, mask, 8, nothing, nothing, nothing, "", nothing, nothing, labels=labels)

    def outputs():
        images = []
        for run.position in range(6):
            images.append(run.output_of(batch).image.detach())
        return images

    first = outputs()
    torch.rand(3)
    assert all(map(torch.equal, first, outputs()))
    assert any(not torch.equal(first[0], other) for other in first[1:])

    run.group = replace(loop.ALONE, rank=1)
    assert not all(map(torch.equal, first, outputs()))


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
def test_after_several_bad_steps_weights_return_and_the_rate_is_halved(tmp_path, kept):
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


def test_training_ends_if_returning_does_not_help():
    run = a_run()
    for _ in range(MOST_BAD_STEPS * (MOST_RETURNS + 1) - 1):
        spoil(run)
        run.update()
    spoil(run)
    with refused("gradients-not-finite"):
        run.update()


def test_a_running_average_counts_shared_parameters_once():
    shared = torch.nn.PReLU()
    network = torch.nn.Sequential(shared, torch.nn.Linear(1, 1), shared, shared)
    average = copy.deepcopy(network)
    with torch.no_grad():
        shared.weight.fill_(1.25)
    update_average(average, network, 0.9)
    assert average[0].weight.item() == pytest.approx(0.9 * 0.25 + 0.1 * 1.25)


def test_a_failing_batch_leaves_the_statistics_alone():
    run = Run(recipe.load("genre-cmr", GENRE), torch.device("cpu"), loop.ALONE, Plan())
    for number in range(4):
        value = float("nan") if number == 2 else 1.0
        features = (value * torch.rand(1, 3, 4, 4),)
        run.objective.alignment(features, f"domain {number}")
        run.objective.weighting(
            {"fidelity": torch.tensor(value), "ear": torch.tensor(0.5), "sda": None}
        )
    state = run.objective.state_dict()
    assert len(state["alignment"]["banks"][0]) == 3
    assert all(
        bool(torch.isfinite(part).all())
        for _, *moments in state["alignment"]["banks"][0]
        for part in moments
    )
    assert all(
        math.isfinite(value) for values in state["weighting"].values() for value in values.values()
    )


def test_stored_features_match_those_of_another_device():
    own, known = ((torch.rand(3), torch.rand(3)) for _ in range(2))
    assert symmetric_divergence(tuple(part.to("meta") for part in own), known).device.type == "meta"
