"""Networks as methods: windows, shared maps, precision, memory, predictions."""

import weakref
from dataclasses import replace

import pytest
import torch
from kinds import mask_of

from cmrrecon.data import Series, window
from cmrrecon.methods import network as learned
from cmrrecon.methods.network import without_oversampling
from cmrrecon.methods.registry import find_method
from cmrrecon.methods.window_network import Batch, acs_of
from cmrrecon.networks.catalog import build
from cmrrecon.networks.e2e_varnet import E2EVarNet
from cmrrecon.networks.prompt_unet import UnetConfig
from cmrrecon.networks.promptmr import PromptMR
from cmrrecon.networks.promptmr_plus import PromptMRPlus
from cmrrecon.sampling.apply import undersample
from cmrrecon.simulation.scans import simulate
from cmrrecon.tools.errors import MemoryShortage, NumericalError, UsageError

TINY = UnetConfig(4, (4, 8, 8), (4, 4, 4), (2, 2, 2), (4, 4, 4), (1, 1, 1), (1, 1, 1), (1, 1, 1), 1)
SIZES = {"cascades": 2, "unet": TINY, "sensitivity_unet": TINY}


def network(kind=PromptMR, **parameters):
    torch.manual_seed(0)
    return kind(**{**SIZES, **parameters})


def method(kind=PromptMR, **parameters):
    return NetworkMethod("tiny", network(kind, **parameters), "", "")


@pytest.fixture(scope="module")
def full():
    return simulate("cine", frames=6, slices=1, coils=3, y=37, x=48, seed=0).scan


@pytest.fixture(params=["kt-gaussian", "uniform", "kt-radial"])
def series(full, request):
    return undersample(full, request.param, 4, acs=12, seed=1).series(0)


def one_by_one(net, series):
    """What the network gives for one window after the other."""
    images = []
    for t in range(len(series.kspace)):
        rows = window(t, len(series.kspace), net.frames)
        masks = series.mask[rows] if len(series.mask) > 1 else series.mask
        with torch.no_grad():
            images.append(net(series.kspace[None, rows], masks[None], acs_of(series, {"acs": "auto"})).image[0])
    return torch.stack(images)


@pytest.mark.parametrize("kind", [PromptMR, PromptMRPlus])
@pytest.mark.parametrize("batch", [Batch(), Batch(windows=4, coils=2)])
def test_windows_together_with_shared_maps_are_windows_one_by_one(series, kind, batch, monkeypatch):
    tiny = method(kind, **({"history": 1} if kind is PromptMRPlus else {}))
    monkeypatch.setattr(NetworkMethod, "batch", lambda self, series, settings: batch)
    expected = one_by_one(tiny.network, series)
    torch.testing.assert_close(tiny(series), expected, atol=1e-5 * float(expected.max()), rtol=1e-4)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_series_shorter_than_the_window(full, frames):
    series = undersample(full, "kt-gaussian", 4, acs=12, seed=1).series(0)
    short = replace(series, kspace=series.kspace[:frames], mask=series.mask[:frames])
    images = method()(short)
    assert images.shape == (frames, 37, 48)
    expected = one_by_one(network(), short)
    torch.testing.assert_close(images, expected, atol=1e-5 * float(expected.max()), rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-11, 1e6])
def test_images_scale_with_kspace(full, scale):
    series = undersample(full, "kt-gaussian", 4, acs=12, seed=1).series(0)
    expected = method()(series)
    torch.testing.assert_close(method()(series.scaled(scale)) / scale, expected, rtol=1e-3, atol=1e-4 * float(expected.max()))


@pytest.mark.parametrize("coils", [1, 32])
def test_any_number_of_coils(coils):
    made = simulate("cine", frames=5, slices=1, coils=coils, y=32, x=32, seed=0)
    assert method()(undersample(made.scan, "uniform", 4, acs=8).series(0)).shape == (5, 32, 32)


def test_low_precision_is_near(full):
    series = undersample(full, "kt-gaussian", 4, acs=12, seed=1).series(0)
    tiny = method()
    fine, coarse = tiny(series), tiny(series, {"precision": "bf16"})
    assert coarse.dtype == torch.float32
    assert not torch.equal(fine, coarse)
    torch.testing.assert_close(coarse, fine, atol=0.05 * float(fine.max()), rtol=0)
    assert next(tiny.network.parameters()).dtype == torch.float32
    assert torch.equal(tiny(series), fine)


def test_other_networks_and_widths_of_windows(series):
    tiny = NetworkMethod("varnet", E2EVarNet(cascades=2, channels=4, pools=2, sensitivity_channels=4, sensitivity_pools=2), "", "")
    expected = one_by_one(tiny.network, series)
    torch.testing.assert_close(tiny(series), expected, atol=1e-5 * float(expected.max()), rtol=1e-4)


