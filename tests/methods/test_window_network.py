"""Networks for windows as methods: windows, shared maps, precision, memory, predictions."""

import weakref
from dataclasses import replace

import pytest
import torch
from refusals import refused

from cmrrecon.data import Acquisition, LineMask, Series, window
from cmrrecon.methods import window_network
from cmrrecon.methods.base import Weights
from cmrrecon.methods.network import NetworkOptions, without_oversampling
from cmrrecon.methods.window_network import Batch, WindowNetworkMethod, acs_of
from cmrrecon.networks.e2e_varnet import E2EVarNet
from cmrrecon.networks.prompt_unet import UnetConfig
from cmrrecon.networks.promptmr import PromptMR
from cmrrecon.networks.promptmr_plus import PromptMRPlus
from cmrrecon.networks.unet import UNet
from cmrrecon.operators.coil_images import time_average
from cmrrecon.sampling import undersample
from cmrrecon.simulation import simulate

TINY = UnetConfig(4, (4, 8, 8), (4, 4, 4), (2, 2, 2), (4, 4, 4), (1, 1, 1), (1, 1, 1), (1, 1, 1), 1)
SIZES = {"cascades": 2, "unet": TINY, "sensitivity_unet": TINY}


def network(kind=PromptMR, **parameters):
    torch.manual_seed(0)
    return kind(**{**SIZES, **parameters})


def method_of(trained):
    return WindowNetworkMethod("tiny", "a test", trained, Weights("digest", {"envelope": "{}"}))


def method(kind=PromptMR, **parameters):
    return method_of(network(kind, **parameters))


@pytest.fixture(scope="module")
def scan():
    return simulate("cine", frames=6, slices=1, coils=3, y=37, x=48, seed=0).scan


def sampled(scan, pattern):
    return undersample(scan, pattern, 4, acs=12, seed=1).series(0)


@pytest.fixture(params=["kt-gaussian", "uniform", "kt-radial"])
def series(scan, request):
    return sampled(scan, request.param)


@pytest.fixture(scope="module")
def moving(scan):
    return sampled(scan, "kt-gaussian")


@pytest.fixture(scope="module")
def fixed(scan):
    return sampled(scan, "uniform")


def one_by_one(net, series):
    """Images of the network, one window after the other."""
    images, samples, frames = [], series.mask.samples, series.frames
    for t in range(frames):
        rows = window(t, frames, net.frames)
        masks = samples[rows] if len(samples) > 1 else samples
        with torch.no_grad():
            acs = acs_of(series, NetworkOptions())
            images.append(net(series.kspace[None, rows], masks[None], acs).image[0])
    return torch.stack(images)


def assert_near(images, expected):
    torch.testing.assert_close(images, expected, atol=1e-5 * float(expected.max()), rtol=1e-4)


@pytest.mark.parametrize("kind", [PromptMR, PromptMRPlus])
@pytest.mark.parametrize("batch", [Batch(), Batch(windows=4, coils=2)])
def test_windows_together_with_shared_maps_are_windows_one_by_one(series, kind, batch, monkeypatch):
    tiny = method(kind, **({"history": 1} if kind is PromptMRPlus else {}))
    monkeypatch.setattr(WindowNetworkMethod, "batch", lambda self, series, options: batch)
    assert_near(tiny(series), one_by_one(tiny.trained, series))


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_series_shorter_than_the_window(moving, frames):
    mask = moving.mask.chosen(moving.mask.samples[:frames])
    short = replace(moving, kspace=moving.kspace[:frames], mask=mask)
    images = method()(short)
    assert images.shape == (frames, 37, 48)
    assert_near(images, one_by_one(network(), short))


@pytest.mark.parametrize("scale", [1e-11, 1e6])
def test_images_scale_with_kspace(moving, scale):
    expected = method()(moving)
    scaled = method()(moving.scaled(scale)) / scale
    torch.testing.assert_close(scaled, expected, rtol=1e-3, atol=1e-4 * float(expected.max()))


