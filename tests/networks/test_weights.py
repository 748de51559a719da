"""Checkpoints in and out: own files, official ones, and files that were made to do harm."""

import argparse
import collections
import copy
import functools
import gzip
import importlib.machinery
import io
import json
import operator
import os
import pathlib
import pickle
import posix
import runpy
import struct
import subprocess
import sys
import types
import zipfile

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from cmrrecon.networks import catalog
from cmrrecon.networks.checkpoints import filling, layouts, pickles, torch_files, weights
from cmrrecon.tools.errors import InputError, OutputError, UsageError

UNET = {"features": 4, "dims": [8, 12, 16], "prompt_dims": [4, 4, 8], "prompt_lengths": [3, 3, 3], "prompt_sizes": [8, 4, 2]}
SIZES = {"cascades": 2, "frames": 3, "unet": UNET, "sensitivity_unet": UNET}
SMALL = {
    "promptmr": SIZES,
    "promptmr-plus": {**SIZES, "history": 1},
    "genre-cmr": {**SIZES, "gate": "one"},
    "sr-gan": SIZES,
    "hypercmr": SIZES,
    "e2e-varnet": {"cascades": 2},
    "unet": {"channels": 4},
    "fidelity-unet": {"channels": 4},
    "lf-mri": {"stages": 2, "sensitivity_unet": UNET},
    "kt-unrolled": {"cascades": 2, "channels": 8, "blocks": 1},
    "patch-gan": {"channels": 4},
}


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    return {name: catalog.build(name, config) for name, config in SMALL.items()}


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return list(a) == list(b) and all(torch.equal(value, b[key]) for key, value in a.items())


def shapes_of(state_dict):
    return {key: tuple(value.shape) for key, value in state_dict.items()}


# Own files


def test_the_catalogue_is_whole():
    assert set(SMALL) == set(catalog.NETWORKS)
    assert [entry.name for entry in catalog.NETWORKS.values() if entry.discriminator] == ["patch-gan"]


@pytest.mark.parametrize("name", SMALL)
def test_own_files_give_the_same_network_back(networks, tmp_path, name):
    network = networks[name]
    weights.save(tmp_path / "a.safetensors", network, {"recipe": "mine", "metrics": {"psnr": 40.5}, "anything": "é"})
    loaded = weights.load(tmp_path / "a.safetensors")
    assert type(loaded.network) is type(network)
    assert same(loaded.network, network)
    assert json.dumps(loaded.network.config) == json.dumps(network.config)
    assert [p.requires_grad for p in loaded.network.parameters()] == [p.requires_grad for p in network.parameters()]
    said = loaded.metadata
    assert (said["network"], said["recipe"], said["anything"]) == (name, "mine", "é")
    assert json.loads(said["metrics"]) == {"psnr": 40.5}
    assert said["cmrrecon"]
    weights.save(tmp_path / "b.safetensors", loaded.network, {key: said[key] for key in ("recipe", "metrics", "anything")})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_shared_parameters_are_stored_once_and_shared_again(networks, tmp_path):
    weights.save(tmp_path / "a.safetensors", networks["promptmr"])
    network = weights.load(tmp_path / "a.safetensors").network
    assert len(list(network.parameters())) == len(list(networks["promptmr"].parameters()))
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert len(file.keys()) == len(list(network.parameters()))


def test_a_variant_can_be_asked_of_own_files(networks, tmp_path):
    weights.save(tmp_path / "a.safetensors", networks["promptmr"])
    assert weights.load(tmp_path / "a.safetensors", "image").network.variant == "image"
    weights.save(tmp_path / "b.safetensors", networks["unet"])
    with pytest.raises(UsageError, match="no variants"):
        weights.load(tmp_path / "b.safetensors", "image")
    with pytest.raises(UsageError, match="kspace, image"):
        weights.load(tmp_path / "a.safetensors", "images")