def test_smaller_batches_are_tried_when_memory_runs_out(full, monkeypatch):
    series = undersample(full, "kt-gaussian", 4, acs=12, seed=1).series(0)
    tiny, tried = method(), []
    images = NetworkMethod._images

    def short_of_memory(self, network, series, settings, batch):
        tried.append(batch)
        if batch.windows > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return images(self, network, series, settings, batch)

    monkeypatch.setattr(NetworkMethod, "_images", short_of_memory)
    monkeypatch.setattr(NetworkMethod, "batch", lambda self, series, settings: Batch(4, 8))
    assert tiny(series).shape == (6, 37, 48)
    assert tried == [Batch(4, 8), Batch(2, 4), Batch(1, 2)]


def test_no_batch_is_small_enough(full, monkeypatch):
    def short_of_memory(*arguments):
        raise MemoryError

    monkeypatch.setattr(NetworkMethod, "_images", short_of_memory)
    with pytest.raises(MemoryShortage, match="tiny ran out of memory"):
        method()(undersample(full, "uniform", 4, acs=12).series(0))


def test_nan_is_never_silent(full):
    broken = method()
    with torch.no_grad():
        broken.network.cascades[0].dc_weight.fill_(float("nan"))
    with pytest.raises(NumericalError, match="NaN"):
        broken(undersample(full, "uniform", 4, acs=12).series(0))


def test_options_are_checked():
    assert method().check({"precision": "bf16"}) == {"precision": "bf16", "acs": "auto", "oversampling": 1, "compile": False}
    for wrong in ({"precision": "fp8"}, {"weight": 1.0}, {"acs": 0}, {"compile": 1}, {"oversampling": 1.5}):
        with pytest.raises(UsageError):
            method().check(wrong)


def test_the_calibration_lines_come_from_the_option_the_file_or_the_mask(full):
    series = undersample(full, "kt-gaussian", 4, acs=12, seed=1).series(0)
    assert acs_of(series, {"acs": 6}) == 6
    assert acs_of(series, {"acs": "auto"}) == 12
    mask = torch.zeros_like(series.mask)
    mask[:, 16:22] = True
    assert acs_of(Series(series.kspace, mask_of(mask)), {"acs": "auto"}) == 4


def test_cutting_the_oversampling_is_exact_for_line_masks(full):
    series = undersample(full, "kt-gaussian", 4, acs=12, seed=1).series(0)
    cut = without_oversampling(series.kspace, 2)
    expected = full.series(0).kspace
    assert cut.shape == (6, 3, 37, 24)
    torch.testing.assert_close(cut, without_oversampling(expected, 2) * series.mask[:, None], atol=1e-5, rtol=1e-4)
    images = method()(series, {"oversampling": 2})
    assert images.shape == (6, 37, 48)
    assert not images[..., :12].any()
    assert not images[..., 36:].any()
    assert images[..., 12:36].any()


def test_cutting_the_oversampling_of_sample_masks_is_refused(full):
    with pytest.raises(UsageError, match="oversampling"):
        method()(undersample(full, "kt-radial", 4, acs=12, seed=1).series(0), {"oversampling": 2})


def test_too_narrow_images_are_refused(full):
    with pytest.raises(UsageError, match="columns"):
        method()(undersample(full, "uniform", 4, acs=12).series(0), {"oversampling": 8})


def test_a_failed_attempt_leaves_nothing_behind(full, monkeypatch):
    class Large:
        pass

    left = []

    def short_of_memory(self, network, series, settings, batch):
        large = Large()
        assert all(reference() is None for reference in left)
        left.append(weakref.ref(large))
        raise MemoryError

    monkeypatch.setattr(NetworkMethod, "_images", short_of_memory)
    monkeypatch.setattr(NetworkMethod, "batch", lambda self, series, settings: Batch(4, 4))
    with pytest.raises(MemoryShortage):
        method()(undersample(full, "uniform", 4, acs=12).series(0))
    assert len(left) == 3


def test_a_discriminator_reconstructs_nothing(tmp_path):
    learned.weights.save(tmp_path / "gan.safetensors", build("patch-gan", {"channels": 4}), {})
    with pytest.raises(UsageError, match="discriminator"):
        learned.from_file(tmp_path / "gan.safetensors")


def test_networks_without_weights_are_named(monkeypatch, tmp_path):
    with pytest.raises(UsageError, match="No weights are installed"):
        find_method("promptmr")
    with pytest.raises(UsageError, match="no method"):
        find_method("promptnr")
    assert find_method("sense").name == "sense"
    learned.weights.save(tmp_path / "promptmr.safetensors", network(), {})
    monkeypatch.setattr(learned.weights, "PRETRAINED", tmp_path)
    assert find_method("promptmr").name == "promptmr"


def test_a_prediction_counts_maps_once_a_frame(series):
    tiny = method()
    cost = tiny.predict(series, tiny.check({}))
    double = Series(torch.cat([series.kspace] * 2), mask_of(series.mask if len(series.mask) == 1 else torch.cat([series.mask] * 2)), series.acquisition)
    twice = tiny.predict(double, tiny.check({}))
    assert twice.flops == 2 * cost.flops
    assert twice.nbytes > cost.nbytes > series.kspace.nbytes
    assert cost.seconds > 0
    joint = method(PromptMRPlus, history=1)
    assert joint.predict(series, joint.check({})).flops > cost.flops
