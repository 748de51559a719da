"""SDUM compared with its official program."""

import json

import pytest
import torch
from golden_sdum import arrays_of, complex_of, facts_of, labels_of, weights_of
from refusals import refused
from safetensors.torch import load_file
from small_networks import SMALL

from cmrrecon.losses.gaussian_ssim import gaussian_ssim_loss
from cmrrecon.methods.network import prepare
from cmrrecon.networks.catalog import build
from cmrrecon.networks.cost import training_bytes
from cmrrecon.networks.labelled import Labels
from cmrrecon.networks.sdum import SDUM
from cmrrecon.networks.sdum_labels import ALL_MODALITIES, MODALITIES, codes, sinusoids
from cmrrecon.networks.sdum_maps import calibration_box
from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import ifft2c
from cmrrecon.simulation import simulate

CASES = (
    "flow_line_even", "flow_one_frame", "flow_radial_odd", "flow_gaussian_batch2", "plain_line_odd",
    "plain_radial_even",
)  # fmt: skip


def network_of(folder):
    """Return the network of a case with its golden weights."""
    config = facts_of(folder)
    weights = {key.removeprefix("recon_model."): value for key, value in weights_of(folder).items()}
    official = config["config"]
    network = SDUM(
        cascades=official["num_cascades"],
        frames=official["num_frames"],
        channels=official["channels"],
        blocks=official["num_blocks"],
        heads=official["num_heads"],
        refinement=official["num_refinement"],
        ratio=official["mlp_ratio"],
        map_features=config["csm_features"],
        map_size=config["dc_map_size"],
        conditioned=official["flow"],
        modalities=official.get("acq_types", ALL_MODALITIES),
    )
    network.load_state_dict(weights)
    return network.eval()


def unrolled(network, arrays, labels):
    with torch.no_grad():
        images, mask = complex_of(arrays["input"]), arrays["mask"]
        return network.unrolled(
            images, mask, calibration_box(mask), [codes(labels, network.modalities)]
        )


def distance(a, b):
    """Return the largest difference relative to the largest value."""
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize("case", CASES)
def test_coil_images_agree_with_the_official_ones(golden, case):
    folder = golden / "sdum" / case
    arrays, facts = arrays_of(folder), facts_of(folder)
    result = unrolled(network_of(folder), arrays, labels_of(facts["labels"]))
    assert distance(result, complex_of(arrays["output"])) <= 1e-5


@pytest.mark.parametrize("case", ["flow_full_width", "small_full_size"])
def test_networks_of_published_width_agree_with_the_official_ones(golden, case):
    folder = golden / "sdum" / case
    arrays, facts = arrays_of(folder), facts_of(folder)
    result = unrolled(network_of(folder), arrays, labels_of(facts["labels"]))
    assert distance(result, complex_of(arrays["output"])) <= 1e-5


