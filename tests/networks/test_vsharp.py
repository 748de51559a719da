"""vSHARP compared with its official program."""

import golden_vsharp
import numpy as np
import pytest
import torch
from golden_vsharp import complex_of, images_of, mask_of, ours, with_lines
from refusals import refused

from cmrrecon.networks import vsharp_frames, vsharp_inplace, vsharp_unet
from cmrrecon.networks.base import Output
from cmrrecon.networks.vsharp import CHALLENGE, VSharp
from cmrrecon.networks.vsharp_input import InputRule
from cmrrecon.networks.vsharp_model import combined

MODELS = (
    "2d_even_line", "2d_odd_radial", "2d_odd_line_nosens", "2d_zero_filled_multiscale_aux1",
    "2d_no_out_bias_relu", "2d_single_coil", "3d_even_line", "3d_odd_radial_per_frame",
    "3d_nosens_line_per_frame", "3d_pools4_3frames_shared",
)  # fmt: skip
PIPELINES = {"pipeline_uniform_2d": InputRule(), "pipeline_challenge_2d_mask04": CHALLENGE}
SLICES = [("pipeline_uniform_2d", 0), ("pipeline_uniform_2d", 3)]
SLICES += [("pipeline_challenge_2d_mask04", 0)]
DEEPINV = InputRule(percentile=0.99, padding=0, calibration="measured", unit_map=True)


def deviation(ours, expected):
    """Return the largest difference, relative to the largest value."""
    assert ours.shape == expected.shape
    return float((ours.detach() - expected).abs().max() / expected.abs().max())


def refined_maps(network, first):
    """Return the maps (batch, frame, coil, y, x) that follow from given first maps."""
    images = network.sens_net.refined(first.mT.clone(), None, False)
    return (images / images.abs().square().sum(2, keepdim=True).sqrt()).mT


def solved(case, dtype):
    """Return maps and images of all steps for the inputs of a case."""
    network = case.network.double() if dtype == torch.complex128 else case.network
    kspace, first = (
        ours(case.arrays[f"in/{key}"], case.dims).to(dtype)
        for key in ("masked_kspace", "sensitivity_map")
    )
    mask = mask_of(case.arrays["in/sampling_mask"], case.dims)
    maps = refined_maps(network, first)
    adjoint = combined(kspace.mT, maps.mT)
    start = adjoint if network.admm.sizes.start == "sense" else combined(kspace.mT, None)
    return maps, [image.mT for image in network.admm(start, adjoint, mask.mT, maps.mT)]


@pytest.mark.parametrize("gradients", [False, True], ids=["in place", "with gradients"])
@pytest.mark.parametrize("name", MODELS)
def test_maps_and_images_agree_with_the_official_ones(golden, name, gradients):
    case = golden_vsharp.case(golden, name)
    with torch.set_grad_enabled(gradients):
        maps, images = solved(case, torch.complex64)
        assert deviation(maps, ours(case.arrays["out/sensitivity_map"], case.dims)) <= 3e-5
        steps = [key for key in case.arrays if key.startswith("out/image_")]
        for key in steps:
            expected = images_of(case.arrays[key], case.dims)
            image = images[int(key.removeprefix("out/image_"))]
            assert deviation(image, expected) <= 1e-5
        assert steps

        _, images = solved(case, torch.complex128)
        expected = images_of(case.arrays["out64/image_last"], case.dims)
        assert deviation(images[-1], expected) <= 1e-9


def test_in_evaluation_only_the_last_image_is_kept(golden):
    case = golden_vsharp.case(golden, "2d_even_line")
    _, all_images = solved(case, torch.complex64)
    case.network.eval()
    _, last = solved(case, torch.complex64)
    assert len(all_images) == 2
    assert len(last) == 1
    assert torch.equal(last[0], all_images[-1])


