"""Checkpoints of SDUM: the published sizes, incomplete files, and what shapes do not show."""

import json

import numpy as np
import pytest
import torch
from golden_sdum import facts_of, published_shapes, weights_of
from refusals import refused
from small_networks import SMALL, same, shapes_of

from cmrrecon.networks import catalog
from cmrrecon.networks.checkpoints import layouts, sdum_layout, weights
from cmrrecon.networks.checkpoints.facts import Given
from cmrrecon.networks.sdum_labels import ALL_MODALITIES, MODALITIES

BASE = {"acq_types": MODALITIES}


def as_published(network, prefix="recon_model."):
    return {f"{prefix}{key}": value.clone() for key, value in network.state_dict().items()}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return catalog.build("sdum", SMALL["sdum"])


@pytest.mark.parametrize(
    ("size", "cascades", "prefix", "modalities"),
    [
        ("small", 6, "", ALL_MODALITIES),
        ("base", 18, "recon_model.", MODALITIES),
        ("large", 34, "recon_model.", MODALITIES),
    ],
)
def test_published_networks_are_recognised_by_names_and_shapes(
    golden, size, cascades, prefix, modalities
):
    facts = published_shapes(golden / "sdum", size)
    shapes = {key: tuple(shape) for key, shape in facts["shapes"].items()}
    inferred = layouts.infer(shapes, Given("The list"))
    assert inferred.name == "sdum"
    assert inferred.config["cascades"] == cascades
    assert inferred.config["conditioned"] == bool(prefix)
    assert inferred.config["modalities"] == list(modalities)

    with torch.device("meta"):
        made = catalog.build("sdum", inferred.config)
    assert {
        f"{prefix}{key}": shape for key, shape in shapes_of(made.state_dict()).items()
    } == shapes
    assert sum(p.numel() for p in made.parameters()) == facts["parameters"]
    assert len(shapes) == facts["tensors"]

    official = {**facts["config"], "acq_types": list(modalities)}
    assert layouts.infer(shapes, Given("The list", release=official)).config == inferred.config


def test_the_default_is_the_published_base(golden):
    with torch.device("meta"):
        made = catalog.build("sdum")
    shapes = published_shapes(golden / "sdum", "base")["shapes"]
    ours = {f"recon_model.{key}": list(value.shape) for key, value in made.state_dict().items()}
    assert ours == shapes


def test_every_golden_network_loads_from_its_state_dict(golden):
    for folder in sorted((golden / "sdum").glob("*_*/")):
        if not (folder / "shapes.json").is_file() or "full" in folder.name:
            continue
        official = facts_of(folder)["config"]
        loaded = weights.from_state_dict(weights_of(folder), release=official)
        assert len(loaded.cascades) == official["num_cascades"]
        assert loaded.config["heads"] == official["num_heads"]


def test_a_training_file_loads_and_nothing_in_it_is_executed(network, tmp_path):
    torch.save(
        {
            "net_state_dict": as_published(network),
            "epoch": 3,
            "global_step": 99,
            "optimizer_state_dict": {"state": {0: {"exp_avg": torch.ones(2)}}},
            "numpy_rng_state": np.random.RandomState(0).get_state(),
            "python_rng_state": (3, tuple(range(9)), None),
            "torch_rng_state": torch.get_rng_state(),
        },
        tmp_path / "nv.pt",
    )
    with refused("release-missing") as error:
        weights.load(tmp_path / "nv.pt")
    assert "acq_types" in str(error.value)
    loaded = weights.load(tmp_path / "nv.pt", release=BASE).network
    assert same(loaded, network)
    assert loaded.config == network.config

    weights.save(tmp_path / "ours.safetensors", loaded)
    again = weights.load(tmp_path / "ours.safetensors").network
    assert same(again, network)
    assert again.config == network.config


def test_networks_without_a_condition_need_no_release(tmp_path):
    network = catalog.build("sdum", {**SMALL["sdum"], "conditioned": False})
    torch.save({"net_state_dict": as_published(network, "")}, tmp_path / "small.pt")
    loaded = weights.load(tmp_path / "small.pt").network
    assert same(loaded, network)
    assert loaded.modalities == ALL_MODALITIES


