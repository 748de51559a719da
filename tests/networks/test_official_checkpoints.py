"""Checkpoints of the official repositories, complete and incomplete."""

import gzip
import json
import zipfile

import pytest
import torch
from refusals import refused
from safetensors.torch import save_file
from small_networks import SIZES, lightning_file, same, shapes_of

from cmrrecon.networks import catalog
from cmrrecon.networks.checkpoints import filling, layouts, promptmr_layout, weights
from cmrrecon.networks.checkpoints.facts import Given


@pytest.mark.parametrize(
    ("layout", "keys", "name", "expected"),
    [
        ("promptmr_default", 1910, "promptmr", {"cascades": 12, "frames": 5}),
        (
            "promptmrplus_v2_default",
            2126,
            "promptmr-plus",
            {"cascades": 12, "history": 11, "adaptive": True, "joint_maps": True},
        ),
    ],
)
def test_official_layouts_are_recognised_and_are_the_defaults(golden, layout, keys, name, expected):
    with gzip.open(golden / "statedict" / f"{layout}.json.gz") as file:
        shapes = {key: tuple(shape) for key, shape in json.load(file).items()}
    inferred = layouts.infer(shapes, Given("The list"))
    found, config = inferred.name, inferred.config
    assert (found, len(shapes)) == (name, keys)
    assert config.items() >= expected.items()

    with torch.device("meta"):
        made, default = catalog.build(found, config), catalog.build(name)
    assert shapes_of(made.state_dict()) == shapes
    assert list(made.state_dict()) == list(shapes)
    assert json.dumps(made.config) == json.dumps(default.config)
    without = {key: shape for key, shape in shapes.items() if ".CA." not in key}
    plain = layouts.infer(without, Given("The list")).config
    assert not plain["unet"]["attention"]
    assert not plain["sensitivity_unet"]["attention"]

    with torch.device("meta"):
        knee = catalog.build(found, plain)
    assert shapes_of(knee.state_dict()) == without
    if name == "promptmr":
        assert sum(p.numel() for p in made.parameters()) == 81_528_317
        assert sum(p.numel() for p in knee.parameters()) == 79_721_981


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("history", [0, 1])
def test_all_kinds_of_promptmr_plus_are_recognised(adaptive, joint, history):
    with torch.device("meta"):
        made = catalog.build(
            "promptmr-plus",
            {**SIZES, "adaptive": adaptive, "joint_maps": joint, "history": history},
        )

    inferred = layouts.infer(shapes_of(made.state_dict()), Given("It"))
    name, config = inferred.name, inferred.config
    assert name == ("promptmr-plus" if adaptive or joint or history else "promptmr")
    with torch.device("meta"):
        again = catalog.build(name, config)

    assert shapes_of(again.state_dict()) == shapes_of(made.state_dict())
    assert again.frames == 3


@pytest.mark.parametrize(
    ("name", "parameters", "asked", "variant", "why"),
    [
        ("promptmr", {"num_cascades": 2}, None, "kspace", "repository"),
        ("promptmr", {"num_cascades": 2}, "image", "image", "requested"),
        ("promptmr", {"n_history": 0, "n_buffer": 0}, None, "image", "default of PromptMR-plus"),
        ("promptmr-plus", {"num_cascades": 2}, None, "image", "repository"),
        ("promptmr-plus", {"model_version": "promptmr_v2"}, None, "image", "promptmr_v2"),
        ("promptmr-plus", {"model_version": "promptmr"}, None, "kspace", "promptmr"),
        ("promptmr-plus", {"model_version": "promptmr_v9"}, "kspace", "kspace", "requested"),
    ],
)
def test_official_lightning_files_load(
    networks, tmp_path, monkeypatch, name, parameters, asked, variant, why
):
    path = lightning_file(tmp_path / "a.ckpt", networks[name], parameters, monkeypatch)
    loaded = weights.load(path, asked)
    assert same(loaded.network, networks[name])
    assert loaded.network.variant == variant
    assert loaded.metadata["network"] == name
    assert why in loaded.metadata["variant_from"]
    assert (loaded.metadata["epoch"], loaded.metadata["global_step"]) == ("11", "258576")
    assert [p.requires_grad for p in loaded.network.parameters()] == [
        p.requires_grad for p in networks[name].parameters()
    ]


def test_a_checkpoint_without_its_last_cascade_is_refused(networks, tmp_path, monkeypatch):
    path = lightning_file(
        tmp_path / "a.ckpt", networks["promptmr"], {"num_cascades": 3}, monkeypatch
    )
    with refused("checkpoint-mismatch"):
        weights.load(path)


