"""Strips of columns: exact for line masks, and only in training."""

import random

import pytest
import torch
from torch import nn

from cmrrecon import formats
from cmrrecon.data import Scan
from cmrrecon.networks.base import build_network
from cmrrecon.networks.prompt_unet import NO_HISTORY, NormPromptUnet, UnetConfig
from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import fftc, ifft2c, ifftc
from cmrrecon.sampling.make import make_mask
from cmrrecon.training import plan, recipe
from cmrrecon.training.batch import collate
from cmrrecon.training.dataset import Windows, batches
from cmrrecon.training.entries import read_entries
from cmrrecon.training.recipe import Data, Sampling
from cmrrecon.training.store import add_scan, write_fingerprint
from cmrrecon.training.strips import strip, trained_shape

CPU = torch.device("cpu")
TINY = UnetConfig(
    features=4,
    dims=(4, 4, 4),
    prompt_dims=(2, 2, 2),
    prompt_lengths=(2, 2, 2),
    prompt_sizes=(4, 4, 4),
    encoder_blocks=(1, 1, 1),
    decoder_blocks=(1, 1, 1),
    skip_blocks=(1, 1, 1),
    bottleneck_blocks=1,
)
Y, X, COLUMNS = 20, 30, 12
NOWHERE = torch.zeros(Y, X, dtype=torch.bool)