def sample(golden, name, number):
    """Return the network of a pipeline, k-space and mask of a slice, and the arrays."""
    case = golden_vsharp.case(golden, name)
    rule = PIPELINES[name]
    network = VSharp(cascades=len(case.network.admm.rho), sizes=case.network.admm.sizes, rule=rule)
    network.load_state_dict(case.network.state_dict())

    full = torch.from_numpy(case.arrays["raw/kspace_full_tzcyx"])
    frame, place = divmod(number, full.shape[1])
    mask = mask_of(case.arrays[f"sample{number}/sampling_mask"][None], 2)
    kspace = (full[frame, place] * mask[0])[None, None]
    return network, kspace, mask, {
        key.split("/")[1]: value for key, value in case.arrays.items() if f"{number}/" in key
    }  # fmt: skip


@pytest.mark.parametrize(("name", "number"), SLICES)
def test_the_scale_is_exactly_the_official_one(golden, name, number):
    network, kspace, mask, arrays = sample(golden, name, number)
    kept, *_ = network.rule.prepared(kspace, mask)
    assert float(network.rule.scale(kept.mT)) == float(arrays["scaling_factor"])


@pytest.mark.parametrize("name", PIPELINES)
def test_calibration_lines_are_exactly_the_official_ones(golden, name):
    network, _, mask, arrays = sample(golden, name, 0)
    weights = network.rule.calibration_weights(mask.mT, None)[0] > 0
    expected = torch.from_numpy(arrays["acs_mask"])[0, ..., 0]
    padding = torch.from_numpy(arrays["padding"])[0, ..., 0]
    # The official program removes samples without signal from one of the masks.
    inside = weights & ~padding if network.rule.padding_unmeasured else weights
    assert torch.equal(inside.expand(expected.shape), expected)


@pytest.mark.parametrize(("name", "number"), SLICES)
def test_the_whole_pipeline_agrees_with_the_official_one(golden, name, number):
    """First maps are badly conditioned in air.

    There, the float32 values of the official program are up to 7e-5 from those of its algorithm in
    double precision, which carries over to 5e-5 in its images.
    """
    network, kspace, mask, arrays = sample(golden, name, number)
    final = torch.from_numpy(arrays["final"])[0].mT
    with torch.no_grad():
        whole = network(kspace, mask)
        double = network.double()(kspace.to(torch.complex128), mask)
        network.float()
        assert deviation(whole.image, final) <= 6e-5
        assert deviation(whole.image.double(), double.image) <= 1e-5

        if "sensitivity_map" in arrays and arrays["sensitivity_map"].ndim == 4:
            maps = ours(arrays["sensitivity_map"], 2)
            known = network(kspace, mask, maps=maps)
            assert deviation(known.image, final) <= 1e-5
            if "kspace" in arrays:
                scaled = known.kspace.mT / float(arrays["scaling_factor"])
                # Samples that are zero in the full data are not predicted by the official program.
                padding = torch.from_numpy(arrays["padding"])[..., 0]
                predicted = torch.where(padding & ~mask[0].mT, 0, scaled)
                assert deviation(predicted, complex_of(arrays["kspace"])) <= 1e-5


@pytest.mark.parametrize("name", ["multicoil_line", "multicoil_odd_radial", "singlecoil_line"])
def test_the_rule_of_deepinv_agrees_with_it(golden, name):
    case = golden_vsharp.case(golden, "2d_even_line")
    network = VSharp(cascades=2, sizes=case.network.admm.sizes, rule=DEEPINV)
    network.load_state_dict(case.network.state_dict())

    arrays = np.load(golden / "vsharp" / "deepinv_vsharp_cardiac.npz")
    parts = torch.from_numpy(arrays[f"{name}/in/y"])
    parts = parts if parts.ndim == 5 else parts[:, :, None]
    kspace = torch.complex(*parts.unbind(1))[:, None].mT
    mask = with_lines(torch.from_numpy(arrays[f"{name}/in/mask"])[None, None].bool().mT)

    assert float(DEEPINV.scale(kspace)) == float(arrays[f"{name}/mid/scaling_factor"][0])
    inside = torch.from_numpy(arrays[f"{name}/mid/acs_mask"])[0, 0, ..., 0].bool()
    found = DEEPINV.calibration_weights(mask.mT, None)[0] > 0
    assert torch.equal(found.expand(inside.shape), inside)

    with torch.no_grad():
        image = network(kspace, mask).image
    expected = torch.from_numpy(arrays[f"{name}/out/x"]).square().sum(1).sqrt().mT
    assert deviation(image, expected) <= 1e-5


