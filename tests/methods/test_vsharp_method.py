"""vSHARP from a checkpoint to images, through the public call."""

import numpy as np
import pytest
import torch
from golden_vsharp import mask_of
from refusals import refused
from small_networks import SMALL

import cmrrecon
from cmrrecon.methods.registry import from_checkpoint
from cmrrecon.networks.catalog import build
from cmrrecon.networks.checkpoints import layouts, weights

SLICES = [("uniform_2d", 0, "uniform"), ("uniform_2d", 3, "uniform")]
SLICES += [("challenge_2d_mask04", 0, "challenge23")]


@pytest.fixture
def converted(golden, tmp_path):
    """Convert the release with a preset, and return the file."""

    def convert(preset):
        file = golden / "vsharp/tiny_release/uniform_vsharp.pt"
        path = tmp_path / f"{preset}.safetensors"
        weights.save(path, weights.load(file, release=layouts.preset(preset)).network)
        return path

    return convert


@pytest.fixture
def series(tmp_path):
    """Return the file of a small 3-D network, the network, and k-space of 5 frames."""
    torch.manual_seed(0)
    network = build("vsharp-3d", SMALL["vsharp-3d"]).eval()
    weights.save(tmp_path / "a.safetensors", network)

    made = cmrrecon.simulate("cine", frames=5, slices=1, coils=3, y=32, x=40, seed=3)
    undersampled = cmrrecon.undersample(made.scan, "uniform", acceleration=2, acs=12)
    return tmp_path / "a.safetensors", network, undersampled


@pytest.mark.parametrize(("name", "number", "preset"), SLICES)
def test_a_slice_of_a_file_gives_the_official_image(golden, converted, name, number, preset):
    """The official float32 values are up to 5e-5 from their algorithm in double precision."""
    arrays = np.load(golden / "vsharp" / f"pipeline_{name}.npz")
    full = torch.from_numpy(arrays["raw/kspace_full_tzcyx"])
    mask = mask_of(arrays[f"sample{number}/sampling_mask"][None], 2)
    result = cmrrecon.reconstruct((full * mask[0, 0]).numpy(), checkpoint=converted(preset))

    frame, place = divmod(number, full.shape[1])
    expected = torch.from_numpy(arrays[f"out{number}/final"])[0, 0].mT
    image = torch.as_tensor(result.images[frame, place])
    assert float((image - expected).abs().max()) <= 7e-5 * float(expected.max())


def test_the_rule_of_the_network_calibrates_unless_the_user_gives_a_number(golden, converted):
    arrays = np.load(golden / "vsharp" / "pipeline_uniform_2d.npz")
    full = torch.from_numpy(arrays["raw/kspace_full_tzcyx"])
    kspace = (full * mask_of(arrays["sample0/sampling_mask"][None], 2)[0, 0]).numpy()
    checkpoint = converted("uniform")
    # 8 % of 38 lines are 3.
    own, same, more = (
        torch.as_tensor(cmrrecon.reconstruct(kspace, checkpoint=checkpoint, **options).images)
        for options in ({}, {"acs": 3}, {"acs": 8})
    )
    assert torch.equal(own, same)
    assert float((more - own).abs().max()) > 1e-3 * float(own.max())


def test_a_series_is_reconstructed_at_once(series):
    checkpoint, network, scan = series
    images = torch.as_tensor(cmrrecon.reconstruct(scan, checkpoint=checkpoint).images)[:, 0]
    kspace = scan.read_slice(0)
    with torch.no_grad():
        expected = network(kspace[None], scan.mask.samples[None]).image
    assert images.shape == (5, 32, 40)
    assert float((images - expected).abs().max()) <= 1e-5 * float(expected.max())


def test_the_cost_of_a_series_grows_with_its_size(series):
    checkpoint, _, scan = series
    method = from_checkpoint(checkpoint)
    cost = method.predict(scan.series(0), method.Options())
    half = method.predict(scan.series(0), method.Options(oversampling=2))
    assert 0 < half.flops < cost.flops
    assert 0 < half.nbytes < cost.nbytes
    assert cost.seconds > 0


def test_a_network_for_whole_series_with_its_own_maps_is_not_adapted(series):
    checkpoint, _, scan = series
    with refused("not-adaptable"):
        cmrrecon.reconstruct(scan, checkpoint=checkpoint, adapt=2)


def test_a_network_for_frames_is_adapted(golden, converted, series):
    scan = series[2]
    result = cmrrecon.reconstruct(scan, checkpoint=converted("uniform"), adapt=2)
    assert torch.as_tensor(result.images).isfinite().all()


@pytest.mark.parametrize("shape", [(3, 40), (7, 7)])
def test_series_that_are_too_small_are_refused(converted, shape):
    kspace = np.random.default_rng(0).standard_normal((1, 1, 2, *shape)).astype(np.complex64)
    with refused("images-too-small"):
        cmrrecon.reconstruct(kspace, checkpoint=converted("uniform"))
