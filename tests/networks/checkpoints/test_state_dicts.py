"""Which weights of a checkpoint are loaded: keys, prefixes and moving averages."""

import random

import numpy as np
import pytest
import torch
from refusals import refused
from safetensors.torch import save_file
from small_networks import same

from cmrrecon.networks.checkpoints import foreign, torch_files, weights
from cmrrecon.networks.checkpoints.state_dicts import AVERAGE_KEYS, STATE_KEYS


@pytest.fixture
def plain(networks):
    return dict(networks["promptmr"].state_dict())


@pytest.fixture
def averaged(plain):
    """A moving average of the weights, which differs from them."""
    return {key: value + 1 for key, value in plain.items()}


def loads(path, content, expected):
    """Save a content, load it, and return the metadata if the weights are the expected ones."""
    torch.save(content, path)
    loaded = weights.load(path)
    state = loaded.network.state_dict()
    assert all(torch.equal(state[key], value) for key, value in expected.items())
    return loaded.metadata


@pytest.mark.parametrize(
    "path", [[key] for key in STATE_KEYS] + [["model", "state_dict"], ["state_dict"] * 3]
)
def test_state_dicts_under_the_usual_keys_load(plain, tmp_path, path):
    content = plain
    for key in path:
        content = {key: content, "epoch": 3, "optimizer": {"state": {}}}
    metadata = loads(tmp_path / "a.pt", content, plain)
    assert metadata["epoch"] == "3"
    assert "copy" not in metadata


@pytest.mark.parametrize("prefix", ["module._orig_mod.", "_orig_mod.module.", "model.module."])
def test_prefixes_of_several_wrappers_are_removed(plain, tmp_path, prefix):
    loads(tmp_path / "a.pt", {prefix + key: value for key, value in plain.items()}, plain)


@pytest.mark.parametrize("key", AVERAGE_KEYS)
@pytest.mark.parametrize("inner", [None, "shadow", "state_dict"])
def test_a_moving_average_takes_precedence_and_is_named(plain, averaged, tmp_path, key, inner):
    content = {"model": plain, key: averaged if inner is None else {inner: averaged, "decay": 0.9}}
    metadata = loads(tmp_path / "a.pt", content, averaged)
    assert key in metadata["copy"]
    assert "not model" in metadata["copy"]


def test_averages_without_names_are_not_used(plain, averaged, tmp_path):
    content = {"model": plain, "ema": {"decay": 0.9, "shadow_params": list(averaged.values())}}
    assert "copy" not in loads(tmp_path / "a.pt", content, plain)


def test_the_averaged_model_of_torch_loads(networks, tmp_path):
    average = torch.optim.swa_utils.AveragedModel(networks["promptmr"])
    torch.save(average.state_dict(), tmp_path / "a.pt")
    assert same(weights.load(tmp_path / "a.pt").network, networks["promptmr"])


def test_the_average_of_lightning_is_named(plain, averaged, tmp_path):
    wrapped, plain_wrapped = (
        {f"promptmr.{key}": value for key, value in state.items()} for state in (averaged, plain)
    )
    content = {
        "state_dict": wrapped,
        "current_model_state": plain_wrapped,
        "averaging_state": {"n_averaged": torch.tensor(7)},
    }
    assert "current_model_state" in loads(tmp_path / "a.ckpt", content, averaged)["copy"]


@pytest.mark.parametrize(
    ("ours", "theirs", "more"),
    [
        ("promptmr.", "ema.module.", {"ema.n_averaged": torch.tensor(7)}),
        ("online_model.", "ema_model.", {"initted": torch.tensor(True), "step": torch.tensor(7)}),
        ("", "model_ema.", {}),
    ],
)
def test_averages_within_a_state_dict_are_used_alone(plain, averaged, tmp_path, ours, theirs, more):
    content = {
        **{ours + key: value for key, value in plain.items()},
        **{theirs + key: value for key, value in averaged.items()},
        **more,
    }
    assert theirs.split(".")[0] in loads(tmp_path / "a.pt", content, averaged)["copy"]


def test_an_incomplete_average_is_not_completed_with_plain_weights(plain, averaged, tmp_path):
    averaged.pop("cascades.1.dc_weight")
    torch.save({"model": plain, "ema": averaged}, tmp_path / "a.pt")
    with refused("checkpoint-mismatch") as error:
        weights.load(tmp_path / "a.pt")
    assert "cascades.1.dc_weight" in str(error.value)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "promptmr.", "model."])
def test_prefixes_of_some_entries_only_are_refused(plain, tmp_path, prefix):
    keys = list(plain)
    mixed = {(prefix if key in keys[::2] else "") + key: plain[key] for key in keys}
    torch.save(mixed, tmp_path / "a.pt")
    with refused("checkpoint-mismatch") as error:
        weights.load(tmp_path / "a.pt")
    assert prefix in str(error.value)
    assert keys[1] in str(error.value)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module."])