def test_what_cannot_be_saved_leaves_nothing_behind(networks, tmp_path):
    with pytest.raises(UsageError, match="Linear"):
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
    ("changes", "said"),
    [
        ({"network": "promptmrr"}, "promptmr"),
        ({"config": "{"}, "damaged"),
        ({"config": "[]"}, "no mapping"),
        ({"config": '{"cascades": 100000}'}, "cascades"),
        ({"config": '{"cascades": "2"}'}, "describes no network"),
        ({"network": "fidelity-unet", "config": '{"repeats": 4000}'}, "24 tensors for 4000 repeats"),
        ({"network": "lf-mri", "config": '{"stages": 4000}'}, "24 tensors for 4000 stages"),
        ({"config": '{"channels": 0, "pools": 4000}'}, "network of many more"),
        ({"network": "a" * 10**4}, r"describes no network \(.{200}\)\. The networks are"),
        ({"config": '{"channel": 4}'}, "no parameter 'channel'"),
        ({"config": '{"channels": 4, "pools": 4000}'}, "cannot be made"),
        ({"config": '{"channels": 8}'}, "wrong shapes"),
    ],
)
def test_headers_that_lie_are_refused(networks, tmp_path, changes, said):
    state = {key: value.contiguous() for key, value in networks["unet"].state_dict().items()}
    save_file(state, tmp_path / "a.safetensors", {"network": "unet", "config": json.dumps(networks["unet"].config), **changes})
    with pytest.raises(InputError, match=said):
        weights.load(tmp_path / "a.safetensors")


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
def test_more_layers_than_a_file_has_tensors_are_not_made(tmp_path, monkeypatch, name, config):
    made = []
    original = torch.nn.Conv2d.reset_parameters
    monkeypatch.setattr(torch.nn.Conv2d, "reset_parameters", lambda self: made.append(self) or original(self))
    save_file({f"{key}": torch.ones(1) for key in range(60)}, tmp_path / "a.safetensors", {"network": name, "config": json.dumps(config)})
    with pytest.raises(InputError, match="60 tensors for a network of many more"):
        weights.load(tmp_path / "a.safetensors")
    assert len(made) < 1000


def test_files_of_too_many_tensors_are_refused(networks, tmp_path, monkeypatch):
    weights.save(tmp_path / "a.safetensors", networks["unet"])
    monkeypatch.setattr(filling, "MOST_TENSORS", 23)
    with pytest.raises(InputError, match=r"It has 24 tensors.* more than 23"):
        weights.load(tmp_path / "a.safetensors")


def test_deep_configurations_are_refused(tmp_path):
    for depth in range(700, 1001, 2):
        config = '{"unet": {"dims": ' + "[" * depth + "]" * depth + "}}"
        save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors", {"network": "promptmr", "config": config})
        with pytest.raises(InputError, match=r"a\.safetensors"):
            weights.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize("shape", [[2**62, 0, 2**62], [2**63, 0], [1] * 1000])
def test_odd_shapes_in_safetensors_are_refused(tmp_path, shape):
    path = tmp_path / "a.safetensors"
    size = 0 if 0 in shape else 4
    header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
    with pytest.raises(InputError, match=r"a\.safetensors"):
        weights.load(path)


@pytest.mark.parametrize("declared", [0, 40, 2**40, 2**64 - 1])
def test_bad_safetensors_headers_are_refused(tmp_path, declared):
    path = tmp_path / "a.safetensors"
    header = b'{"a":{"dtype":"F32","shape":[1000000],"data_offsets":[0,4000000]}}'
    path.write_bytes(struct.pack("<Q", declared or len(header)) + header)
    with pytest.raises(InputError, match="damaged"):
        weights.load(path)


# Official checkpoints