def small(golden, name="3d_even_line"):
    case = golden_vsharp.case(golden, name)
    kspace = ours(case.arrays["in/masked_kspace"], case.dims)
    return case.network.eval(), kspace, mask_of(case.arrays["in/sampling_mask"], case.dims)


@pytest.mark.parametrize("name", ["2d_odd_radial", "3d_even_line"])
def test_zero_kspace_gives_a_zero_image(golden, name):
    network, kspace, mask = small(golden, name)
    with torch.no_grad():
        image = network(torch.zeros_like(kspace), mask).image
    assert not image.any()


@pytest.mark.parametrize("name", ["2d_odd_radial", "3d_even_line"])
@pytest.mark.parametrize("scale", [1e-7, 1e6])
def test_the_image_scales_with_kspace(golden, name, scale):
    network, kspace, mask = small(golden, name)
    with torch.no_grad():
        one, scaled = (network(k, mask).image for k in (kspace, kspace * scale))
    assert deviation(scaled / scale, one) < 1e-4


def test_a_series_gives_all_frames_with_their_kspace_and_maps(golden):
    network, kspace, mask = small(golden)
    with torch.no_grad():
        output = network(kspace, mask)
        part = network(kspace, mask, columns=slice(3, 9))
    assert isinstance(output, Output)
    assert output.image.shape == (6, 20, 22)
    assert output.kspace.shape == output.maps.shape == (6, 2, 20, 22)
    assert torch.equal(part.image, output.image[..., 3:9])
    measured = mask[0, 0, :, 0]
    assert torch.equal(output.kspace[..., measured, :], kspace[0][..., measured, :])


def test_large_images_are_convolved_in_slabs_with_the_same_result(golden, monkeypatch):
    for name in ("2d_odd_radial", "3d_even_line"):
        network, kspace, mask = small(golden, name)
        network, kspace = network.double(), kspace.to(torch.complex128)
        with torch.no_grad():
            whole = network(kspace, mask).image
            with monkeypatch.context() as patch:
                patch.setattr(vsharp_inplace, "SLAB", 500)
                patch.setattr(vsharp_frames, "SLAB", 500)
                patch.setattr(vsharp_unet, "INITIAL_SLAB", 250)
                slabs = network(kspace, mask).image
        assert deviation(slabs, whole) < 1e-10


@pytest.mark.parametrize("pools", [2, 4])
def test_images_that_are_too_small_are_refused(pools):
    sizes = {"filters": 2, "pools": pools, "sensitivity_filters": 0}
    network = golden_vsharp.build_small(sizes)
    edge = 2**pools
    for y, x, fits in ((edge, 2 * edge, True), (edge, edge, False), (edge - 1, 4 * edge, False)):
        kspace = torch.randn(1, 1, 2, y, x, dtype=torch.complex64)
        mask = torch.ones(1, 1, y, 1, dtype=torch.bool)
        if fits:
            assert network(kspace, mask).image.shape == (1, y, x)
        else:
            with refused("images-too-small"):
                network(kspace, mask)


def test_samples_without_signal_count_as_the_rule_says():
    """Line 5 is measured and far below a thousandth of the mean."""
    kspace = torch.randn(1, 1, 2, 16, 20, dtype=torch.complex64) + 2
    kspace[..., 5, :] *= 1e-5
    mask = torch.ones(1, 1, 16, 1, dtype=torch.bool)
    mask[:, :, 9] = False
    kspace = kspace * mask[:, :, None]

    kept, used, known = InputRule(padding_unmeasured=True).prepared(kspace, mask)
    assert not kept[..., 5, :].any()
    assert not used[..., 5, :].any()
    assert torch.equal(known, mask)
    kept, used, _ = InputRule(padding_unmeasured=False).prepared(kspace, mask)
    assert not kept[..., 5, :].any()
    assert torch.equal(used, mask)
    assert torch.equal(InputRule(padding=0).prepared(kspace, mask)[0], kspace)


