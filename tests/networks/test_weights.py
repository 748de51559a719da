"""Saving and loading our own checkpoints."""

import copy
import json
import struct
import subprocess
import sys

import pytest
import torch
from refusals import refused
from safetensors import safe_open
from safetensors.torch import save_file
from small_networks import SMALL, UNET, same

from cmrrecon.networks import catalog
from cmrrecon.networks.checkpoints import filling, weights
from cmrrecon.tools.errors import OutputError


def test_the_catalogue_is_complete():
    assert set(SMALL) == set(catalog.NETWORKS)
    assert [entry.name for entry in catalog.NETWORKS.values() if entry.discriminator] == [
        "patch-gan"
    ]


@pytest.mark.parametrize("name", SMALL)
def test_own_files_restore_the_same_network(networks, tmp_path, name):
    network = networks[name]
    weights.save(
        tmp_path / "a.safetensors",
        network,
        {"recipe": "mine", "metrics": {"psnr": 40.5}, "anything": "é"},
    )
    loaded = weights.load(tmp_path / "a.safetensors")
    assert type(loaded.network) is type(network)
    assert same(loaded.network, network)
    assert json.dumps(loaded.network.config) == json.dumps(network.config)
    assert [p.requires_grad for p in loaded.network.parameters()] == [
        p.requires_grad for p in network.parameters()
    ]
    metadata = loaded.metadata
    assert (metadata["network"], metadata["recipe"], metadata["anything"]) == (name, "mine", "é")
    assert json.loads(metadata["metrics"]) == {"psnr": 40.5}
    assert metadata["cmrrecon"]
    weights.save(
        tmp_path / "b.safetensors",
        loaded.network,
        {key: metadata[key] for key in ("recipe", "metrics", "anything")},
    )
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_files_have_the_default_permissions(networks, tmp_path):
    weights.save(tmp_path / "a.safetensors", networks["unet"])
    (tmp_path / "plain").touch()
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_shared_parameters_are_stored_once_and_shared_again(networks, tmp_path):
    weights.save(tmp_path / "a.safetensors", networks["promptmr"])
    network = weights.load(tmp_path / "a.safetensors").network
    assert len(list(network.parameters())) == len(list(networks["promptmr"].parameters()))
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert len(file.keys()) == len(list(network.parameters()))


def test_a_variant_can_be_chosen_for_own_files(networks, tmp_path):
    weights.save(tmp_path / "a.safetensors", networks["promptmr"])
    assert weights.load(tmp_path / "a.safetensors", "image").network.variant == "image"
    weights.save(tmp_path / "b.safetensors", networks["unet"])
    with refused("unknown-variant"):
        weights.load(tmp_path / "b.safetensors", "image")
    with refused("unknown-variant"):
        weights.load(tmp_path / "a.safetensors", "images")


def test_failed_saving_leaves_no_files(networks, tmp_path):
    with refused("unknown-network"):
        weights.save(tmp_path / "a.safetensors", torch.nn.Linear(1, 1))
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        weights.save(tmp_path / "file" / "a.safetensors", networks["unet"])
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError):
        weights.save(tmp_path / "folder", networks["unet"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(
    ("changes", "code", "named"),
    [
        ({"network": "promptmrr"}, "checkpoint-damaged", "promptmr"),
        ({"config": "{"}, "checkpoint-damaged", ""),
        ({"config": "[]"}, "checkpoint-damaged", ""),
        ({"config": '{"cascades": 100000}'}, "checkpoint-damaged", "cascades"),
        ({"config": '{"cascades": "2"}'}, "checkpoint-damaged", ""),
        (
            {"network": "fidelity-unet", "config": '{"repeats": 4000}'},
            "checkpoint-damaged",
            "24 tensors for 4000 repeats",
        ),
        (
            {"network": "lf-mri", "config": '{"stages": 4000}'},
            "checkpoint-damaged",
            "24 tensors for 4000 stages",
        ),
        ({"config": '{"channels": 0, "pools": 4000}'}, "checkpoint-damaged", "24 tensors"),
        ({"network": "a" * 10**4}, "checkpoint-damaged", ""),
        ({"config": '{"channel": 4}'}, "checkpoint-damaged", "channel"),
        ({"config": '{"channels": 4, "pools": 4000}'}, "checkpoint-damaged", ""),
        (
            {"config": '{"channels": 8}'},
            "checkpoint-mismatch",
            "unet.encoder.0.0.weight (4, 1, 3, 3), not (8, 1, 3, 3)",
        ),
    ],
)
def test_false_headers_are_refused(networks, tmp_path, changes, code, named):
    state = {key: value.contiguous() for key, value in networks["unet"].state_dict().items()}
    save_file(
        state,
        tmp_path / "a.safetensors",
        {"network": "unet", "config": json.dumps(networks["unet"].config), **changes},
    )

    with refused(code) as error:
        weights.load(tmp_path / "a.safetensors")
    assert named in str(error.value)
    assert len(error.value.found) < 1000


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("promptmr", {"cascades": 50, "unet": UNET}),
        ("promptmr", {"cascades": 1, "unet": {**UNET, "encoder_blocks": [500, 500, 500]}}),
        ("promptmr-plus", {"cascades": 1, "sensitivity_unet": {**UNET, "bottleneck_blocks": 500}}),
        ("genre-cmr", {"cascades": 50, "unet": UNET}),
        ("e2e-varnet", {"cascades": 60}),
        ("lf-mri", {"stages": 60}),
        ("lf-mri", {"stages": 1, "channels": [1] * 500}),
    ],
)
def test_networks_with_more_layers_than_tensors_are_not_built(tmp_path, monkeypatch, name, config):
    made = []
    original = torch.nn.Conv2d.reset_parameters
    monkeypatch.setattr(
        torch.nn.Conv2d, "reset_parameters", lambda self: made.append(self) or original(self)
    )
    save_file(
        {f"{key}": torch.ones(1) for key in range(60)},
        tmp_path / "a.safetensors",
        {"network": name, "config": json.dumps(config)},
    )

    with refused("checkpoint-damaged"):
        weights.load(tmp_path / "a.safetensors")
    assert len(made) < 1000