@pytest.mark.parametrize(
    ("change", "code", "named"),
    [
        (
            lambda s: s.pop("recon_model.cascades.1.dc_weight_map"),
            "checkpoint-mismatch",
            "dc_weight",
        ),
        (
            lambda s: s.update({"recon_model.cascades.0.extra": torch.ones(1)}),
            "checkpoint-mismatch",
            "cascades.0.extra",
        ),
        (lambda s: s.update({"other": torch.ones(1)}), "checkpoint-mismatch", "other"),
        (
            lambda s: s.update({"cascades.1.dc_weight_map": torch.ones(1)}),
            "checkpoint-mismatch",
            "cascades.1.dc_weight_map",
        ),
        (
            lambda s: s.update(
                {f"recon_model.cascades.{n}.dc_weight_map": torch.ones(2, 5, 1, 9, 9, 1)
                 for n in range(2)}
            ),
            "checkpoint-mismatch",
            "2 patterns",
        ),
        (
            lambda s: s.update(
                {"recon_model.cascades.1.recon_model.output.weight": torch.ones(10, 9, 3, 3)}
            ),
            "checkpoint-mismatch",
            "output.weight",
        ),
        (
            lambda s: [s.pop(key) for key in list(s) if ".cascades.0." in key],
            "checkpoint-mismatch",
            "encoders",
        ),
        (
            lambda s: s.update(
                {f"recon_model.cascades.5.{key.split('.', 3)[3]}": value
                 for key, value in list(s.items()) if ".cascades.0." in key}
            ),
            "checkpoint-mismatch",
            "cascades.2.",
        ),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_are_named(network, change, code, named):
    state = as_published(network)
    change(state)
    with refused(code) as error:
        weights.from_state_dict(state, release=BASE)
    assert named in str(error.value)


@pytest.mark.parametrize(
    ("release", "code"),
    [
        (None, "release-missing"),
        ({}, "release-missing"),
        (layouts.preset("sdum-small"), "checkpoint-mismatch"),
        (layouts.preset("sdum-large"), "checkpoint-mismatch"),
        ({"acq_types": []}, "checkpoint-mismatch"),
        ({"acq_types": "Cine"}, "checkpoint-mismatch"),
        ({"acq_types": [1]}, "checkpoint-mismatch"),
        ({"acq_types": ["Cine"], "num_cascades": 18}, "checkpoint-mismatch"),
        ({"acq_types": ["Cine"], "channels": [4, 8]}, "checkpoint-mismatch"),
        ({"acq_types": ["Cine"], "flow": False}, "checkpoint-mismatch"),
    ],
)
def test_the_modalities_must_come_from_the_release_of_the_same_network(network, release, code):
    with refused(code):
        weights.from_state_dict(as_published(network), release=release)


def test_modalities_come_from_the_release(network):
    release = {"acq_types": ["Cine", "Brain"], "num_cascades": 2, "num_heads": [1, 2]}
    loaded = weights.from_state_dict(as_published(network), release=release)
    assert loaded.modalities == ("Cine", "Brain")


def test_the_configuration_beside_a_checkpoint_is_read(network, tmp_path):
    """The official configurations are JSON files."""
    torch.save({"net_state_dict": as_published(network)}, tmp_path / "a.pt")
    beside = tmp_path / "a.json"
    beside.write_text(json.dumps({"acq_types": list(MODALITIES), "flow": True}))
    assert weights.load(tmp_path / "a.pt").network.modalities == MODALITIES

    for text in ("[1]", "{", "[" * 100000, "{}" + " " * 2**16, '{"acq_types": NaN'):
        beside.write_text(text)
        with refused("release-damaged"):
            weights.load(tmp_path / "a.pt")


def test_other_networks_are_not_mistaken_for_it(networks):
    for name, other in networks.items():
        assert sdum_layout.recognises(shapes_of(other.state_dict())) == (name == "sdum")
