"""Checkpoints of vSHARP: names of all versions, and what only the release says."""

import json
import re

import golden_vsharp
import pytest
import torch
from refusals import refused
from small_networks import SMALL, same, shapes_of

from cmrrecon.networks import catalog
from cmrrecon.networks.checkpoints import layouts, vsharp_layout, weights
from cmrrecon.networks.checkpoints.facts import Given
from cmrrecon.tools.errors import InputError

SIZES = {
    "uniform_2d": ("vsharp", 93_156_273 + 7_756_418),
    "cmrxrecon23_dynamic_3d": ("vsharp-3d", 225_958_185 + 7_756_418),
    "cmrxrecon23_2d": ("vsharp", 124_186_561 + 7_756_418),
    "prostate_2d": ("vsharp", 93_156_273 + 1_939_266),
}
MASKING = {"name": "FastMRIEquispaced", "accelerations": [4], "center_fractions": [0.06]}
TRANSFORMS = {"masking": MASKING, "normalization": {"scale_percentile": 0.98}}


def shapes_in(entry, layout):
    parts = entry[layout]
    named = {f"sensitivity_model.{key}": shape for key, shape in parts["sensitivity_model"].items()}
    return {key: tuple(shape) for key, shape in (parts["model"] | named).items()}


def preset(name):
    return Given("It", release=layouts.preset(name))


@pytest.mark.parametrize("layout", ["layout_2.2.0", "layout_2.1.0"])
@pytest.mark.parametrize("size", SIZES)
def test_published_sizes_are_recognised_in_both_naming_schemes(golden, size, layout):
    entry = golden_vsharp.full_size(golden)[size]
    shapes, (name, parameters) = shapes_in(entry, layout), SIZES[size]
    inferred = layouts.infer(shapes, preset("uniform"))
    assert inferred.name == name

    with torch.device("meta"):
        made = catalog.build(name, inferred.config)
    assert sum(p.numel() for p in made.parameters()) == parameters
    assert shapes_of(made.state_dict()) == layouts.renamed(shapes, inferred, "It")


def test_the_defaults_are_the_published_sizes(golden):
    for size, release in (("uniform_2d", "uniform"), ("cmrxrecon23_dynamic_3d", "challenge23")):
        entry = golden_vsharp.full_size(golden)[size]
        inferred = layouts.infer(shapes_in(entry, "layout_2.2.0"), preset(release))
        with torch.device("meta"):
            made, default = (
                catalog.build(inferred.name, config) for config in (inferred.config, {})
            )
        assert json.dumps(made.config) == json.dumps(default.config)


def plain(dims=2, **more):
    """Return a small network, and its state dict in the names of direct 2.2.0."""
    name = "vsharp" if dims == 2 else "vsharp-3d"
    torch.manual_seed(0)
    config = SMALL[name]
    network = catalog.build(name, {**config, "sizes": {**config["sizes"], **more}})
    state = {}
    for key, value in network.state_dict().items():
        named = key.removeprefix("admm.").replace("sens_net.norm_unet.", "sensitivity_model.")
        if dims == 3 and named.startswith("denoiser_blocks"):
            named = re.sub(r"up_conv\.1\.", "up_conv.1.0.", named)
            named = named.replace("conv_out.", "up_conv.1.1.")
        state[named] = value
    return network, state


def release_of(network):
    """Return the release of a small network, with the rule of its configuration."""
    model = {"initializer_dilations": [1, 2], "initializer_activation": "RELU"}
    return {"model": model, "rule": network.config["rule"]}


ALIASES = {
    "2.1.0": [
        (r"layer_1\.conv\.", "layers.0."),
        (r"layer_2\.conv\.", "layers.4."),
        (r"(up_transpose_conv\.\d)\.conv\.", r"\1.layers.0."),
        (r"up_conv\.1\.layers", "up_conv.1.0.layers"),
        (r"conv_out\.", "up_conv.1.1."),
        (r"out_block\.", "out_block.0."),
    ],
    "rewritten": [
        (r"up_conv\.1\.0\.", "up_conv.1."),
        (r"up_conv\.1\.1\.", "conv_out."),
        (r"(up_transpose_conv\.\d)\.conv\.", r"\1.layer_1.conv."),
    ],
}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("names", ALIASES)
def test_all_names_of_the_official_versions_load(names, dims):
    network, state = plain(dims)
    for pattern, replacement in ALIASES[names]:
        state = {re.sub(pattern, replacement, key): value for key, value in state.items()}
    loaded = weights.from_state_dict(state, release=release_of(network))
    assert same(loaded, network)
    assert json.dumps(loaded.config) == json.dumps(network.config)