def test_an_unknown_model_version_needs_a_variant(networks, tmp_path, monkeypatch):
    path = lightning_file(
        tmp_path / "a.ckpt", networks["promptmr"], {"model_version": "promptmr_v9"}, monkeypatch
    )
    with refused("unknown-variant") as error:
        weights.load(path)
    assert "promptmr_v9" in str(error.value)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_bare_state_dicts_load_in_every_pickle_protocol(networks, tmp_path, protocol, kind):
    state = {key: value.to(kind) for key, value in networks["promptmr"].state_dict().items()}
    torch.save(state, tmp_path / "a.pth", pickle_protocol=protocol)
    loaded = weights.load(tmp_path / "a.pth").network
    assert all(
        value.dtype == torch.float32 and torch.equal(value, state[key].float())
        for key, value in loaded.state_dict().items()
    )


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "promptmr.module.", "promptmr._orig_mod.module."]
)
@pytest.mark.parametrize("key", [None, "state_dict", "model_state_dict", "model"])
def test_state_dicts_of_wrapped_networks_load(networks, tmp_path, prefix, key):
    network = networks["promptmr"]
    wrapped = {prefix + name: value for name, value in network.state_dict().items()}
    torch.save(wrapped if key is None else {key: wrapped, "epoch": 3}, tmp_path / "a.ckpt")
    assert same(weights.load(tmp_path / "a.ckpt").network, network)


def test_entries_that_differ_only_in_their_prefix_are_refused(networks, tmp_path):
    state = networks["promptmr"].state_dict()
    both = {**{"module." + name: value for name, value in state.items()}, **state}
    torch.save(both, tmp_path / "a.ckpt")
    with refused("checkpoint-mismatch"):
        weights.load(tmp_path / "a.ckpt")


def test_views_parameters_and_foreign_safetensors_load(networks, tmp_path):
    network = networks["promptmr-plus"]
    state = {
        key: torch.nn.Parameter(
            torch.stack([value, value])[1].mT.contiguous().mT if value.ndim > 1 else value
        )
        for key, value in network.state_dict().items()
    }
    torch.save(state, tmp_path / "a.pth")
    assert same(weights.load(tmp_path / "a.pth").network, network)
    save_file(
        {key: value.detach().clone().contiguous() for key, value in state.items()},
        tmp_path / "a.safetensors",
    )
    assert same(weights.load(tmp_path / "a.safetensors", "kspace").network, network)


def test_a_network_shares_no_memory_with_its_state_dict(networks):
    state = networks["promptmr"].state_dict()
    network = weights.from_state_dict(state)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert all(bool(value.any()) for value in state.values())