@pytest.mark.parametrize("coils", [1, 32])
def test_any_number_of_coils(coils):
    made = simulate("cine", frames=5, slices=1, coils=coils, y=32, x=32, seed=0)
    series = undersample(made.scan, "uniform", 4, acs=8).series(0)
    assert method()(series).shape == (5, 32, 32)


def test_low_precision_is_close(moving):
    tiny = method()
    fine, coarse = tiny(moving), tiny(moving, {"precision": "bf16"})
    assert coarse.dtype == torch.float32
    assert not torch.equal(fine, coarse)
    torch.testing.assert_close(coarse, fine, atol=0.05 * float(fine.max()), rtol=0)
    assert next(tiny.trained.parameters()).dtype == torch.float32
    assert torch.equal(tiny(moving), fine)


def test_other_networks_and_widths_of_windows(series):
    sizes = {"channels": 4, "pools": 2, "sensitivity_channels": 4, "sensitivity_pools": 2}
    tiny = method_of(E2EVarNet(cascades=2, **sizes))
    assert_near(tiny(series), one_by_one(tiny.trained, series))


def test_networks_without_their_own_maps(fixed):
    tiny = method_of(UNet(channels=4, pools=1).eval())
    assert_near(tiny(fixed), one_by_one(tiny.trained, fixed))


def test_smaller_batches_are_tried_when_memory_runs_out(moving, monkeypatch):
    tiny, tried, enough = method(), [], window_network.windowed

    def short_of_memory(network, prepared, acs, batch, beside):
        tried.append(batch)
        if batch.windows > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return enough(network, prepared, acs, batch, beside)

    monkeypatch.setattr(window_network, "windowed", short_of_memory)
    monkeypatch.setattr(WindowNetworkMethod, "batch", lambda self, series, options: Batch(4, 8))
    assert tiny(moving).shape == (6, 37, 48)
    assert tried == [Batch(4, 8), Batch(2, 4), Batch(1, 2)]


def test_no_batch_is_small_enough(fixed, monkeypatch):
    def short_of_memory(*arguments):
        raise MemoryError

    monkeypatch.setattr(window_network, "windowed", short_of_memory)
    with refused("memory-shortage") as error:
        method()(fixed)
    assert "tiny" in str(error.value)


def test_a_failed_attempt_leaves_no_memory_behind(fixed, monkeypatch):
    class Large:
        pass

    left = []

    def short_of_memory(network, prepared, acs, batch, beside):
        large = Large()
        assert all(reference() is None for reference in left)
        left.append(weakref.ref(large))
        raise MemoryError

    monkeypatch.setattr(window_network, "windowed", short_of_memory)
    monkeypatch.setattr(WindowNetworkMethod, "batch", lambda self, series, options: Batch(4, 4))
    with refused("memory-shortage"):
        method()(fixed)
    assert len(left) == 3


def test_other_errors_cause_no_retry(fixed, monkeypatch):
    tried = []

    def defect(*arguments):
        tried.append(arguments)
        raise RuntimeError("a defect")

    monkeypatch.setattr(window_network, "windowed", defect)
    with pytest.raises(RuntimeError, match="a defect"):
        method()(fixed)
    assert len(tried) == 1


def test_nan_is_never_silent(fixed):
    broken = method()
    with torch.no_grad():
        broken.trained.cascades[0].dc_weight.fill_(float("nan"))
    with refused("result-not-finite"):
        broken(fixed)


def test_options_are_checked():
    assert method().options({"precision": "bf16"}) == NetworkOptions("bf16", None, 1, False)
    for wrong in ({"precision": "fp8"}, {"acs": 0}, {"compile": 1}, {"oversampling": 1.5}):
        with refused("option-value"):
            method().options(wrong)
    with refused("unknown-option"):
        method().options({"weight": 1.0})


def test_the_calibration_lines_come_from_the_option_the_file_or_the_mask(moving):
    assert acs_of(moving, NetworkOptions(acs=6)) == 6
    assert acs_of(moving, NetworkOptions()) == 12
    lines = torch.zeros((1, 37, 1), dtype=torch.bool)
    lines[:, 16:22] = True
    assert acs_of(Series(moving.kspace, LineMask(lines)), NetworkOptions()) == 4
    known = Series(moving.kspace, LineMask(lines), Acquisition(acs=2))
    assert acs_of(known, NetworkOptions()) == 2