@pytest.mark.parametrize(
    "sizes",
    [
        {"shared": True},
        {"standardised": True},
        {"head_bias": False},
        {"sensitivity_filters": 0},
        {"initialiser_outputs": 2},
        {"activation": "relu"},
    ],
    ids=str,
)
@pytest.mark.parametrize("dims", [2, 3])
def test_variants_follow_from_names_and_shapes(dims, sizes):
    network, state = plain(dims, **sizes)
    if sizes.get("standardised"):
        state = {
            re.sub(r"(denoiser_blocks\.\d+\.)", rf"\1unet{dims}d.", key): value
            for key, value in state.items()
        }
    loaded = weights.from_state_dict(state, release=release_of(network))
    assert same(loaded, network)
    found, made = loaded.config["sizes"], network.config["sizes"]
    assert {key: found[key] for key in sizes} == {key: made[key] for key in sizes}


def test_a_release_in_its_files_is_converted_and_runs(golden, tmp_path):
    file = golden / "vsharp/tiny_release/uniform_vsharp.pt"
    with refused("release-missing"):
        weights.load(file)

    loaded = weights.load(file, release=layouts.preset("deepinv"))
    assert loaded.metadata["network"] == "vsharp"
    assert loaded.network.rule.percentile == 0.99
    assert loaded.network.rule.unit_map
    assert "Apache-2.0" in loaded.metadata["weights_licence"]

    weights.save(tmp_path / "a.safetensors", loaded.network)
    again = weights.load(tmp_path / "a.safetensors").network
    assert same(again, loaded.network)
    assert again.rule == loaded.network.rule


def test_the_yaml_file_of_a_release_is_found_and_read(golden, tmp_path):
    yaml = pytest.importorskip("yaml")
    file = tmp_path / "uniform_vsharp.pt"
    file.write_bytes((golden / "vsharp/tiny_release/uniform_vsharp.pt").read_bytes())
    text = (golden / "vsharp/tiny_release/uniform_cardiac.yaml").read_text()
    (tmp_path / "uniform_vsharp.yaml").write_text(text)
    # This file lacks the transforms, so the scale is unknown.
    with refused("release-missing") as error:
        weights.load(file)
    assert "scale_percentile" in str(error.value)

    inference = {"inference": {"dataset": {"transforms": TRANSFORMS}}}
    (tmp_path / "uniform_vsharp.yaml").write_text(text + yaml.safe_dump(inference))
    rule = weights.load(file).network.rule
    assert (rule.percentile, rule.calibration, rule.fraction) == (0.98, "fraction", 0.06)
    assert (rule.padding, rule.gaussian, rule.padding_unmeasured) == (1e-3, 0.7, True)


@pytest.mark.parametrize(
    ("transforms", "expected"),
    [
        ({"masking": None, "scale_percentile": 0.99}, {"calibration": "lines", "lines": 24}),
        ({"scale_percentile": 0.99, "padding_eps": 0.01}, {"padding": 0.01}),
        (
            {
                "normalization": {"scale_percentile": 0.99},
                "sensitivity_map_estimation": {"sensitivity_maps_gaussian": 0.5},
            },
            {"gaussian": 0.5, "padding_unmeasured": False},
        ),
        ({**TRANSFORMS, "sensitivity_maps_gaussian": None}, {"gaussian": 0.0}),
    ],
)
@pytest.mark.parametrize("stage", ["inference", "validation", "training"])
def test_the_rule_follows_from_the_transforms(stage, transforms, expected):
    _, state = plain()
    dataset = {"transforms": transforms}
    section = {"dataset": dataset} if stage == "inference" else {"datasets": [dataset]}
    release = {"model": {"initializer_dilations": [1, 2]}, stage: section}
    rule = weights.from_state_dict(state, release=release).config["rule"]
    assert rule.items() >= expected.items()


def without(key):
    return lambda state: state.pop(key)