@pytest.mark.parametrize(
    ("layout", "keys", "name", "expected"),
    [
        ("promptmr_default", 1910, "promptmr", {"cascades": 12, "frames": 5}),
        ("promptmrplus_v2_default", 2126, "promptmr-plus", {"cascades": 12, "history": 11, "adaptive": True, "joint_maps": True}),
    ],
)
def test_official_layouts_are_recognised_and_are_the_defaults(golden, layout, keys, name, expected):
    with gzip.open(golden / "statedict" / f"{layout}.json.gz") as file:
        shapes = {key: tuple(shape) for key, shape in json.load(file).items()}
    found, config = layouts.infer(shapes, "The list")
    assert (found, len(shapes)) == (name, keys)
    assert config.items() >= expected.items()
    with torch.device("meta"):
        made, default = catalog.build(found, config), catalog.build(name)
    assert shapes_of(made.state_dict()) == shapes
    assert list(made.state_dict()) == list(shapes)
    assert json.dumps(made.config) == json.dumps(default.config)
    without = {key: shape for key, shape in shapes.items() if ".CA." not in key}
    plain = layouts.infer(without, "The list")[1]
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
def test_every_kind_of_promptmr_plus_is_recognised(adaptive, joint, history):
    with torch.device("meta"):
        made = catalog.build("promptmr-plus", {**SIZES, "adaptive": adaptive, "joint_maps": joint, "history": history})
    name, config = layouts.infer(shapes_of(made.state_dict()), "It")
    assert name == ("promptmr-plus" if adaptive or joint or history else "promptmr")
    with torch.device("meta"):
        again = catalog.build(name, config)
    assert shapes_of(again.state_dict()) == shapes_of(made.state_dict())
    assert again.frames == 3


def lightning_file(path, network, parameters, monkeypatch, **more):
    """A checkpoint as PyTorch Lightning writes it, with classes that are gone when it is read."""
    module = types.ModuleType("lightning_fake")
    module.AttributeDict = type("AttributeDict", (dict,), {"__module__": module.__name__})
    module.Ordered = type("Ordered", (collections.OrderedDict,), {"__module__": module.__name__})
    state = module.Ordered({f"promptmr.{key}": value for key, value in network.state_dict().items()})
    state["loss.w"] = torch.ones(1, 1, 7, 7) / 49
    optimiser = torch.optim.AdamW(network.parameters())
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)
        torch.save(
            {
                "epoch": 11,
                "global_step": 258576,
                "pytorch-lightning_version": "2.1.0",
                "state_dict": state,
                "optimizer_states": [optimiser.state_dict()],
                "hyper_parameters": module.AttributeDict(
                    **parameters, data_path=pathlib.PurePosixPath("/data"), arguments=argparse.Namespace(lr=2e-4), dtype=torch.float32
                ),
                **more,
            },
            path,
        )
    return path


@pytest.mark.parametrize(
    ("name", "parameters", "asked", "variant", "why"),
    [
        ("promptmr", {"num_cascades": 2}, None, "kspace", "repository"),
        ("promptmr", {"num_cascades": 2}, "image", "image", "asked"),
        ("promptmr", {"n_history": 0, "n_buffer": 0}, None, "image", "default of PromptMR-plus"),
        ("promptmr-plus", {"num_cascades": 2}, None, "image", "repository"),
        ("promptmr-plus", {"model_version": "promptmr_v2"}, None, "image", "promptmr_v2"),
        ("promptmr-plus", {"model_version": "promptmr"}, None, "kspace", "promptmr"),
        ("promptmr-plus", {"model_version": "promptmr_v9"}, "kspace", "kspace", "asked"),
    ],
)
def test_official_lightning_files_load(networks, tmp_path, monkeypatch, name, parameters, asked, variant, why):
    path = lightning_file(tmp_path / "a.ckpt", networks[name], parameters, monkeypatch)
    loaded = weights.load(path, asked)
    assert same(loaded.network, networks[name])
    assert loaded.network.variant == variant
    assert loaded.metadata["network"] == name
    assert why in loaded.metadata["variant_from"]
    assert (loaded.metadata["epoch"], loaded.metadata["global_step"]) == ("11", "258576")
    assert [p.requires_grad for p in loaded.network.parameters()] == [p.requires_grad for p in networks[name].parameters()]