@pytest.mark.parametrize("flat", [False, True])
def test_the_state_dicts_of_direct_are_joined(tmp_path, prefix, flat):
    model = {f"{prefix}rho": torch.ones(2), f"{prefix}blocks.0.weight": torch.zeros(3)}
    maps = {f"{prefix}conv.weight": torch.full((1,), 5.0)}
    content = {"model": model, "sensitivity_model": maps, "__version__": "2.2.0"}
    if flat:
        content = {
            f"{part}.{key}": value
            for part in ("model", "sensitivity_model")
            for key, value in content[part].items()
        }
    torch.save(content, tmp_path / "a.pt")
    tensors, others, copy = torch_files.read(tmp_path / "a.pt", lambda shapes: None)
    entries = foreign.entries_of(tensors)
    assert list(entries) == ["rho", "blocks.0.weight", "sensitivity_model.conv.weight"]
    assert entries["sensitivity_model.conv.weight"].item() == 5
    assert foreign.entries_of(entries) == entries
    assert (others, copy) == ({} if flat else {"__version__": "2.2.0"}, "")


def test_other_networks_of_direct_are_not_dropped(tmp_path):
    state = {"a": torch.ones(1)}
    torch.save({"model": state, "sampling_model": state}, tmp_path / "a.pt")
    tensors, _, _ = torch_files.read(tmp_path / "a.pt", lambda shapes: None)
    assert list(tensors) == ["a", "sampling_model.a"]


def test_a_training_file_like_those_of_sdum_loads(networks, plain, tmp_path):
    optimiser = torch.optim.AdamW(networks["promptmr"].parameters())
    content = {
        "epoch": 7,
        "global_step": 1000,
        "net_state_dict": plain,
        "optimizer_state_dict": optimiser.state_dict(),
        "scaler_state_dict": {},
        "best_metric": 0.5,
        "wandb_run_id": None,
        "python_rng_state": random.getstate(),
        "numpy_rng_state": np.random.RandomState(0).get_state(),
        "torch_rng_state": torch.get_rng_state(),
    }
    metadata = loads(tmp_path / "a.pt", content, plain)
    assert (metadata["epoch"], metadata["global_step"]) == ("7", "1000")


def test_prefixes_are_removed_in_safetensors_too(networks, plain, tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({f"module.{key}": value.clone() for key, value in plain.items()}, path)
    assert same(weights.load(path).network, networks["promptmr"])


@pytest.mark.parametrize("key", ["ema", "model_ema"])
@pytest.mark.parametrize("path", [[], ["callbacks"], ["training", "callbacks"]])
@pytest.mark.parametrize("inner", [[], ["state_dict"]])
def test_averages_of_the_networks_of_direct_are_used_wherever_they_are(tmp_path, key, path, inner):
    def networks(value):
        return {
            "model": {"rho": torch.full((2,), value)},
            "sensitivity_model": {"conv.weight": torch.full((2,), value)},
        }

    content = networks(2.0)
    for name in reversed([*path, key, *inner]):
        content = {name: content}
    torch.save({**networks(1.0), **content}, tmp_path / "a.pt")
    tensors, _, copy = torch_files.read(tmp_path / "a.pt", lambda shapes: None)
    assert {name: value[0].item() for name, value in tensors.items()} == {
        "rho": 2,
        "sensitivity_model.conv.weight": 2,
    }
    assert ".".join([*path, key]) in copy


@pytest.mark.parametrize("nested", [True, False])
def test_an_average_of_one_network_of_direct_is_refused(tmp_path, nested):
    average = {"rho": torch.zeros(2)}
    content = {
        "model": {"rho": torch.ones(2)},
        "sensitivity_model": {"conv.weight": torch.ones(2)},
        "ema": {"model": average} if nested else average,
    }
    torch.save(content, tmp_path / "a.pt")
    with refused("checkpoint-mismatch") as error:
        torch_files.read(tmp_path / "a.pt", lambda shapes: None)
    assert "sensitivity_model" in str(error.value)


def test_averages_within_the_state_dicts_of_direct_are_named(tmp_path):
    state = {"rho": torch.ones(2), "ema.rho": torch.zeros(2)}
    torch.save({"model": state, "sensitivity_model": {"a": torch.ones(2)}}, tmp_path / "a.pt")
    tensors, _, copy = torch_files.read(tmp_path / "a.pt", lambda shapes: None)
    assert tensors["rho"][0] == 0
    assert "model.ema." in copy


def test_an_average_below_other_prefixes_is_named(plain, averaged, tmp_path):
    content = {f"module.{key}": value for key, value in plain.items()}
    content |= {f"module.ema.{key}": value for key, value in averaged.items()}
    assert "module.ema." in loads(tmp_path / "a.pt", content, averaged)["copy"]
