"""The plan that follows from scans, network and memory."""

import math

import pytest
import torch

from cmrrecon.networks.catalog import build
from cmrrecon.training import plan, recipe
from cmrrecon.training.plan import make_plan, window_bytes

CPU = torch.device("cpu")
SMALL = ["network.cascades=2", "schedule.batch=0"]
# Few blocks, since the cost of an estimate is its number of operations.
BLOCKS = "encoder_blocks=[1,1,1], decoder_blocks=[1,1,1], skip_blocks=[1,1,1], bottleneck_blocks=1"


def entry(coils=4, y=64, x=96, frames=12, slices=2, empty=()):
    return {"shape": [frames, slices, coils, y, x], "empty_slices": list(empty)}


def window_of(recipe, shape, *, checkpointing):
    """Memory of a window: 0.25 GiB for 4 x 64 x 96, a quarter of it with checkpointing."""
    return int(0.25 * 2**30 * math.prod(shape) / (4 * 64 * 96) / (4 if checkpointing else 1))


def planned(monkeypatch, gigabytes, *settings, name="promptmr", entries=None, **asked):
    """The plan for a device with this memory, and windows as large as `window_of` gives."""
    monkeypatch.setattr(plan, "device_memory", lambda device: int(gigabytes * 2**30))
    monkeypatch.setattr(plan, "window_bytes", window_of)
    return make_plan(recipe.load(name, [*SMALL, *settings]), entries or [entry()], CPU, **asked)


@pytest.mark.parametrize("maps", ["frame", "middle"])
def test_the_estimate_matches_training(maps):
    """Activations that autograd keeps in a real pass make up most of the estimate."""
    chosen, kept = recipe.load("promptmr", ["network.cascades=2", f"schedule.maps={maps}"]), {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    network = build("promptmr", {"cascades": 2}).train()
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        kspace = torch.randn(1, 5, 3, 40, 56, dtype=torch.complex64)
        mask = torch.ones(1, 5, 40, 1, dtype=torch.bool)
        known = network.middle_maps(kspace, mask, 16) if maps == "middle" else None
        output = network(kspace, mask, 16, known)
    measured = sum(size for pointer, size in kept.items() if pointer not in weights)
    estimated = window_bytes(chosen, (3, 40, 56), checkpointing=False)
    assert output.image.requires_grad
    assert measured <= 1.02 * estimated
    assert estimated < 1.6 * measured


@pytest.mark.parametrize(
    ("name", "coils"), [("promptmr", 4), ("promptmr-plus", 10), ("genre-cmr", 4)]
)
def test_checkpointing_needs_much_less_memory(name, coils):
    blocks = [f"network.{unet}={{{BLOCKS}}}" for unet in ("unet", "sensitivity_unet")]
    more = ["network.history=2"] if name == "promptmr-plus" else []
    chosen = recipe.load(name, ["network.cascades=3", *blocks, *more])
    shape = (coils, 160, 192)
    assert window_bytes(chosen, shape, checkpointing=True) < 0.4 * window_bytes(
        chosen, shape, checkpointing=False
    )


def test_more_memory_gives_larger_batches(monkeypatch):
    rich, poor = (
        planned(monkeypatch, memory, entries=[entry(), entry(coils=12)]) for memory in (500, 6)
    )
    assert set(rich.batches) == {"4x64x96", "12x64x96"}
    assert set(rich.batches.values()) == {plan.MOST_WINDOWS}
    assert rich.checkpointing is poor.checkpointing is False
    assert 1 <= poor.batches["12x64x96"] < poor.batches["4x64x96"] < plan.MOST_WINDOWS
    assert poor.step_mb < poor.device_mb


def test_the_recipe_and_rare_scans_limit_the_batch(monkeypatch):
    assert planned(monkeypatch, 500, "schedule.batch=3").batches == {"4x64x96": 3}
    assert planned(monkeypatch, 500, entries=[entry(frames=5, slices=2, empty=(0,))]).batches == {
        "4x64x96": 5
    }


def test_little_memory_turns_checkpointing_on_unless_it_is_refused(monkeypatch):
    assert planned(monkeypatch, 1.8).checkpointing
    assert not planned(monkeypatch, 1.8, checkpointing=False).checkpointing
    assert planned(monkeypatch, 500, checkpointing=True).checkpointing
    assert (
        planned(monkeypatch, 1.8).step_mb < planned(monkeypatch, 1.8, checkpointing=False).step_mb
    )


def test_precision_is_full_on_a_cpu_unless_given(monkeypatch):
    assert planned(monkeypatch, 500).precision == "fp32"
    assert planned(monkeypatch, 500, "schedule.precision=bf16").precision == "bf16"
    assert planned(monkeypatch, 500, workers=3).workers == 3


def test_whole_series_are_planned_singly_without_an_estimate(monkeypatch):
    made = planned(monkeypatch, 500, name="kt-unrolled")
    assert (made.batch((4, 64, 96)), made.step_mb, made.precision) == (1, 0, "bf16")


# Networks for whole series train on one at a time, without an estimate.
@pytest.mark.parametrize("name", sorted({*recipe.names()} - {"kt-unrolled", "quick", "vsharp-3d"}))
def test_every_recipe_can_be_planned(monkeypatch, name):
    chosen = recipe.load(name)
    short = recipe.load(
        name, [f"network.{key}=1" for key in ("cascades", "stages") if key in chosen.network]
    )
    assert window_bytes(short, (2, 48, 48), checkpointing=False) > 2 * 48 * 48 * 8
