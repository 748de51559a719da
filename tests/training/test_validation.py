"""Validation: scans that cannot be scored, networks that have diverged, and pictures."""

import math

import pytest
import torch
from refusals import refused
from torch import nn

from cmrrecon.networks.base import Output
from cmrrecon.networks.catalog import build
from cmrrecon.operators.fourier import fft2c
from cmrrecon.tools.errors import InputError, MemoryShortage
from cmrrecon.training import validation
from cmrrecon.training.batch import Sample
from cmrrecon.training.dataset import Place
from cmrrecon.training.recipe import Data
from cmrrecon.training.validation import Diverged, is_sound, validate

CPU, SIDE = torch.device("cpu"), 12
TINY = {
    "cascades": 1,
    "channels": 2,
    "pools": 1,
    "sensitivity_channels": 2,
    "sensitivity_pools": 1,
}


class Held:
    """Windows by name; an error in place of a window is raised where the window is read."""

    data, seed = Data(), 0

    def __init__(self, **windows):
        self.windows = list(windows.items())
        self.places = [Place(number, 0, 0) for number in range(len(windows))]

    def __len__(self):
        return len(self.places)

    def scan(self, place):
        return self.windows[place.scan][0]

    def domain(self, place):
        return "Center000/Simulated"

    def middles(self):
        return self.places

    def sample(self, place, epoch):
        window = self.windows[place.scan][1]
        if isinstance(window, Exception):
            raise window
        return window


class Copying(nn.Module):
    """Returns the image of the middle frame, changed by a function."""

    def __init__(self, change=lambda image: image):
        super().__init__()
        self.change = change

    def forward(self, kspace, mask, acs):
        image = kspace[:, 0, 0].abs()
        return Output(self.change(image), (image,), ())


def sample(target, kspace=None):
    kspace = target[None, None].to(torch.complex64) if kspace is None else kspace
    return Sample(
        kspace, torch.ones(1, SIDE, 1, dtype=torch.bool), 4, target, kspace[0], 1.0, "d", "n",
        torch.zeros(0), torch.zeros(SIDE, SIDE, dtype=torch.bool),
    )  # fmt: skip


def picture(seed=0, side=SIDE):
    return torch.rand(side, side, generator=torch.Generator().manual_seed(seed))


def noisy(image):
    return image + 0.01 * picture(9)


def validated(network, held):
    left_out = {}
    found = validate(network, held, CPU, lambda: False, on_left_out=left_out.__setitem__)
    return found, left_out


@pytest.mark.parametrize(
    ("window", "code"),
    [
        (InputError("file-damaged", "a", "b", "c"), "a. b. c."),
        (sample(torch.full((SIDE, SIDE), 0.5)), "constant"),
        (sample(torch.full((SIDE, SIDE), math.nan)), "NaN"),
        (sample(picture(), torch.full((1, 1, SIDE, SIDE), complex("nan"))), "NaN"),
    ],
)
def test_a_scan_that_cannot_be_scored_is_left_out_and_named(window, code):
    good = {"P001": sample(picture(1)), "P003": sample(picture(3))}
    expected, none = validated(Copying(noisy), Held(**good))
    found, left_out = validated(Copying(noisy), Held(P002=window, **good))
    assert (found, none) == (expected, {})
    assert list(left_out) == ["P002"]
    assert code in left_out["P002"][0]


def test_windows_too_small_for_scores_are_left_out():
    small = Sample(
        picture(0, 6)[None, None].to(torch.complex64), torch.ones(1, 6, 1, dtype=torch.bool), 4,
        picture(0, 6), picture(0, 6)[None].to(torch.complex64), 1.0, "d", "n", torch.zeros(0),
        torch.zeros(6, 6, dtype=torch.bool),
    )  # fmt: skip
    found, left_out = validated(Copying(), Held(P001=small))
    assert (found, list(left_out)) == ({}, ["P001"])


@pytest.mark.parametrize("value", [0.0, 1.0, math.nan, math.inf])
def test_an_image_that_cannot_be_scored_is_a_divergence(value):
    held = Held(P001=sample(picture(1)))
    with pytest.raises(Diverged):
        validated(Copying(lambda image: torch.full_like(image, value)), held)


def test_other_errors_are_not_left_out():
    shortage = MemoryShortage("memory-short", "a", "b", "c")
    with refused("memory-short"):
        validated(Copying(), Held(P001=shortage))


def test_a_network_is_sound_if_a_training_window_gives_a_finite_image():
    spoiled = torch.full((1, 1, SIDE, SIDE), complex("nan"))
    windows = {"a": sample(picture(1), spoiled), "b": sample(picture(2))}
    assert is_sound(Copying(), Held(**windows), 0, CPU)
    assert not is_sound(Copying(lambda image: image / 0), Held(**windows), 0, CPU)


def test_pictures_name_the_network(tmp_path, monkeypatch):
    drawn = []

    def figure(images, reference, **named):
        drawn.append((list(images), named["heading"]))
        return real(images, reference, **named)

    real = validation.comparison_figure
    monkeypatch.setattr(validation, "comparison_figure", figure)
    network = build("e2e-varnet", TINY)
    kspace = fft2c(picture(1)[None, None].to(torch.complex64)).expand(1, 2, SIDE, SIDE)
    held = Held(P001=sample(picture(1), kspace))
    validate(network, held, CPU, lambda: False, tmp_path / "a.png")
    assert drawn == [(["zero-filled", "e2e-varnet"], "Center000/Simulated")]
    assert [path.name for path in tmp_path.iterdir()] == ["a-1.png"]