def test_a_checkpoint_without_its_last_cascade_is_refused(networks, tmp_path, monkeypatch):
    path = lightning_file(tmp_path / "a.ckpt", networks["promptmr"], {"num_cascades": 3}, monkeypatch)
    with pytest.raises(InputError, match="2 cascades of 3"):
        weights.load(path)


def test_an_unknown_model_version_is_asked_about(networks, tmp_path, monkeypatch):
    path = lightning_file(tmp_path / "a.ckpt", networks["promptmr"], {"model_version": "promptmr_v9"}, monkeypatch)
    with pytest.raises(InputError, match="promptmr_v9"):
        weights.load(path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_bare_state_dicts_load_in_every_pickle_protocol(networks, tmp_path, protocol, kind):
    state = {key: value.to(kind) for key, value in networks["promptmr"].state_dict().items()}
    torch.save(state, tmp_path / "a.pth", pickle_protocol=protocol)
    loaded = weights.load(tmp_path / "a.pth").network
    assert all(value.dtype == torch.float32 and torch.equal(value, state[key].float()) for key, value in loaded.state_dict().items())


def test_own_files_of_any_precision_become_single(networks, tmp_path):
    for kind in (torch.float64, torch.bfloat16, torch.float16):
        weights.save(tmp_path / "a.safetensors", copy.deepcopy(networks["lf-mri"]).to(kind))
        loaded = weights.load(tmp_path / "a.safetensors").network
        assert {value.dtype for value in loaded.state_dict().values()} == {torch.float32}


def test_views_parameters_and_foreign_safetensors_load(networks, tmp_path):
    network = networks["promptmr-plus"]
    state = {
        key: torch.nn.Parameter(torch.stack([value, value])[1].mT.contiguous().mT if value.ndim > 1 else value)
        for key, value in network.state_dict().items()
    }
    torch.save(state, tmp_path / "a.pth")
    assert same(weights.load(tmp_path / "a.pth").network, network)
    save_file({key: value.detach().clone().contiguous() for key, value in state.items()}, tmp_path / "a.safetensors")
    assert same(weights.load(tmp_path / "a.safetensors", "kspace").network, network)


def test_a_network_shares_nothing_with_the_state_dict_it_was_made_of(networks):
    state = networks["promptmr"].state_dict()
    network = weights.from_state_dict(state)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert all(bool(value.any()) for value in state.values())


# Wrong ones


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("cascades.1.dc_weight"), "lacks: cascades.1.dc_weight"),
        (lambda s: s.update({"cascades.1.other": torch.ones(1)}), "too many: cascades.1.other"),
        (lambda s: s.update({"cascades.1.dc_weight": torch.ones(2)}), r"cascades.1.dc_weight \(2,\), not \(1,\)"),
        (lambda s: s.update({"cascades.1.dc_weight": torch.ones(1, dtype=torch.int64)}), "types: cascades.1.dc_weight"),
        (lambda s: s.update({"cascades.1.dc_weight": torch.full((1,), torch.nan)}), "NaN or infinity in cascades.1.dc_weight"),
        (
            lambda s: s.update({"cascades.1.dc_weight": torch.full((1,), 1e300, dtype=torch.float64)}),
            "NaN or infinity in cascades.1.dc_weight",
        ),
        (lambda s: s.update({"cascades.4000.dc_weight": torch.ones(1)}), r"lacks the block cascades\.2\., and has a later one"),
        (lambda s: s.update({"cascades.02.dc_weight": torch.ones(1)}), r"lacks the block cascades\.2\."),
        (lambda s: s.update({f"{layouts.MAPS}bottleneck.{'9' * 200}.a": torch.ones(1)}), r"lacks the block .*bottleneck\.3\."),
        (lambda s: s.update({"a" * 10**4: torch.ones(1)}), "too many: a{200}\\. "),
        (lambda s: s.pop("sens_net.norm_unet.unet.enc_level2.down.weight"), "lacks sens_net.norm_unet.unet.enc_level2.down.weight"),
        (lambda s: s.pop("sens_net.norm_unet.unet.feat_extract.weight"), "another network"),
        (lambda s: s.update({"cascades.1.model.unet.bottleneck.0.body.1.weight": torch.ones(1)}), "different values"),
        (lambda s: [s.pop(key) for key in list(s) if "bottleneck" in key], "lacks all blocks .*bottleneck"),
        (lambda s: [s.pop(key) for key in list(s) if "cascades.1" in key and "bottleneck" in key], "lacks: .*, .*, .* and 12 more"),
    ],
)
def test_what_does_not_fit_is_named(networks, change, said):
    state = dict(networks["promptmr"].state_dict())
    change(state)
    with pytest.raises(InputError, match=said):
        weights.from_state_dict(state)