class Pointwise(nn.Module):
    """Scales every pixel, in place of a U-Net, which also sees the surroundings."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.1))

    def forward(self, x, history=NO_HISTORY, carried=None, used=None):
        features = torch.cat([x.real, x.imag], 1)
        images = self.factor * x
        return images if used is None else images[:, [*used]], history, features


def random_kspace(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.complex64, generator=generator)


def columns_of(kspace, part):
    """Return the k-space of the columns `part` of the image."""
    return fftc(ifftc(kspace, -1)[..., part], -1)


def windows(folder, columns=0, pattern="kt-gaussian", **more):
    sampling = Sampling(patterns=(pattern,), accelerations=(4.0,), acs=12)
    return Windows(folder, read_entries(folder), 3, sampling, Data(columns=columns), 1, **more)


def test_undersampling_a_strip_is_the_strip_of_the_undersampled_scan():
    kspace = random_kspace(3, 2, Y, X)
    mask = make_mask("kt-gaussian", frames=3, y=Y, x=X, acceleration=2, acs=4, seed=0)[:, None]
    for seed in range(4):
        cut, _ = strip(kspace, NOWHERE, COLUMNS, random.Random(seed))
        found = [
            part
            for part in (slice(start, start + COLUMNS) for start in range(X - COLUMNS + 1))
            if torch.allclose(columns_of(kspace, part), cut, atol=1e-4)
        ]
        assert len(found) == 1
        undersampled = columns_of(kspace * mask, found[0])
        torch.testing.assert_close(undersampled, cut * mask, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("promptmr", {"variant": "kspace"}),
        ("promptmr", {"variant": "image"}),
        ("promptmr-plus", {"variant": "image", "history": 0, "joint_maps": False}),
        ("promptmr-plus", {"variant": "kspace", "history": 0, "joint_maps": False}),
        ("genre-cmr", {}),
    ],
)
def test_with_pointwise_updates_gradients_equal_those_of_the_whole_scan(name, settings):
    size = {"frames": 3, "cascades": 2, "unet": TINY.__dict__, "sensitivity_unet": TINY.__dict__}
    network = build_network(name, {**size, **settings})
    for cascade in network.cascades:
        cascade.model = Pointwise()
    part = slice(7, 7 + COLUMNS)
    mask = make_mask("kt-gaussian", frames=3, y=Y, x=X, acceleration=2, acs=4, seed=0)[None]
    kspace = random_kspace(1, 3, 2, Y, X) * mask[:, :, None]
    maps = random_kspace(1, 3, 2, Y, X, seed=1)
    maps = maps / rss(maps)[:, :, None]

    def gradients(kspace, maps, shown):
        network.zero_grad()
        image = network(kspace, mask, 4, maps=maps).image[..., shown]
        image.square().sum().backward()
        found = {
            key: value.grad for key, value in network.named_parameters() if value.grad is not None
        }
        return image.detach(), {key: value.clone() for key, value in found.items()}

    image, whole = gradients(kspace, maps, part)
    cut, strips = gradients(columns_of(kspace, part), maps[..., part], slice(None))

    torch.testing.assert_close(cut, image, atol=1e-4, rtol=1e-4)
    assert whole.keys() == strips.keys()
    assert sum(bool(value.abs().max() > 1e-3) for value in whole.values()) >= 3
    for key, value in whole.items():
        torch.testing.assert_close(strips[key], value, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("pattern", "width"), [("kt-gaussian", 1), ("kt-radial", 24)])
def test_a_sample_is_a_scan_of_some_columns(data, pattern, width):
    seen, whole = windows(data, 24, pattern), windows(data)
    place = seen.places[4]
    sample, reference = seen.sample(place, 0), whole.sample(place, 0)

    assert seen.shape(place, 0) == (*whole.shape(place, 0)[:2], 24) == sample.kspace.shape[1:]
    assert sample.mask.shape[-1] == width
    assert sample.limit == reference.limit
    assert sample.lesion.shape == sample.target.shape
    torch.testing.assert_close(rss(ifft2c(sample.target_kspace)), sample.target)

    places = [
        start
        for start in range(48 - 24 + 1)
        if torch.allclose(reference.target[:, start : start + 24], sample.target, atol=1e-4)
    ]
    assert len(places) == 1
    assert torch.equal(sample.kspace, sample.kspace * sample.mask[:, None])


def test_every_epoch_has_other_strips_and_the_same_epoch_the_same(data):
    seen = windows(data, 24)
    targets = [seen.sample(seen.places[0], epoch).target for epoch in range(6)]
    assert torch.equal(targets[2], windows(data, 24).sample(seen.places[0], 2).target)
    assert any(not torch.equal(targets[0], other) for other in targets[1:])


def test_validation_is_on_whole_scans(data):
    strips, whole = windows(data, 24, fixed=True), windows(data, fixed=True)
    one, other = (found.sample(found.places[0], 0) for found in (strips, whole))
    assert torch.equal(one.kspace, other.kspace)
    assert torch.equal(one.target, other.target)
    assert strips.shape(strips.places[0], 0) == whole.shape(whole.places[0], 0)


def test_strips_lie_where_the_signal_is_and_lesions_move_with_them():
    images = torch.zeros(2, 1, Y, X, dtype=torch.complex64)
    images[..., 4:9] = 1
    lesion = NOWHERE.clone()
    lesion[:, 6] = True
    for seed in range(8):
        cut, moved = strip(fftc(images, -1), lesion, COLUMNS, random.Random(seed))
        shown = ifftc(cut, -1).abs()[0, 0, 0] > 0.5
        assert int(shown.sum()) == 5
        assert torch.equal(moved[0].nonzero(), shown.nonzero()[2:3])


@pytest.mark.parametrize("columns", [X, X + 8])
def test_a_narrow_scan_stays_whole(columns):
    kspace = random_kspace(1, 1, Y, X)
    assert torch.equal(strip(kspace, NOWHERE, columns, random.Random(0))[0], kspace)


def test_a_scan_without_signal_is_cut_in_the_middle():
    cut, _ = strip(
        torch.zeros(1, 1, Y, X, dtype=torch.complex64), NOWHERE, COLUMNS, random.Random()
    )
    assert cut.shape == (1, 1, Y, COLUMNS)


def test_later_epochs_are_on_whole_scans(data):
    sampling = Sampling(patterns=("kt-gaussian",), accelerations=(4.0,), acs=12)
    settings = Data(columns=24, whole_from=2)
    seen = Windows(data, read_entries(data), 3, sampling, settings, 1)
    place = seen.places[0]
    for epoch, x in ((0, 24), (1, 24), (2, 48), (3, 48)):
        assert seen.sample(place, epoch).kspace.shape[-1] == seen.shape(place, epoch)[-1] == x
        assert {
            seen.shape(p, epoch)[-1]
            for batch in batches(seen, epoch, lambda shape: 2)
            for p in batch
        } == {x}


def test_scans_without_the_edges_of_kspace_are_used_whole(tmp_path):
    kspace = random_kspace(3, 1, 2, 32, 32)
    kspace[..., :8] = 0
    formats.write_scan(tmp_path / "cine_sax.mat", Scan.from_kspace(kspace), variable="kspace")
    add_scan(tmp_path / "cine_sax.mat", tmp_path / "store/cine_sax.h5", allow_partial=True)
    write_fingerprint(tmp_path / "store")
    seen = windows(tmp_path / "store", 24, "uniform")
    sample = seen.sample(seen.places[0], 0)
    assert sample.kspace.shape[-1] == seen.shape(seen.places[0], 0)[-1] == 32
    assert not sample.mask[..., :8].any()


def test_the_plan_is_made_for_strips(monkeypatch):
    sizes = []
    monkeypatch.setattr(
        plan, "window_bytes", lambda recipe, shape, *, checkpointing: sizes.append(shape) or 1000
    )
    entry = {"shape": [12, 2, 4, 64, 96], "empty_slices": []}
    chosen = recipe.load("promptmr", ["data.columns=32", "schedule.batch=2"])
    assert plan.make_plan(chosen, [entry], CPU).batches == {"4x64x32": 2}
    assert sizes == [trained_shape(entry, 32)] == [(4, 64, 32)]

    chosen = recipe.load("promptmr", ["data.columns=32", "data.whole_from=3"])
    assert plan.make_plan(chosen, [entry], CPU).batches == {"4x64x32": 1, "4x64x96": 1}
    assert sizes[1:] == [(4, 64, 96)]


@pytest.mark.parametrize("pattern", ["kt-gaussian", "kt-radial"])
def test_maps_of_the_middle_frame_serve_the_window(data, pattern):
    network = build_network(
        "promptmr",
        {"frames": 3, "cascades": 1, "unet": TINY.__dict__, "sensitivity_unet": TINY.__dict__},
    )
    batch = collate([windows(data, pattern=pattern).sample(windows(data).places[1], 0)], CPU)
    maps = network.sens_net(batch.kspace, batch.mask, batch.acs)

    image = batch.given_to(network, middle_maps=True).image
    expected = network(batch.kspace, batch.mask, batch.acs, maps=maps[:, [1]].expand_as(maps)).image

    torch.testing.assert_close(image, expected, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(image, batch.given_to(network).image, atol=1e-6, rtol=1e-5)
    image.sum().backward()
    assert all(
        value.grad is not None and bool(value.grad.abs().max() > 0)
        for key, value in network.sens_net.named_parameters()
        if key.endswith("conv_last.weight")
    )


def test_networks_with_joint_maps_ignore_the_middle_frame(data):
    network = build_network(
        "promptmr-plus",
        {
            "frames": 3,
            "cascades": 1,
            "history": 0,
            "unet": TINY.__dict__,
            "sensitivity_unet": TINY.__dict__,
        },
    )
    batch = collate([windows(data).sample(windows(data).places[1], 0)], CPU)
    assert torch.equal(
        batch.given_to(network, middle_maps=True).image, batch.given_to(network).image
    )


def test_unused_outputs_are_left_out_and_the_others_stay():
    torch.manual_seed(0)
    network = NormPromptUnet(2, 4, TINY, nn.PReLU())
    x = random_kspace(1, 2, 21, 30)

    def gradients(images):
        network.zero_grad()
        images.abs().sum().backward()
        return {
            key: value.grad.clone()
            for key, value in network.named_parameters()
            if value.grad is not None
        }

    every, some = network(x)[0][:, [0, 3]], network(x, used=[0, 3])[0]
    torch.testing.assert_close(some, every)
    whole, part = gradients(every), gradients(some)
    for key, value in whole.items():
        torch.testing.assert_close(part[key], value, atol=1e-4, rtol=1e-4)