def test_every_cascade_agrees(golden):
    """Coil images of the first and middle frame, maps of the middle frame, and skips."""
    folder = golden / "sdum" / "flow_line_even"
    arrays, network = arrays_of(folder), network_of(folder)
    steps, maps = [], []
    for cascade in network.cascades:
        cascade.coil_sensitivity_model.register_forward_hook(lambda m, i, out: maps.append(out))
        cascade.register_forward_hook(lambda m, i, out: steps.append(out))
    unrolled(network, arrays, labels_of(facts_of(folder)["labels"]))

    frames = network.frames
    assert len(maps) == frames * len(network.cascades)
    for number in range(len(network.cascades)):
        expected = complex_of(arrays[f"cascade{number}.maps"])
        assert distance(maps[frames * number + frames // 2], expected) <= 3e-5

    for number in range(len(network.cascades) - 1):
        expected = complex_of(arrays[f"cascade{number}.x"])
        images, (skip,) = steps[number]
        assert distance(images[:, [0, frames // 2]], expected) <= 1e-5
        assert distance(skip.permute(0, 3, 1, 2), arrays[f"cascade{number}.skip0"]) <= 1e-5


def test_labels_change_the_result_as_in_the_official_program(golden):
    folder = golden / "sdum" / "flow_line_even"
    arrays, network = arrays_of(folder), network_of(folder)
    *known, unknown = facts_of(folder)["variants"]
    for number, variant in enumerate(known):
        result = unrolled(network, arrays, labels_of(variant["labels"]))
        assert distance(result, complex_of(arrays[f"variant{number}.output"])) <= 1e-5
    with refused("unknown-modality"):
        unrolled(network, arrays, labels_of(unknown["labels"]))


def test_double_precision_agrees_with_single(golden):
    folder = golden / "sdum" / "flow_radial_odd"
    arrays, labels = arrays_of(folder), labels_of(facts_of(folder)["labels"])
    network = network_of(folder)
    single = unrolled(network, arrays, labels)
    arrays["input"] = arrays["input"].double()
    double = unrolled(network.double(), arrays, labels)
    assert double.dtype == torch.complex128
    assert 0 < distance(single, double) <= 1e-5


def scene(frames=5, coils=3, y=37, x=45, samples=False):
    """Return undersampled k-space of a window, its mask and the true middle image."""
    made = simulate("cine", frames=frames, slices=1, coils=coils, y=y, x=x, seed=0)
    mask = torch.zeros(1, frames, y, x if samples else 1, dtype=torch.bool)
    for frame in range(frames):
        mask[:, frame, frame % 3 :: 3] = True
    columns = slice(x // 2 - 6, x // 2 + 6) if samples else slice(None)
    mask[:, :, y // 2 - 6 : y // 2 + 6, columns] = True
    kspace = made.scan.read_slice(0)[None] * mask[:, :, None]
    return kspace, mask, made.image[frames // 2, 0].abs()[None]


def small(**more):
    torch.manual_seed(0)
    return build("sdum", {**SMALL["sdum"], **more}).eval()


CINE = [Labels("kt-uniform", 8, "Cine")]


def run(network, kspace, mask, labels=CINE):
    with torch.no_grad():
        return network(kspace, mask, labels=labels).image


@pytest.mark.parametrize("samples", [False, True], ids=["lines", "samples"])
@pytest.mark.parametrize(("frames", "coils", "y", "x"), [(1, 1, 37, 45), (5, 3, 34, 48)])
def test_shapes(frames, coils, y, x, samples):
    kspace, mask, _ = scene(frames, coils, y, x, samples)
    image = run(small(frames=frames), kspace, mask)
    assert image.shape == (1, y, x)
    assert image.dtype == torch.float32
    assert image.isfinite().all()


@pytest.mark.parametrize("factor", [1e-6, 1e3])
def test_the_output_scales_with_the_input(factor):
    kspace, mask, _ = scene()
    network = small()
    assert distance(run(network, factor * kspace, mask), factor * run(network, kspace, mask)) < 1e-4


def test_frames_without_signal_do_not_spoil_a_window():
    kspace, mask, truth = scene()
    network = small()
    assert not run(network, torch.zeros_like(kspace), mask).any()

    kspace[:, 0] = 0
    output = network(kspace, mask, labels=CINE).image
    (output - truth).square().mean().backward()
    assert output.isfinite().all()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


def test_gradients_reach_every_parameter_and_do_not_depend_on_checkpointing():
    kspace, mask, truth = scene(y=32, x=34)
    network = small().double()
    gradients = []
    for checkpointing in (False, True):
        network.checkpointing = checkpointing
        network.zero_grad()
        output = network(kspace.to(torch.complex128), mask, labels=CINE).image
        (output - truth).square().mean().backward()
        gradients.append({name: p.grad.clone() for name, p in network.named_parameters()})

    plain, again = gradients
    for name, value in plain.items():
        # A bias before a normalisation has no effect.
        if not name.endswith("conv.bias"):
            assert value.any(), name
        torch.testing.assert_close(again[name], value, rtol=1e-9, atol=1e-12)


def test_training_drops_branches_and_inference_does_not():
    kspace, mask, _ = scene(y=32, x=34)
    network = small()
    assert torch.equal(run(network, kspace, mask), run(network, kspace, mask))
    network.train()
    outputs = [run(network, kspace, mask) for _ in range(8)]
    assert any(not torch.equal(outputs[0], other) for other in outputs[1:])


def test_training_lowers_the_loss_and_beats_the_input():
    kspace, mask, truth = scene()
    network = small(cascades=2).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=4e-3)
    losses = []
    for _ in range(30):
        image = network(kspace, mask, labels=CINE).image
        loss = gaussian_ssim_loss(image, truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))

    zero_filled = float(gaussian_ssim_loss(rss(ifft2c(kspace[:, 2])), truth))
    assert losses[-1] < 0.9 * losses[0]
    assert float(gaussian_ssim_loss(run(network.eval(), kspace, mask), truth)) < zero_filled


def test_convolutions_may_run_in_lower_precision():
    kspace, mask, _ = scene()
    network = small()
    full = run(network, kspace, mask)
    low = run(prepare(network, torch.bfloat16, torch.device("cpu")), kspace, mask)
    assert low.dtype == torch.float32
    assert 0 < distance(low, full) < 0.2


@pytest.mark.parametrize(
    ("pattern", "acceleration", "modality", "expected"),
    [
        ("uniform", 8, "BlackBlood", (0, 0)),
        ("kt-uniform", 8, "cine", (0, 1)),
        ("ktGaussian", 16, "Cine", (1, 27 + 9 + 1)),
        ("kt-radial", 24.0, "T2W", (2, 54 + 18 + 8)),
        ("kt-radial", 4, "Cine", (2, 54 - 9 + 1)),
        ("spiral", 8, "Cine", (-1, -27 + 1)),
        (None, None, "Cine", (-1, -27 - 9 + 1)),
    ],
)
def test_codes_of_labels(pattern, acceleration, modality, expected):
    assert codes(Labels(pattern, acceleration, modality), MODALITIES) == expected


def test_unknown_labels_are_named():
    network = small()
    assert network.unknown(Labels("kt-radial", 8, "Cine")) == ()
    assert len(network.unknown(Labels("spiral", 8, "Cine"))) == 1
    assert len(network.unknown(Labels(None, None, "Cine"))) == 2
    # Without a condition, R has no influence.
    assert len(small(conditioned=False).unknown(Labels("uniform", 5, "Cine"))) == 0
    for modality in (None, "Brain"):
        with refused("unknown-modality"):
            network.unknown(Labels("uniform", 8, modality))


def test_sinusoids_agree_with_the_official_ones(golden):
    stored = load_file(golden / "sdum" / "losses" / "embedding.safetensors")
    for name, expected in stored.items():
        width, value = name.removeprefix("dim").split("_t")
        found = sinusoids(torch.tensor([float(value)]), int(width))[0]
        # Single precision rounds an angle of 850 by up to 3e-5.
        torch.testing.assert_close(found, expected, rtol=0, atol=max(1, float(value)) * 5e-8)


def test_calibration_boxes_agree_with_the_official_ones(golden):
    folder = golden / "sdum" / "acs"
    masks = load_file(folder / "masks.safetensors")
    for case in json.loads((folder / "boxes.json").read_text())["cases"]:
        mask = masks[case["name"]] > 0
        if "error" in case:
            with refused("calibration-empty"):
                calibration_box(mask)
            continue
        rows, columns = calibration_box(mask)
        assert [rows.start, rows.stop] == case["kept_rows"], case["name"]
        assert [columns.start, columns.stop] == case["kept_columns"], case["name"]


@pytest.mark.parametrize(("y", "x"), [(16, 16), (13, 16)])
def test_images_smaller_than_the_map_network_are_refused(y, x):
    with refused("images-too-small"):
        run(small(), torch.ones(1, 5, 2, y, x, dtype=torch.complex64), torch.ones(1, 1, y, 1) > 0)


@pytest.mark.parametrize(
    "config", [{"channels": [8, 24]}, {"heads": [3, 2]}, {"blocks": [1]}, {"heads": [1]}]
)
def test_sizes_that_do_not_fit_together_are_refused(config):
    with refused("option-value"):
        small(**config)


def test_windows_are_plain_modulo():
    network = small()
    assert network.window(0, 3) == [1, 2, 0, 1, 2]
    assert network.window(0, 2) == [0, 1, 0, 1, 0]
    assert network.window(0, 1) == [0] * 5
    assert network.window(11, 12) == [9, 10, 11, 0, 1]


def test_line_masks_and_their_sample_masks_give_the_same():
    kspace, mask, _ = scene()
    network = small()
    assert torch.equal(
        run(network, kspace, mask.expand(-1, -1, -1, 45)), run(network, kspace, mask)
    )


def test_the_cost_is_that_of_all_cascades():
    size = {"coils": 2, "y": 32, "x": 40, "lines": True, "acs": 8}
    two, four = (small(cascades=n, frames=1).window_cost(**size) for n in (2, 4))
    assert four.flops == 2 * two.flops > 0
    assert four.nbytes == two.nbytes > 8 * 2 * 32 * 40


def test_the_predicted_memory_of_training_is_that_of_all_cascades():
    network = small(cascades=3, frames=1)
    whole = training_bytes(
        lambda images, mask: (network.ghost()._traced(images, mask).abs(),),
        ((1, 1, 2, 32, 40), torch.complex64),
        ((1, 1, 32, 1), torch.bool),
    )
    assert network.training_memory(2, 32, 40, 8) == pytest.approx(whole, rel=0.1)