def test_blocks_that_are_missing_are_told_before_anything_is_built(networks, monkeypatch):
    monkeypatch.setattr(filling, "build", lambda *_: pytest.fail("a network was built"))
    state = dict(networks["promptmr"].state_dict())
    with pytest.raises(InputError, match="lacks the block"):
        weights.from_state_dict({**state, "cascades.4000.dc_weight": torch.ones(1)})


@pytest.fixture(autouse=True)
def gradients_stay_on():
    yield
    assert torch.is_grad_enabled()


def test_more_blocks_than_tensors_are_not_made(networks):
    """A name for each cascade, and one for each block of the first cascade, ask for all blocks in all cascades."""
    state = dict(networks["promptmr"].state_dict())
    state |= {f"cascades.{index}.dc_weight": torch.ones(1) for index in range(300)}
    state |= {f"{layouts.CASCADE}bottleneck.{index}.a": torch.ones(1) for index in range(300)}
    with pytest.raises(InputError, match="tensors for a network of many more"):
        weights.from_state_dict(state)


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.int32, torch.uint8, torch.bool, torch.complex64])
def test_numbers_of_other_types_are_told(networks, tmp_path, kind):
    state = {key: value.detach().clone() for key, value in networks["promptmr"].state_dict().items()}
    state["cascades.1.dc_weight"] = state["cascades.1.dc_weight"].to(kind)
    said = f"wrong types: cascades.1.dc_weight {str(kind).removeprefix('torch.')}.* of the types float16, bfloat16, float32, float64"
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=said):
        weights.load(tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=said):
        weights.from_state_dict(state)
    own = {key: value.to(kind) for key, value in networks["unet"].state_dict().items()}
    save_file(own, tmp_path / "b.safetensors", {"network": "unet", "config": json.dumps(networks["unet"].config)})
    with pytest.raises(InputError, match="wrong types: "):
        weights.load(tmp_path / "b.safetensors")


def test_another_buffer_and_another_network_are_refused(networks, tmp_path):
    shapes = shapes_of(networks["promptmr-plus"].state_dict())
    shapes["cascades.0.model.unet.feat_extract.weight"] = (4, 36, 3, 3)
    with pytest.raises(InputError, match="36 channels for 3 frames"):
        layouts.infer(shapes, "It")
    torch.save(networks["unet"].state_dict(), tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"a\.pth is of another network"):
        weights.load(tmp_path / "a.pth")