def test_the_scale_is_a_rank_that_counts_zeros_but_no_silent_coils():
    y = torch.zeros(2, 1, 3, 10, 10, dtype=torch.complex64)
    y[:, :, :2, 0] = torch.arange(1, 21, dtype=torch.float32).view(2, 10).to(torch.complex64)
    y[1] *= 3
    # 200 magnitudes, of which the largest 20 are 20, 19, ..., 1: int(0.05 * 200) + 1 = 11.
    assert InputRule(percentile=0.95).scale(y).tolist() == [10, 30]
    assert InputRule(percentile=0.5).scale(y).tolist() == [0, 0]


@pytest.mark.parametrize("name", ["2d_even_line", "3d_even_line"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_reach_every_parameter(golden, name, checkpointing):
    network, kspace, mask = small(golden, name)
    network.train().checkpointing = checkpointing
    output = network(kspace, mask)
    (output.image.sum() + output.kspace.abs().sum()).backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        # The slope of the PReLU has no gradient where all its input is positive.
        assert parameter.grad.any() or "activation" in key, key


@pytest.mark.parametrize("name", ["2d_odd_radial", "3d_even_line"])
def test_checkpointing_does_not_change_gradients(golden, name):
    network, kspace, mask = small(golden, name)
    network, kspace = network.double(), kspace.to(torch.complex128)
    gradients = []
    for checkpointing in (False, True):
        network.train().checkpointing = checkpointing
        network.zero_grad()
        network(kspace, mask).image.square().sum().backward()
        gradients.append({key: p.grad.clone() for key, p in network.named_parameters()})
    plain, again = gradients
    for key, value in plain.items():
        torch.testing.assert_close(again[key], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["2d_odd_radial", "3d_even_line"])
def test_empty_kspace_has_finite_gradients(golden, name):
    network, kspace, mask = small(golden, name)
    output = network.train()(torch.zeros_like(kspace), mask)
    (output.image.sum() + output.images[0].sum()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("name", ["2d_odd_radial", "3d_even_line"])
def test_convolutions_may_run_in_lower_precision(golden, name):
    network, kspace, mask = small(golden, name)

    def lower(module, inputs):
        return tuple(x.to(torch.bfloat16) if isinstance(x, torch.Tensor) else x for x in inputs)

    with torch.no_grad():
        full = network(kspace, mask).image
        for module in network.convolutions():
            module.to(torch.bfloat16).register_forward_pre_hook(lower)
        low = network(kspace, mask).image
    assert low.dtype == torch.float32
    assert 0 < deviation(low, full) < 0.1


def test_a_batch_of_frames_gives_the_image_of_each(golden):
    network, kspace, mask = small(golden, "2d_even_line")
    kspace, mask = kspace.roll(1, 0), mask.roll(1, 0)
    with torch.no_grad():
        together = network(kspace, mask).image
        for one in range(2):
            alone = network(kspace[one : one + 1], mask[one : one + 1]).image
            assert deviation(alone[0], together[one]) < 1e-5


def test_lines_and_the_same_samples_give_the_same_image(golden):
    network, kspace, mask = small(golden, "2d_even_line")
    with torch.no_grad():
        lines = network(kspace, mask).image
        samples = network(kspace, mask.expand(-1, -1, -1, kspace.shape[-1])).image
    assert deviation(samples, lines) < 1e-5


@pytest.mark.parametrize(
    ("rule", "acs", "first", "count"),
    [
        ({"calibration": "lines", "lines": 24}, None, 13, 24),
        ({"calibration": "lines", "lines": 24}, 10, 20, 10),
        ({"calibration": "fraction", "fraction": 0.1}, None, 23, 5),
        ({"calibration": "fraction", "fraction": 0.1}, 24, 14, 24),
        ({"calibration": "lines", "lines": 99}, None, 0, 51),
        ({"calibration": "measured"}, None, 21, 8),
    ],
)
def test_calibration_lines_of_an_odd_matrix(rule, acs, first, count):
    """Of 51 lines, those from 21 to 29 were measured; their centre is line 25."""
    mask = torch.zeros(1, 1, 1, 51, dtype=torch.bool)
    mask[..., 21:30] = True
    found = InputRule(**rule).calibration_weights(mask, acs)[0, 0].nonzero().flatten().tolist()
    assert found == list(range(first, first + count))