@pytest.mark.parametrize(
    ("change", "code", "named"),
    [
        (lambda s: s.pop("cascades.1.dc_weight"), "checkpoint-mismatch", "cascades.1.dc_weight"),
        (
            lambda s: s.update({"cascades.1.other": torch.ones(1)}),
            "checkpoint-mismatch",
            "cascades.1.other",
        ),
        (
            lambda s: s.update({"cascades.1.dc_weight": torch.ones(2)}),
            "checkpoint-mismatch",
            "dc_weight (2,), not (1,)",
        ),
        (
            lambda s: s.update({"cascades.1.dc_weight": torch.ones(1, dtype=torch.int64)}),
            "checkpoint-mismatch",
            "dc_weight int64",
        ),
        (
            lambda s: s.update({"cascades.1.dc_weight": torch.full((1,), torch.nan)}),
            "weights-not-finite",
            "cascades.1.dc_weight",
        ),
        (
            lambda s: s.update(
                {"cascades.1.dc_weight": torch.full((1,), 1e300, dtype=torch.float64)}
            ),
            "weights-not-finite",
            "cascades.1.dc_weight",
        ),
        (
            lambda s: s.update({"cascades.4000.dc_weight": torch.ones(1)}),
            "checkpoint-mismatch",
            "cascades.2.",
        ),
        (
            lambda s: s.update({"cascades.02.dc_weight": torch.ones(1)}),
            "checkpoint-mismatch",
            "cascades.2.",
        ),
        (
            lambda s: s.update({f"{promptmr_layout.MAPS}bottleneck.{'9' * 200}.a": torch.ones(1)}),
            "checkpoint-mismatch",
            "bottleneck.3.",
        ),
        (
            lambda s: s.update({"a" * 10**4: torch.ones(1)}),
            "checkpoint-mismatch",
            f" {'a' * 200}. ",
        ),
        (
            lambda s: s.pop(f"{promptmr_layout.MAPS}enc_level2.down.weight"),
            "checkpoint-mismatch",
            f"{promptmr_layout.MAPS}enc_level2.down.weight",
        ),
        (
            lambda s: s.pop(f"{promptmr_layout.MAPS}feat_extract.weight"),
            "checkpoint-mismatch",
            f"{promptmr_layout.MAPS}feat_extract.weight",
        ),
        (
            lambda s: s.update({"cascades.1.model.unet.bottleneck.0.body.1.weight": torch.ones(1)}),
            "checkpoint-mismatch",
            "bottleneck.0.body.1.weight",
        ),
        (
            lambda s: [s.pop(key) for key in list(s) if "bottleneck" in key],
            "checkpoint-mismatch",
            "bottleneck",
        ),
        (
            lambda s: [
                s.pop(key) for key in list(s) if "cascades.1" in key and "bottleneck" in key
            ],
            "checkpoint-mismatch",
            "12 more",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(networks, change, code, named):
    state = dict(networks["promptmr"].state_dict())
    change(state)
    with refused(code) as error:
        weights.from_state_dict(state)
    assert named in str(error.value)


def test_missing_blocks_are_reported_before_anything_is_built(networks, monkeypatch):
    monkeypatch.setattr(filling, "build", lambda *_: pytest.fail("a network was built"))
    state = dict(networks["promptmr"].state_dict())
    with refused("checkpoint-mismatch"):
        weights.from_state_dict({**state, "cascades.4000.dc_weight": torch.ones(1)})


def test_networks_with_more_blocks_than_tensors_are_not_built(networks):
    """A name per cascade and a name per block of the first cascade imply all blocks in all."""
    state = dict(networks["promptmr"].state_dict())
    state |= {f"cascades.{index}.dc_weight": torch.ones(1) for index in range(300)}
    state |= {
        f"{promptmr_layout.CASCADE}bottleneck.{index}.a": torch.ones(1) for index in range(300)
    }
    with refused("checkpoint-damaged"):
        weights.from_state_dict(state)


@pytest.mark.parametrize(
    "kind", [torch.float8_e4m3fn, torch.int32, torch.uint8, torch.bool, torch.complex64]
)
def test_wrong_types_are_reported(networks, tmp_path, kind):
    state = {
        key: value.detach().clone() for key, value in networks["promptmr"].state_dict().items()
    }
    state["cascades.1.dc_weight"] = state["cascades.1.dc_weight"].to(kind)
    save_file(state, tmp_path / "a.safetensors")

    for load in (
        lambda: weights.load(tmp_path / "a.safetensors"),
        lambda: weights.from_state_dict(state),
    ):
        with refused("checkpoint-mismatch") as error:
            load()
        assert f"cascades.1.dc_weight {str(kind).removeprefix('torch.')}" in str(error.value)

    own = {key: value.to(kind) for key, value in networks["unet"].state_dict().items()}
    save_file(
        own,
        tmp_path / "b.safetensors",
        {"network": "unet", "config": json.dumps(networks["unet"].config)},
    )
    with refused("checkpoint-mismatch"):
        weights.load(tmp_path / "b.safetensors")


def test_other_buffers_and_other_networks_are_refused(networks, tmp_path):
    shapes = shapes_of(networks["promptmr-plus"].state_dict())
    shapes["cascades.0.model.unet.feat_extract.weight"] = (4, 36, 3, 3)
    with refused("checkpoint-mismatch"):
        layouts.infer(shapes, Given("It"))
    torch.save(networks["unet"].state_dict(), tmp_path / "a.pth")
    with refused("checkpoint-mismatch"):
        weights.load(tmp_path / "a.pth")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.ckpt").write_text("these are not the weights you are looking for")
    (tmp_path / "empty.ckpt").touch()
    torch.save({"a": torch.ones(1)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    torch.save([1, 2], tmp_path / "list.pth")

    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    for name, code in [
        ("text.ckpt", "checkpoint-format"),
        ("empty.ckpt", "checkpoint-format"),
        ("missing.ckpt", "file-missing"),
        (".", "file-is-folder"),
        ("old.pth", "checkpoint-mismatch"),
        ("list.pth", "checkpoint-format"),
        ("other.zip", "checkpoint-damaged"),
    ]:
        with refused(code):
            weights.load(tmp_path / name)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_truncated_files_are_refused(networks, tmp_path, suffix):
    whole = tmp_path / f"whole{suffix}"
    if suffix == ".pth":
        torch.save(networks["promptmr"].state_dict(), whole)
    else:
        weights.save(whole, networks["promptmr"])

    data = whole.read_bytes()
    for part in (4, 9, 100, len(data) // 3, len(data) - 1000, len(data) - 1):
        (tmp_path / f"part{suffix}").write_bytes(data[:part])
        with refused(
            "checkpoint-format" if (suffix, part) == (".safetensors", 4) else "checkpoint-damaged"
        ) as error:
            weights.load(tmp_path / f"part{suffix}")
        assert f"part{suffix}" in str(error.value)
