"""A k-space centre off the middle: it is found, rolled there, and restored as a phase."""

from dataclasses import replace

import pytest
import torch
from kinds import mask_of

from cmrrecon.data import Series
from cmrrecon.methods.registry import find_method
from cmrrecon.operators.centre import found_centre, recentred, restored
from cmrrecon.operators.fourier import ifft2c
from cmrrecon.operators.sensitivity import Calibration
from cmrrecon.simulation import simulate

FRAMES, Y, X = 4, 64, 80


@pytest.fixture(scope="module")
def full():
    """K-space (frame, coil, y, x) with its centre in the middle."""
    made = simulate("cine", frames=FRAMES, slices=1, coils=6, y=Y, x=X, seed=3)
    return made.scan.series(0).kspace


def lines(acs=16, step=4, moving=True):
    mask = torch.zeros((FRAMES, Y, 1), dtype=torch.bool)
    for t in range(FRAMES):
        mask[t, (t if moving else 0) :: step] = True
    mask[:, Y // 2 - acs // 2 : Y // 2 - acs // 2 + acs] = True
    return mask


def off(full, mask, y=0, x=0):
    """The same samples, stored with their centre elsewhere."""
    samples = mask.roll((y, x if mask.shape[2] > 1 else 0), (1, 2))
    return Series((full * mask[:, None]).roll((y, x), (2, 3)), mask_of(samples))


@pytest.mark.parametrize(
    ("acs", "y"),
    [*((12, y) for y in (3, 5, 8, 11, 20, -3, -4, -11)), (0, 5), (0, 11), (0, -8)],
)
def test_the_centre_is_found_by_energy_with_all_calibration_lines(full, y, acs):
    series = off(full, lines(acs), y)
    assert found_centre(series) == (Y // 2 + y, X // 2)
    rolled, middle = recentred(series), off(full, lines(acs))
    assert rolled.rolled == (-y, 0)
    assert torch.equal(rolled.kspace, middle.kspace)
    assert torch.equal(rolled.mask.samples, middle.mask.samples)
    assert rolled.mask.centre == (Y // 2, X // 2)
    assert recentred(rolled).kspace is rolled.kspace


@pytest.mark.parametrize("x", [7, 12, -20])
def test_the_centre_is_found_along_the_readout(full, x):
    for mask in (lines(), lines().expand(-1, -1, X).clone() & (torch.arange(X) < 70)):
        found = found_centre(off(full, mask, 6, x))
        assert found[0] == Y // 2 + 6
        assert abs(found[1] - (X // 2 + x)) <= 1


@pytest.mark.parametrize("y", [0, 1, -1, 2, -2])
def test_a_sample_or_two_off_changes_nothing(full, y):
    series = off(full, lines(), y)
    assert recentred(series).kspace is series.kspace


@pytest.mark.parametrize("x", [3, -4])
def test_a_small_displacement_that_gains_no_lines_changes_nothing(full, x):
    series = off(full, lines(), 0, x)
    assert recentred(series).kspace is series.kspace


@pytest.mark.parametrize("acs", [16, 4])
def test_calibration_lines_are_never_lost_to_energy(full, acs):
    """Energy off the middle of the calibration lines, as in an image with a strong phase."""
    mask = lines(acs, moving=False)
    series = Series(full.roll(6, 2) * mask[:, None], mask_of(mask))
    assert Calibration.of(recentred(series).mask).lines >= Calibration.of(series.mask).lines


def test_noise_alone_has_no_centre():
    noise = torch.randn(
        (2, 3, Y, X), dtype=torch.complex64, generator=torch.Generator().manual_seed(1)
    )
    assert found_centre(Series(noise, mask_of(torch.ones((1, Y, 1), dtype=torch.bool)))) == (
        Y // 2,
        X // 2,
    )


def test_what_the_mask_says_wins_over_energy(full):
    series = off(full, lines(), 8)
    marked = replace(series, mask=replace(series.mask, centre=(Y // 2 + 1, X // 2 - 2)))
    assert recentred(marked).rolled == (-1, 2)
    middle = replace(series, mask=replace(series.mask, centre=(Y // 2, X // 2)))
    assert recentred(middle).kspace is series.kspace


def test_averages_and_calibration_samples_are_rolled_too(full):
    series = off(full, lines(), 8)
    samples = series.mask.samples
    averages = torch.arange(Y, dtype=torch.float32)[None, :, None]
    mask = replace(series.mask, calibration_only=samples.clone(), averages=averages)
    rolled = recentred(replace(series, mask=mask)).mask
    assert torch.equal(rolled.calibration_only, samples.roll(-8, 1))
    assert torch.equal(rolled.averages, averages.roll(-8, 1))


@pytest.mark.parametrize(("y", "x"), [(8, 0), (-5, 8), (11, -12)])
def test_the_phase_of_the_images_is_restored(full, y, x):
    series = off(full, torch.ones((1, Y, 1), dtype=torch.bool), y, x)
    rolled = recentred(series)
    assert rolled.rolled[0] == -y
    assert bool(rolled.rolled[1]) == bool(x)
    stored = ifft2c(series.kspace[:, 0])
    torch.testing.assert_close(
        restored(ifft2c(rolled.kspace[:, 0]), rolled),
        stored,
        atol=2e-5 * float(stored.abs().max()),
        rtol=0,
    )
    assert torch.equal(restored(stored.abs(), rolled), stored.abs())


@pytest.mark.parametrize("name", ["zero-filled", "grappa", "sense", "sigpy-sense"])
def test_methods_give_the_same_magnitudes_wherever_the_centre_lies(full, name):
    method, options = find_method(name), {}
    if name == "sense":
        options = {"weight": 0.003, "iterations": 10}
    expected = method(off(full, lines()), options)
    images = method(off(full, lines(), 9), options)
    torch.testing.assert_close(
        images.abs(), expected.abs(), atol=1e-4 * float(expected.abs().max()), rtol=0
    )
    if images.is_complex():
        turns = 9 / Y * (torch.arange(Y) - Y // 2)
        phase = torch.polar(torch.ones(Y), 2 * torch.pi * turns)[:, None]
        torch.testing.assert_close(
            images, expected * phase, atol=1e-4 * float(expected.abs().max()), rtol=0
        )
