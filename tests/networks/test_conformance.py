"""PromptMR and PromptMR+ compared with their official implementations.

Images, training loss and every gradient must agree. Mistakes of the official code are tested too.
"""

import copy
import gzip
import json
import math
import zlib

import numpy as np
import pytest
import torch

from cmrrecon.metrics import ssim
from cmrrecon.networks.catalog import build
from cmrrecon.networks.checkpoints.weights import from_state_dict

# For each golden file the network or the official state dict, and the variant.
TINY = {
    "promptmr/tiny": ("promptmr", "kspace"),
    "promptmrplus/v1_plain_tiny": ("promptmr", "kspace"),
    "promptmrplus/v2_plain_tiny": ("promptmr", "image"),
    "promptmrplus/v1_tiny": ("promptmr-plus", "kspace"),
    "promptmrplus/v2_tiny": ("promptmr-plus", "image"),
}
SMALL = {
    "promptmr/small": ("promptmr_small", "kspace"),
    "promptmrplus/v2_small": ("promptmrplus_v2_small", "image"),
}
SMALL_CASES = [(file, case) for file in SMALL for case in ("cart_auto", "cart_nlf8")]
SMALL_CASES += [("promptmrplus/v2_small", case) for case in ("kt_uniform", "kt_radial")]


def value_for(key, shape):
    """Return a golden parameter, which is derived from its name."""
    prelu = key.endswith("body.1.weight") and shape == (1,)
    shared = prelu and ".enc_level1.encoder.0." not in f".{key}"
    rng = np.random.RandomState(zlib.crc32(("prelu.shared" if shared else key).encode()))
    if key.endswith("prompt_param"):
        value = rng.random_sample(shape)
    else:
        normal = rng.standard_normal(shape)
        weight = 0.6 / math.sqrt(math.prod(shape[1:])) * normal if len(shape) > 1 else 0.05 * normal
        value = (
            0.25 + 0.1 * normal
            if prelu
            else 0.8 + 0.1 * normal
            if key.endswith("dc_weight")
            else weight
        )

    return torch.from_numpy(value.astype(np.float32))


def parameters_for(shapes):
    return {key: value_for(key, tuple(shape)) for key, shape in shapes.items()}


def facts_of(path):
    with gzip.open(f"{path}.json.gz") as file:
        return json.load(file)


def window(kspace, frames):
    """Convert official k-space (1, frame * coil, H, W, 2) to ours (1, frame, coil, y, x)."""
    k = torch.view_as_complex(torch.from_numpy(kspace))
    return k.reshape(1, frames, -1, *k.shape[2:]).mT


def mask_of(mask, frames):
    """Convert an official mask (1, 1|frame * coil, 1|H, W, 1) to ours (1, 1|frame, y, 1|x)."""
    mask = torch.from_numpy(mask[..., 0]).bool()
    return (
        mask if mask.shape[1] == 1 else mask.reshape(1, frames, -1, *mask.shape[2:])[:, :, 0]
    ).mT


def our_config(official):
    def unet(prefix):
        names = {"features": "n_feat0", "dims": "feature_dim", "prompt_dims": "prompt_dim"}
        blocks = {
            "encoder_blocks": "n_enc_cab",
            "decoder_blocks": "n_dec_cab",
            "skip_blocks": "n_skip_cab",
            "bottleneck_blocks": "n_bottleneck_cab",
        }
        shared = {"prompt_lengths": "len_prompt", "prompt_sizes": "prompt_size", **blocks}
        own = {ours: official[prefix + theirs] for ours, theirs in names.items()}

        return {**own, **{ours: official[theirs] for ours, theirs in shared.items()}}

    config = {
        "cascades": official["num_cascades"],
        "frames": official["num_adj_slices"],
        "unet": unet(""),
        "sensitivity_unet": unet("sens_"),
    }

    if official.get("n_history"):
        config |= {
            "history": official["n_history"],
            "adaptive": official["adaptive_input"],
            "joint_maps": official["use_sens_adj"],
        }

    return config


def tiny(golden, file):
    """Return a tiny case: network, k-space, mask, ACS, arrays and facts."""
    name, variant = TINY[file]
    facts, arrays = (
        facts_of(golden / file),
        dict(np.load(golden / "promptmr" / "tiny.npz")) | dict(np.load(golden / f"{file}.npz")),
    )
    made = build(name, {**our_config(facts["config"]), "variant": variant})
    network = from_state_dict(
        parameters_for({key: value.shape for key, value in made.state_dict().items()}), variant
    )
    assert type(network) is type(made)
    assert json.dumps(network.config) == json.dumps(made.config)

    return (
        network,
        window(arrays["kspace"], network.frames),
        mask_of(arrays["mask"], network.frames),
        facts["num_low_frequencies"],
        arrays,
        facts,
    )


def small(golden, file, case):
    """Return a small case: network, k-space, mask, ACS and arrays."""
    layout, variant = SMALL[file]
    arrays, facts = np.load(golden / f"{file}.npz"), facts_of(golden / file)
    network = from_state_dict(parameters_for(facts_of(golden / "statedict" / layout)), variant)
    kspace = np.load(golden / "promptmr" / "small.npz")["kspace"] * arrays[f"{case}__mask"]
    acs = facts["cases"][case]
    acs = None if acs in (None, -1) else acs

    return (
        network,
        window(kspace, network.frames),
        mask_of(arrays[f"{case}__mask"], network.frames),
        acs,
        arrays,
    )


