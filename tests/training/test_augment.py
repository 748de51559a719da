"""Augmentation: what it changes and what it keeps."""

import random

import pytest
import torch

from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import fft2c, ifft2c
from cmrrecon.simulation import simulate
from cmrrecon.training.augment import augment, noisy, widen
from cmrrecon.training.recipe import Data

NOWHERE = torch.zeros(36, 48, dtype=torch.bool)


@pytest.fixture(scope="module")
def kspace():
    made = simulate("cine", frames=3, slices=1, coils=3, y=36, x=48, seed=0).scan.series(0).kspace
    return made / made.abs().max()


def augmented(kspace, seed=1, lesion=NOWHERE, **settings):
    data, draw = Data(**settings), random.Random(seed)
    changed, moved, _ = augment(kspace, lesion, 1.0, data, draw)
    return noisy(changed, data, draw), moved


def test_without_settings_nothing_changes(kspace):
    assert torch.equal(augmented(kspace)[0], kspace)


@pytest.mark.parametrize(
    "settings",
    [{"gamma": 0.3}, {"noise": 0.1}, {"fov": 0.3}, {"coil_dropout": 0.5}, {"flip": 1.0}],
    ids=str,
)
def test_the_same_draw_changes_the_scan_in_the_same_way(kspace, settings):
    once, again, other = (augmented(kspace, seed, **settings)[0] for seed in (1, 1, 5))
    assert once.shape == kspace.shape
    assert torch.equal(once, again)
    assert not torch.allclose(once, kspace)
    assert settings == {"flip": 1.0} or not torch.equal(once, other)


def test_two_flips_cancel(kspace):
    torch.testing.assert_close(
        augmented(augmented(kspace, flip=1.0)[0], flip=1.0)[0], kspace, atol=1e-5, rtol=0
    )


def test_lost_coils_are_zero_and_one_is_left(kspace):
    for seed in range(20):
        power = augmented(kspace, seed, coil_dropout=0.9)[0].abs().sum((0, 2, 3))
        kept = power > 0
        assert kept.any()
        torch.testing.assert_close(power[kept], kspace.abs().sum((0, 2, 3))[kept])


def test_gamma_keeps_the_ratios_of_the_coils(kspace):
    before, after = ifft2c(kspace), ifft2c(augmented(kspace, gamma=0.5)[0])
    bright = (rss(before) > 0.2 * rss(before).max())[:, None].expand_as(before)
    torch.testing.assert_close(
        (after / rss(after)[:, None])[bright],
        (before / rss(before)[:, None])[bright],
        atol=1e-3,
        rtol=0,
    )


@pytest.mark.parametrize(("shape", "factor"), [((36, 48), 1.25), ((35, 47), 1.3), ((36, 48), 1.0)])
def test_a_wider_field_of_view_shows_a_smaller_body_as_bright_as_before(shape, factor):
    y, x = torch.meshgrid(*(torch.arange(n) - n // 2 for n in shape), indexing="ij")
    body = torch.exp(-(((y / 6.0) ** 2 + ((x - 4) / 8.0) ** 2) ** 2)).to(torch.complex64)
    lesion = body.abs() > 0.5
    kspace, moved = widen(body, lesion, factor)
    image = ifft2c(kspace).abs()
    stretched = [round(factor * n) / n for n in shape]
    expected = torch.exp(
        -(((y * stretched[0] / 6.0) ** 2 + ((x * stretched[1] - 4) / 8.0) ** 2) ** 2)
    )
    torch.testing.assert_close(image, expected, atol=0.03, rtol=0)
    assert (moved ^ (expected > 0.5)).sum() <= 0.25 * (expected > 0.5).sum()
    if factor == 1:
        torch.testing.assert_close(kspace, fft2c(body))


def test_the_brightest_pixel_follows_gamma(kspace):
    brightest = float(rss(ifft2c(kspace)).max())
    changed, _, limit = augment(kspace, NOWHERE, brightest, Data(gamma=0.5), random.Random(3))
    assert limit == pytest.approx(float(rss(ifft2c(changed)).max()), rel=1e-3)