def with_tensor(key, *shape):
    return lambda state: state.update({key: torch.ones(shape)})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (without("initializer.out_block.bias"), "initializer.out_block.bias"),
        (without("rho"), "rho"),
        (without("initializer.conv_blocks.0.1.weight"), "conv_blocks.0.1.weight"),
        (without("denoiser_blocks.1.up_conv.0.layer_1.conv.weight"), "up_conv.0.layer_1"),
        (without("sensitivity_model.conv_out.bias"), "conv_out.bias"),
        (with_tensor("denoiser_blocks.0.fc.0.weight", 2, 2), "fc.0.weight"),
        (with_tensor("denoiser_blocks.0.x.instance_norm.mlp.0.weight", 2), "instance_norm.mlp"),
        (with_tensor("sampling_model.scorer.weight", 2), "sampling_model.scorer.weight"),
        (with_tensor("denoiser_blocks.0.up_conv.0.layers.0.weight", 2), "twice"),
        (with_tensor("denoiser_blocks.5.conv.layer_1.conv.weight", 2), "denoiser_blocks.2."),
        (with_tensor("denoiser_blocks.1.unet2d.conv_out.bias", 2), "architectures"),
        (with_tensor("other.weight", 2), "other.weight"),
        (with_tensor("rho", 3), "2 denoisers for 3 steps"),
        (with_tensor("initializer.out_block.weight", 2, 7, 1, 1), "7 channels"),
        (with_tensor("denoiser_blocks.0.conv_out.weight", 2, 5, 1, 1), "(2, 5, 1, 1)"),
    ],
)
def test_other_and_incomplete_networks_are_refused(change, named):
    network, state = plain()
    change(state)
    with refused("checkpoint-mismatch") as error:
        weights.from_state_dict(state, release=release_of(network))
    assert named in str(error.value)


@pytest.mark.parametrize(
    ("release", "code", "named"),
    [
        ({}, "release-missing", "initializer_dilations"),
        ({"model": {"initializer_dilations": [1, 2]}}, "release-missing", "scale_percentile"),
        ({"model": {"model_name": "unet.UnetModel2d"}}, "checkpoint-mismatch", "unet.UnetModel2d"),
        ({"model": {"num_steps": 7}}, "checkpoint-mismatch", "num_steps"),
        ({"model": {"image_unet_num_filters": 7}}, "checkpoint-mismatch", "num_filters"),
        (
            {"model": {"initializer_dilations": [1, 2], "image_init": "OTHER"}},
            "checkpoint-mismatch",
            "OTHER",
        ),
        (
            {"model": {}, "physics": {"forward_operator": "fft2(centered=False)"}},
            "checkpoint-mismatch",
            "centered=False",
        ),
        (
            {
                "model": {"initializer_dilations": [1, 2]},
                "inference": {
                    "dataset": {
                        "transforms": {"scale_percentile": 0.9, "sensitivity_maps_type": "espirit"}
                    }
                },
            },
            "checkpoint-mismatch",
            "espirit",
        ),
        (
            {"model": {"initializer_dilations": [1, 2, 4]}, "rule": {}},
            "checkpoint-damaged",
            "equally long",
        ),
        (
            {"model": {"initializer_dilations": [0, 2]}, "rule": {}},
            "checkpoint-damaged",
            "at least 1",
        ),
        (
            {"model": {"initializer_dilations": ["a", 2]}, "rule": {"percentile": "b"}},
            "checkpoint-damaged",
            "initialiser_dilations",
        ),
    ],
)
def test_releases_that_do_not_fit_are_refused(release, code, named):
    _, state = plain()
    with refused(code) as error:
        weights.from_state_dict(state, release=release)
    assert named in str(error.value)


def test_hostile_names_and_shapes_are_refused():
    network, plain_state = plain()
    release = release_of(network)
    first = "denoiser_blocks.0.down_sample_layers"
    changes = [
        {f"{first}.{level}.layer_1.conv.weight": torch.ones(1) for level in range(2, 70)},
        {f"{first}.{'9' * 200}.layer_1.conv.weight": torch.ones(1)},
        {"denoiser_blocks.0.conv.layer_1.conv.weight": torch.ones(2)},
        {"denoiser_blocks.0.conv.layer_1.conv.weight": torch.ones(1, 1, 1, 1, 1, 1, 1)},
        {f"{first}.0.layer_1.conv.weight": torch.ones(0, 6, 3, 3)},
        {"rho": torch.ones(())},
        {"learning_rate_eta": torch.ones(5000)},
        {f"denoiser_blocks.{index}.a": torch.ones(1) for index in range(2, 3000)},
    ]
    for change in changes:
        with pytest.raises(InputError) as error:
            weights.from_state_dict({**plain_state, **change}, release=release)
        assert error.value.code in ("checkpoint-mismatch", "checkpoint-damaged")