def test_files_that_are_no_checkpoints_are_refused(tmp_path):
    (tmp_path / "text.ckpt").write_text("these are not the weights you are looking for")
    (tmp_path / "empty.ckpt").touch()
    torch.save({"a": torch.ones(1)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    torch.save([1, 2], tmp_path / "list.pth")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    for name, said in [
        ("text.ckpt", "no checkpoint"),
        ("empty.ckpt", "no checkpoint"),
        ("missing.ckpt", "No such file"),
        ("old.pth", "before version 1.6"),
        ("list.pth", "no state dict"),
        ("other.zip", "no checkpoint"),
    ]:
        with pytest.raises(InputError, match=said):
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
        with pytest.raises(InputError, match=f"part{suffix}"):
            weights.load(tmp_path / f"part{suffix}")


# Hostile ones


def rebuilt(path, target, change, compression=zipfile.ZIP_STORED):
    """A copy of a torch file whose pickle was changed."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w", compression) as archive:
        for entry in source.infolist():
            data = source.read(entry)
            archive.writestr(entry.filename, change(data) if entry.filename.endswith("data.pkl") else data)
    return target


class Payload:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def payloads(folder):
    """Calls that would each leave `folder`/marker behind; `script` and `hubconf` make it too."""
    marker = str(folder / "marker")
    script = folder / "hubconf.py"
    script.write_text(f"open({marker!r}, 'w').close()\ndef entry(): pass\n")
    code = f"open({marker!r}, 'w').close()"
    loader = importlib.machinery.SourceFileLoader("made_up", str(script))
    return {
        "os.system": Payload(os.system, f"touch {marker}"),
        "posix.system": Payload(posix.system, f"touch {marker}"),
        "subprocess": Payload(subprocess.call, ["touch", marker]),
        "popen": Payload(subprocess.getoutput, f"touch {marker}"),
        "eval": Payload(eval, code),
        "exec": Payload(exec, code),
        "partial": Payload(functools.partial(open, marker, "w")),
        "methodcaller": Payload(operator.methodcaller("touch"), pathlib.Path(marker)),
        "bound method": Payload(pathlib.Path(marker).touch),
        "runpy": Payload(runpy.run_path, str(script)),
        "importlib": Payload(loader.load_module),
        "torch.hub": Payload(functools.partial(torch.hub.load, str(folder), "entry", source="local")),
        "nested": Payload(list, [{"a": (Payload(os.system, f"touch {marker}"),)}]),
    }


NAMES = [
    "os.system",
    "posix.system",
    "subprocess",
    "popen",
    "eval",
    "exec",
    "partial",
    "methodcaller",
    "bound method",
    "runpy",
    "importlib",
]
NAMES += ["torch.hub", "nested"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", NAMES)
def test_no_code_in_a_checkpoint_is_executed(networks, tmp_path, monkeypatch, name, protocol):
    marker = tmp_path / "marker"
    hostile = pickle.dumps(payloads(tmp_path)[name], protocol)
    pickle.loads(hostile)
    assert marker.exists(), "the payload works where pickles are executed"
    marker.unlink()
    plain = tmp_path / "plain.pth"
    torch.save(networks["promptmr"].state_dict(), plain)
    (tmp_path / "bare.pth").write_bytes(hostile)
    rebuilt(plain, tmp_path / "whole.pth", lambda data: hostile)
    torch.save({"state_dict": payloads(tmp_path)[name]}, tmp_path / "state.pth", pickle_protocol=protocol)
    torch.save({"cascades.0.dc_weight": payloads(tmp_path)[name]}, tmp_path / "tensor.pth", pickle_protocol=protocol)
    for file in ("bare", "whole", "state", "tensor"):
        with pytest.raises(InputError):
            weights.load(tmp_path / f"{file}.pth")
    # Beside good weights it is passed over.
    more = {"callbacks": payloads(tmp_path)[name]}
    beside = lightning_file(tmp_path / "beside.ckpt", networks["promptmr"], {"a": payloads(tmp_path)[name]}, monkeypatch, **more)
    assert same(weights.load(beside).network, networks["promptmr"])
    assert not marker.exists()


def test_code_stays_unknown_to_the_interpreter():
    """Assigning to what a pickle names, the way around lists of allowed functions, meets only our own inert objects."""
    before = dict(vars(pickles.Foreign))
    for name in (b"collections\nOrderedDict", b"torch._utils\n_rebuild_tensor_v2", b"builtins\ngetattr"):
        pickles.interpret(b"\x80\x02c" + name + b"\n}X\x08\x00\x00\x00__call__K\x01sb.")
    assert dict(vars(pickles.Foreign)) == before


def tensor_pickle(shape, stride, length, offset=0):
    """The pickle of {"a": tensor} with a storage of `length` numbers."""

    class Storage:
        pass

    class Pickler(pickle._Pickler):
        def persistent_id(self, value):
            return ("storage", torch.FloatStorage, "0", "cpu", length) if isinstance(value, Storage) else None

    class View:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (Storage(), offset, shape, stride, False, collections.OrderedDict())

    buffer = io.BytesIO()
    Pickler(buffer, 2).dump({layouts.CASCADE + "feat_extract.weight": View()})
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("shape", "stride", "length", "offset"),
    [
        ((2**20, 2**20), (0, 0), 4, 0),
        ((4,), (1,), 2**40, 0),
        ((4,), (2,), 4, 0),
        ((4,), (1,), 4, 1),
        ((4,), (-1,), 4, 0),
        ((2, 2), (1,), 4, 0),
        ((2**61, 2**61), (1, 1), 4, 0),
    ],
)
def test_tensors_that_claim_too_much_are_refused(tmp_path, monkeypatch, shape, stride, length, offset):
    torch.save({"a": torch.arange(4.0)}, tmp_path / "a.pth")
    changed = rebuilt(tmp_path / "a.pth", tmp_path / "b.pth", lambda data: tensor_pickle(shape, stride, length, offset))
    with pytest.raises(InputError, match=r"b\.pth"):
        torch_files.read(changed, lambda shapes: None)
    honest = rebuilt(tmp_path / "a.pth", tmp_path / "c.pth", lambda data: tensor_pickle((2, 2), (1, 2), 4))
    (value,) = torch_files.read(honest, lambda shapes: None)[0].values()
    assert value.tolist() == [[0, 2], [1, 3]]


def nested(depth):
    """A tuple whose text has 2 ** depth brackets, and whose pickle is short."""
    return functools.reduce(lambda value, _: (value, value), range(depth), ())


@pytest.mark.parametrize(
    ("value", "shown"),
    [(nested(18), "type tuple"), (10**5000, "type int"), ("x" * 10**5, "x{200}'[. ]"), (2.5, "float")],
    ids=["tuples", "number", "text", "float"],
)
def test_hyper_parameters_are_shown_in_short(networks, tmp_path, monkeypatch, value, shown):
    path = lightning_file(tmp_path / "a.ckpt", networks["promptmr"], {"model_version": value}, monkeypatch)
    with pytest.raises(InputError, match=f"model version .*{shown}"):
        weights.load(path)
    path = lightning_file(tmp_path / "b.ckpt", networks["promptmr"], {"num_cascades": value}, monkeypatch)
    with pytest.raises(InputError, match=f"2 cascades of .*{shown}"):
        weights.load(path)
    path = lightning_file(tmp_path / "c.ckpt", networks["promptmr"], {}, monkeypatch, epoch=value)
    assert weights.load(path).metadata.get("epoch", "of type int") == "of type int"


def test_tensors_of_one_storage_do_not_keep_it_and_read_it_once(tmp_path, monkeypatch):
    whole = torch.arange(10**6)
    torch.save(
        {f"{index}": whole[index : index + 2] for index in range(300)} | {"again": whole[1:3], "t": whole[:6].view(2, 3).mT},
        tmp_path / "a.pth",
    )
    read = []
    original = zipfile.ZipFile.read
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda self, entry: read.append(entry.filename) or original(self, entry))
    tensors, _ = torch_files.read(tmp_path / "a.pth", lambda shapes: None)
    assert len([name for name in read if "/data/" in name]) == 1
    assert list(tensors) == [*map(str, range(300)), "again", "t"]
    assert all(tensors[f"{index}"].tolist() == [index, index + 1] for index in range(300))
    assert tensors["t"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert all(value.untyped_storage().nbytes() == value.nbytes and value.is_contiguous() for value in tensors.values())
    tensors["1"].zero_()
    assert tensors["again"].tolist() == [1, 2]


def test_tensors_larger_than_the_file_together_are_refused(tmp_path):
    whole = torch.zeros(10**6)
    torch.save({f"{index}": whole for index in range(300)}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="larger than the file"):
        torch_files.read(tmp_path / "a.pth", lambda shapes: None)


def test_bombs_of_repetition_in_pickles_are_refused():
    deep = b")" + b"2\x86" * 18
    for pickle_, said in [
        # A class named by nested tuples, and by a long text.
        (b"\x80\x04" + deep + b"\x8c\x01a\x93.", "no name"),
        (b"\x80\x04\x8c\x01a" + deep + b"\x93.", "no name"),
        (b"\x80\x04X\x00\x10\x00\x00" + b"a" * 4096 + b"q\x00h\x00\x93.", "no name"),
        # Many objects with all the attributes of one.
        (
            b"\x80\x04}(" + b"".join(b"\x8c\x02%02dN" % index for index in range(100)) + b"uq\x00" + b"\x8fh\x00b" * 1000 + b".",
            "attributes",
        ),
        # Numbers of any length as places, all of the same hash.
        (b"\x80\x02Np%d\n." % (2**61 - 1), "PUT"),
        (b"\x80\x02I%d\n." % 10**4000, "INT"),
    ]:
        with pytest.raises(ValueError, match=said):
            pickles.interpret(pickle_)
    # Each comparison of long keys, and each hash of a long number, takes its time.
    long = b"X\x00\x10\x00\x00" + b"a" * 4096
    number = b"\x8b\x00\x10\x00\x00" + b"a" * 4096
    assert pickles.interpret(b"\x80\x02}(" + long + b"N" + number + b"N\x8c\x01aNu.") == {"a": None}


def test_objects_keep_their_attributes():
    value = argparse.Namespace(lr=2e-4, more=argparse.Namespace(a=[1]))
    assert pickles.interpret(pickle.dumps([value, value], 2)) == [{"lr": 2e-4, "more": {"a": [1]}}] * 2


def test_zip_bombs_and_bombs_of_pickles_are_refused(tmp_path):
    torch.save({"a": torch.zeros(10**6)}, tmp_path / "a.pth")
    rebuilt(tmp_path / "a.pth", tmp_path / "bomb.pth", lambda data: data, zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="compressed"):
        torch_files.read(tmp_path / "bomb.pth", lambda shapes: None)
    for bomb in (
        b"\x80\x02r\xff\xff\xff\x7f.",
        b"\x80\x04\x96" + b"\xff" * 7 + b"\x00.",
        b"\x80\x02r",
        b"\x80\x02)" + b"\x86" * 5,
        b"",
        b".",
    ):
        rebuilt(tmp_path / "a.pth", tmp_path / "bad.pth", lambda data, bomb=bomb: bomb)
        with pytest.raises(InputError):
            torch_files.read(tmp_path / "bad.pth", lambda shapes: None)
    # Hashing this key in a mapping would take 2 ** 100 steps.
    deep = b"\x80\x02}(" + b")" + b"2\x86" * 100 + b"K\x01u."
    assert pickles.interpret(deep) == {}


def test_what_is_shipped_is_small_and_says_what_it_is():
    """The weights and their card lie in the package, at most 5 MB, and are told to be for research."""
    ((path, metadata),) = weights.installed().items()
    assert path.name == "kt-unrolled.safetensors"
    assert path.stat().st_size < 5e6
    assert (path.parent / metadata["card"]).read_text().startswith("# kt-unrolled")
    assert "not for diagnosis" in metadata["use"]
    assert set(json.loads(metadata["envelope"])) == {"frames", "effective_acceleration", "snr_db", "independent_coils"}
    assert weights.load(path).metadata["network"] == "kt-unrolled"