def test_files_with_too_many_tensors_are_refused(networks, tmp_path, monkeypatch):
    weights.save(tmp_path / "a.safetensors", networks["unet"])
    monkeypatch.setattr(filling, "MOST_TENSORS", 23)
    with refused("checkpoint-damaged"):
        weights.load(tmp_path / "a.safetensors")


def test_deeply_nested_configurations_are_refused(tmp_path):
    for depth in range(700, 1001, 2):
        config = '{"unet": {"dims": ' + "[" * depth + "]" * depth + "}}"
        save_file(
            {"a": torch.ones(1)},
            tmp_path / "a.safetensors",
            {"network": "promptmr", "config": config},
        )
        with refused("checkpoint-damaged"):
            weights.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("shape", "code"),
    [
        ([2**62, 0, 2**62], "checkpoint-mismatch"),
        ([2**63, 0], "checkpoint-damaged"),
        ([1] * 1000, "checkpoint-mismatch"),
    ],
)
def test_odd_shapes_in_safetensors_are_refused(tmp_path, shape, code):
    path = tmp_path / "a.safetensors"
    size = 0 if 0 in shape else 4
    header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
    with refused(code):
        weights.load(path)


@pytest.mark.parametrize("declared", [0, 40, 2**40, 2**64 - 1])
def test_bad_safetensors_headers_are_refused(tmp_path, declared):
    path = tmp_path / "a.safetensors"
    header = b'{"a":{"dtype":"F32","shape":[1000000],"data_offsets":[0,4000000]}}'
    path.write_bytes(struct.pack("<Q", declared or len(header)) + header)
    with refused("checkpoint-damaged"):
        weights.load(path)


def test_own_files_of_any_precision_load_in_single_precision(networks, tmp_path):
    for kind in (torch.float64, torch.bfloat16, torch.float16):
        weights.save(tmp_path / "a.safetensors", copy.deepcopy(networks["lf-mri"]).to(kind))
        loaded = weights.load(tmp_path / "a.safetensors").network
        assert {value.dtype for value in loaded.state_dict().values()} == {torch.float32}


def test_loading_does_not_import_the_compiler():
    """It takes a second, and `torch.Tensor.normal_` without memory would import it."""
    code = (
        "import sys; from cmrrecon.methods.shipped import load_shipped; load_shipped(); "
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_shipped_weights_are_small_and_documented():
    """The package contains the weights, at most 5 MB, and their card, marked for research use."""
    ((path, metadata),) = weights.installed().items()
    assert path.name == "kt-unrolled.safetensors"
    assert path.stat().st_size < 5e6
    assert (path.parent / metadata["card"]).read_text().startswith("# kt-unrolled")
    assert "not for diagnosis" in metadata["use"]
    assert set(json.loads(metadata["envelope"])) == {
        "frames",
        "effective_acceleration",
        "snr_db",
        "independent_coils",
    }
    assert weights.load(path).metadata["network"] == "kt-unrolled"