def test_an_activation_without_weights_comes_from_the_release():
    network, state = plain(activation="leaky-relu")
    release = release_of(network)
    release["model"]["initializer_activation"] = "LEAKY_RELU"
    assert weights.from_state_dict(state, release=release).config == network.config
    del release["model"]["initializer_activation"]
    with refused("release-missing"):
        weights.from_state_dict(state, release=release)


def test_wrapped_networks_load_and_mixed_prefixes_do_not(golden, tmp_path):
    network, state = plain()
    model = {key: value for key, value in state.items() if not key.startswith("sensitivity")}
    maps = {
        key.removeprefix("sensitivity_model."): value
        for key, value in state.items()
        if key.startswith("sensitivity")
    }
    wrapped = {f"module.{key}": value for key, value in model.items()}
    torch.save({"model": wrapped, "sensitivity_model": maps}, tmp_path / "a.pt")
    release = release_of(network)
    assert same(weights.load(tmp_path / "a.pt", release=release).network, network)

    mixed = {**model, "module.rho": model["rho"]}
    torch.save({"model": mixed, "sensitivity_model": maps}, tmp_path / "b.pt")
    with refused("checkpoint-mismatch"):
        weights.load(tmp_path / "b.pt", release=release)


def test_a_truncated_release_is_refused(golden, tmp_path):
    data = (golden / "vsharp/tiny_release/uniform_vsharp.pt").read_bytes()
    for part in (100, len(data) // 2, len(data) - 1):
        (tmp_path / "a.pt").write_bytes(data[:part])
        with refused("checkpoint-damaged"):
            weights.load(tmp_path / "a.pt", release=layouts.preset("uniform"))


def test_other_state_dicts_are_not_recognised():
    assert not vsharp_layout.recognises({"cascades.0.dc_weight": (1,), "conv.weight": (2, 2)})


@pytest.mark.parametrize(
    ("part", "section", "named"),
    [
        ("sensitivity_model", {"sensitivity_model": {"num_filters": 2}}, "lacks the sensitivity"),
        ("sensitivity_model", {"sensitivity_model": {}}, "lacks the sensitivity"),
        ("none", {"sampling_model": {"a": 1}}, "lacks the sampling"),
        ("none", {"sensitivity_model": {"num_filters": 77}}, "num_filters"),
        ("none", {"sensitivity_model": {"num_pool_layers": 7}}, "num_pool_layers"),
    ],
)
def test_networks_that_the_release_has_and_the_file_lacks_are_refused(part, section, named):
    network, state = plain()
    state = {key: value for key, value in state.items() if not key.startswith(part)}
    release = {**release_of(network), "additional_models": section}
    with refused("checkpoint-mismatch") as error:
        weights.from_state_dict(state, release=release)
    assert named in str(error.value)


@pytest.mark.parametrize("name", vsharp_layout.PRESETS)
def test_presets_need_the_network_for_the_coil_maps(golden, name):
    entry = golden_vsharp.full_size(golden)["uniform_2d"]
    shapes = shapes_in(entry, "layout_2.2.0")
    lacking = {key: value for key, value in shapes.items() if not key.startswith("sens")}
    with refused("checkpoint-mismatch") as error:
        layouts.infer(lacking, preset(name))
    assert "sensitivity_model" in str(error.value)


def test_a_bias_that_the_release_has_and_the_file_lacks_is_refused():
    network, state = plain()
    release = release_of(network)
    release["model"]["image_unet_conv_out_bias"] = True
    state = {
        key: value
        for key, value in state.items()
        if not (key.startswith("denoiser") and key.endswith("conv_out.bias"))
    }
    with refused("checkpoint-mismatch") as error:
        weights.from_state_dict(state, release=release)
    assert "conv_out.bias" in str(error.value)
