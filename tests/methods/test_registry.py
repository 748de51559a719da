"""The registry, and the contract of every method in it."""

import dataclasses

import pytest
import torch
from refusals import refused

from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.data import Series
from cmrrecon.methods.base import Method, described
from cmrrecon.methods.registry import DEFAULT_METHOD, METHODS, find_method, from_checkpoint
from cmrrecon.methods.series_network import ProblemNetworkMethod
from cmrrecon.methods.window_network import WindowNetworkMethod
from cmrrecon.networks.catalog import build
from cmrrecon.networks.checkpoints import weights

MAGNITUDES = ("zero-filled", "grappa")


def quick(name):
    """A method, and options that make it fast."""
    method = find_method(name)
    fields = {field.name for field in dataclasses.fields(method.Options)}
    return method, {"iterations": 4} if "iterations" in fields else {}


@pytest.fixture(scope="module")
def series(sampled):
    return sampled("uniform", 3, frames=2, y=40, x=33)


@pytest.fixture(scope="module")
def images(series):
    """The images of every method, made once."""
    made = {}

    def of(name):
        if name not in made:
            method, options = quick(name)
            made[name] = method(series, options)
        return made[name]

    return of


def test_the_default_method_exists():
    assert DEFAULT_METHOD in METHODS


@pytest.mark.parametrize("name", METHODS)
def test_every_method_describes_itself(name):
    method = find_method(name)
    assert isinstance(method, Method)
    assert method.name == name
    assert method.summary
    assert "\n" not in method.summary


@pytest.mark.parametrize("name", METHODS)
def test_options_are_frozen_plain_and_valid(name):
    method = find_method(name)
    options = method.options()
    assert isinstance(options, method.Options)
    for field in dataclasses.fields(options):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(options, field.name, None)
        assert isinstance(getattr(options, field.name), int | float | str | None)
    assert method.options(dataclasses.asdict(options)) == options
    assert "None" not in str(described(options))


@pytest.mark.parametrize("name", METHODS)
def test_images_have_the_shape_and_type_that_the_method_promises(images, name):
    found = images(name)
    assert found.shape == (2, 40, 33)
    assert found.dtype == (torch.float32 if name in MAGNITUDES else torch.complex64)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("scale", [1e-11, 1e7])
def test_images_scale_with_the_input(series, images, name, scale):
    method, options = quick(name)
    scaled = method(series.scaled(scale), options) / scale
    assert (scaled - images(name)).abs().max() < 2e-3 * images(name).abs().max()


@pytest.mark.parametrize("name", METHODS)
def test_a_call_decides_and_reconstructs(series, images, name):
    method, options = quick(name)
    before, chosen = series.kspace.clone(), method.options(options)
    whole = PreparedSeries(series)
    decision = method.decide(whole, chosen)
    assert (decision is not None) == method.decides
    outcome = method.reconstruct(whole, chosen, decision)
    assert torch.equal(outcome.images, images(name))
    assert torch.equal(method(series, options, decision), images(name))
    assert torch.equal(series.kspace, before)


@pytest.mark.parametrize("name", METHODS)
def test_a_single_coil_is_reconstructed_or_refused(sampled, name):
    one = sampled("uniform", 3, frames=2, y=40, x=33)
    one = dataclasses.replace(one, kspace=one.kspace[:, :1])
    method, options = quick(name)
    if name == "sigpy-jsense":
        with refused("coils-too-few"):
            method(one, options)
    else:
        assert torch.isfinite(method(one, options)).all()


@pytest.mark.parametrize("name", METHODS)
def test_empty_kspace_is_refused(series, name):
    with refused("kspace-no-signal"):
        find_method(name)(Series(torch.zeros_like(series.kspace), series.mask))


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("sens", "sense"),
        ("Grappa", "grappa"),
        ("sigpy-l1", "sigpy-l1-wavelet"),
        ("kt_unrolled", "kt-unrolled"),
    ],
)
def test_an_unknown_method_names_the_nearest(given, meant):
    with refused("unknown-method") as error:
        find_method(given)
    assert meant in error.value.remedy


@pytest.mark.parametrize("name", ["nothing-like-it", "", "patch-gan"])
def test_networks_that_do_not_reconstruct_are_not_methods(name):
    with refused("unknown-method"):
        find_method(name)


def small(name="promptmr"):
    level = {"dims": (4, 4, 4), "prompt_dims": (2, 2, 2), "prompt_lengths": (2, 2, 2)}
    blocks = {"encoder_blocks": (1, 1, 1), "decoder_blocks": (1, 1, 1), "bottleneck_blocks": 1}
    unet = {"features": 4, **level, "prompt_sizes": (4, 4, 4), **blocks}
    configs = {
        "promptmr": {"cascades": 1, "unet": unet, "sensitivity_unet": unet},
        "kt-unrolled": {"cascades": 1, "channels": 4, "blocks": 1},
        "patch-gan": {"channels": 4},
    }
    return build(name, configs[name])


def test_a_network_is_a_method_once_its_weights_are_installed(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "PRETRAINED", tmp_path)
    with refused("weights-missing"):
        find_method("promptmr")
    weights.save(tmp_path / "promptmr.safetensors", small(), {})
    method = find_method("promptmr")
    assert isinstance(method, WindowNetworkMethod)
    assert method.name == "promptmr"


@pytest.mark.parametrize(
    ("name", "kind"), [("promptmr", WindowNetworkMethod), ("kt-unrolled", ProblemNetworkMethod)]
)
def test_a_checkpoint_is_a_method_of_its_kind(tmp_path, name, kind):
    path = tmp_path / "mine.safetensors"
    weights.save(path, small(name), {"envelope": "{}"})
    method = from_checkpoint(path)
    assert isinstance(method, kind)
    assert method.name == name
    assert "mine.safetensors" in method.summary
    assert method.weights().metadata["envelope"] == "{}"
    assert len(method.weights().digest) == 64
    assert method.training_facts(None) == method.weights().metadata


def test_a_discriminator_is_refused(tmp_path):
    weights.save(tmp_path / "gan.safetensors", small("patch-gan"), {})
    with refused("network-kind"):
        from_checkpoint(tmp_path / "gan.safetensors")


def test_a_missing_checkpoint_is_refused(tmp_path):
    with refused("file-missing"):
        from_checkpoint(tmp_path / "none.safetensors")