def assert_image(image, expected, tolerance):
    expected = torch.from_numpy(expected).mT
    assert image.shape == expected.shape
    assert image.dtype == expected.dtype
    assert float((image - expected).abs().max()) <= tolerance * float(expected.max())


def loss_of(image, target):
    target = torch.from_numpy(target).mT
    return 1 - ssim(target, image, target.amax()).mean()


def test_the_golden_parameters_are_reproduced(golden):
    for file, (layout, _) in SMALL.items():
        shapes = facts_of(golden / "statedict" / layout)
        for key, values in facts_of(golden / file)["param_probe"].items():
            assert value_for(key, tuple(shapes[key])).flatten()[:3].tolist() == pytest.approx(
                values[:3], rel=1e-6
            )


@pytest.mark.parametrize(("file", "case"), SMALL_CASES)
def test_small_images_agree_with_the_official_ones(golden, file, case):
    network, kspace, mask, acs, arrays = small(golden, file, case)
    with torch.no_grad():
        output = network(kspace, mask, acs)
        assert_image(output.image, arrays[f"{case}__img_pred"], 1e-5)
        double = network.double()(kspace.to(torch.complex128), mask, acs)
        assert_image(double.image, arrays[f"{case}__img_pred_f64"], 1e-10)


@pytest.mark.parametrize("file", TINY)
def test_tiny_image_loss_and_all_gradients_agree_with_the_official_ones(golden, file):
    network, kspace, mask, acs, arrays, facts = tiny(golden, file)
    image = network(kspace, mask, acs).image
    assert_image(image.detach(), arrays["img_pred"], 1e-5)
    loss = loss_of(image, arrays["target"])
    assert float(loss.detach()) == pytest.approx(facts["loss"], rel=1e-4)
    loss.backward()
    norms = {
        name: None if p.grad is None else float(torch.linalg.vector_norm(p.grad))
        for name, p in network.named_parameters()
    }
    assert {name for name, norm in norms.items() if norm is None} == set(facts["none_grad"])
    assert all(name.endswith("prompt_param") for name in facts["none_grad"])
    given = {name: norm for name, norm in norms.items() if norm is not None}

    # The float32 sums of the official code are not more accurate than this.
    assert given == pytest.approx(
        {name: norm for name, norm in facts["grad_norms"].items() if norm is not None},
        rel=1e-4,
        abs=1e-8,
    )


@pytest.mark.parametrize(
    "file",
    ["promptmr/tiny", "promptmrplus/v2_plain_tiny", "promptmrplus/v1_tiny", "promptmrplus/v2_tiny"],
)
def test_checkpointing_does_not_change_gradients(golden, file):
    network, kspace, mask, acs, arrays, _ = tiny(golden, file)
    network = network.double()
    gradients = []
    for checkpointing in (False, True):
        network.checkpointing = checkpointing
        network.zero_grad()
        loss_of(network(kspace.to(torch.complex128), mask, acs).image, arrays["target"]).backward()
        gradients.append(
            {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
        )

    plain, again = gradients
    assert plain.keys() == again.keys()
    assert max(float(value.abs().max()) for value in plain.values()) > 1e-4
    for name, value in plain.items():
        torch.testing.assert_close(again[name], value, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("file", TINY)
def test_zero_kspace_gives_a_zero_image(golden, file):
    network, kspace, mask, acs, *_ = tiny(golden, file)
    with torch.no_grad():
        output = network(torch.zeros_like(kspace), mask, acs)
    assert torch.equal(output.image, torch.zeros_like(output.image))


@pytest.mark.parametrize("scale", [1e-7, 1e6])
@pytest.mark.parametrize("file", TINY)
def test_the_image_scales_with_kspace(golden, file, scale):
    network, kspace, mask, acs, *_ = tiny(golden, file)
    with torch.no_grad():
        one, scaled = (network(k, mask, acs).image for k in (kspace, kspace * scale))
    torch.testing.assert_close(scaled / scale, one, rtol=0, atol=1e-5 * float(one.max()))


def shared_prelu(network):
    """Return the PReLU that all blocks share except the first block of every U-Net."""
    prelus = {}
    for name, module in network.named_modules(remove_duplicate=False):
        if isinstance(module, torch.nn.PReLU) and "enc_level1.encoder.0." not in name:
            prelus[id(module)] = module
    (shared,) = prelus.values()
    return shared


def test_the_prelu_is_shared_within_a_network_and_not_between_networks(golden):
    network, *_ = tiny(golden, "promptmrplus/v2_tiny")
    other = from_state_dict(network.state_dict())
    copied = copy.deepcopy(network)
    prelus = [shared_prelu(n) for n in (network, other, copied)]
    assert len({p.weight.data_ptr() for p in prelus}) == 3
    own = [
        m
        for n, m in network.named_modules()
        if isinstance(m, torch.nn.PReLU) and m is not prelus[0]
    ]
    assert len(own) == 1 + len(network.cascades)

    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert prelus[1].weight.item() == prelus[2].weight.item() != 0
    assert all(bool(parameter.any()) for parameter in other.parameters())