def test_cutting_the_oversampling_is_exact_for_line_masks(scan, moving):
    cut = without_oversampling(moving.kspace, 2)
    expected = without_oversampling(scan.series(0).kspace, 2) * moving.mask.samples[:, None]
    assert cut.shape == (6, 3, 37, 24)
    torch.testing.assert_close(cut, expected, atol=1e-5, rtol=1e-4)
    images = method()(moving, {"oversampling": 2})
    assert images.shape == (6, 37, 48)
    assert not images[..., :12].any()
    assert not images[..., 36:].any()
    assert images[..., 12:36].any()


def test_cutting_the_oversampling_of_sample_masks_is_refused(scan):
    with refused("needs-lines"):
        method()(sampled(scan, "kt-radial"), {"oversampling": 2})


def test_too_narrow_images_are_refused(fixed):
    with refused("option-value"):
        method()(fixed, {"oversampling": 8})


def test_trajectories_are_refused():
    pytest.importorskip("finufft")
    made = simulate("cine", frames=3, slices=1, coils=3, y=32, x=32, spokes=9)
    with refused("needs-cartesian"):
        method()(made.scan.series(0))


@pytest.mark.parametrize("pattern", ["uniform", "kt-radial"])
def test_a_prediction_counts_maps_once_a_frame(scan, pattern):
    series = sampled(scan, pattern)
    tiny, samples = method(), series.mask.samples
    cost = tiny.predict(series, NetworkOptions())
    longer = samples if len(samples) == 1 else torch.cat([samples] * 2)
    kspace = torch.cat([series.kspace] * 2)
    double = Series(kspace, series.mask.chosen(longer), series.acquisition)
    twice = tiny.predict(double, NetworkOptions())
    assert twice.flops == 2 * cost.flops
    assert twice.nbytes > cost.nbytes > series.kspace.nbytes
    assert cost.seconds > 0
    joint = method(PromptMRPlus, history=1)
    assert joint.predict(series, NetworkOptions()).flops > cost.flops


def test_a_method_reports_its_weights(moving):
    tiny = method()
    assert not tiny.decides
    assert tiny.weights().digest == "digest"
    assert tiny.training_facts(None) == {"envelope": "{}"}
    assert tiny.adaptable(NetworkOptions()).network is tiny.trained


def test_a_network_can_be_replaced(moving):
    tiny = method()
    before = tiny(moving, {"precision": "bf16"})
    torch.manual_seed(1)
    other = tiny.adaptable(NetworkOptions()).adopt(PromptMR(**SIZES))
    assert (other.name, other.weights()) == (tiny.name, tiny.weights())
    assert not torch.equal(other(moving, {"precision": "bf16"}), before)
    assert torch.equal(tiny(moving, {"precision": "bf16"}), before)


def test_frames_without_a_common_block_share_the_maps_of_their_average(scan):
    """A single frame has no calibration lines; all frames together have."""
    made = network(PromptMR)
    series = undersample(scan, "kt-uniform", 3, acs=0, seed=1).series(0)
    assert acs_of(series, NetworkOptions()) > 16
    images = method_of(made)(series)
    maps = made.sensitivity(
        time_average(series.kspace, series.mask.samples)[None, None],
        series.mask.samples.any(0)[None, None],
        acs_of(series, NetworkOptions()),
    )
    rows = window(2, series.frames, made.frames)
    with torch.no_grad():
        expected = made(
            series.kspace[None, rows],
            series.mask.samples[rows][None],
            acs_of(series, NetworkOptions()),
            maps=maps.expand(1, made.frames, -1, -1, -1),
        ).image[0]
    assert_near(images[2], expected)


def test_windows_without_shared_maps_use_the_average_too(scan):
    series = undersample(scan, "kt-uniform", 3, acs=0, seed=1).series(0)
    images = method(PromptMRPlus)(series)
    assert images.shape == (6, 37, 48)
    assert torch.isfinite(images).all()
