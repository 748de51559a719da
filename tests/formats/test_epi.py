"""Echo-planar readouts: even sampling on ramps, and phases from navigators."""

import numpy as np
import pytest
import torch
from ismrmrd_files import cnormal
from refusals import refused
from twix_files import NAVIGATOR, NOISE, REVERSE, measurement, protocol, row, write

from cmrrecon import formats
from cmrrecon.formats.epi import Ramp, resampling_matrix
from cmrrecon.operators.coils import rss_images

COILS, Y, X = 2, 8, 24
RAMP = {
    "alRegridMode": "2 1",
    "alRegridRampupTime": "160 0",
    "alRegridFlattopTime": "240 0",
    "alRegridRampdownTime": "160 0",
    "alRegridDelaySamplesTime": "32 0",
    "aflRegridADCDuration": "<Precision> 6 496.0 0.0",
}
PHASES = ((0.4, 0.03), (-1.2, -0.05))  # offset and slope per pixel of backward lines


def inverse(k):
    return np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(k, -1)), -1)


def forward(image):
    return np.fft.fftshift(np.fft.fft(np.fft.ifftshift(image, -1)), -1)


def turned(k, offset, slope):
    """K-space whose images have a phase linear along x."""
    n = k.shape[-1]
    return forward(inverse(k) * np.exp(1j * (offset + slope * (np.arange(n) - n // 2))))


def test_samples_of_a_constant_gradient_are_even():
    np.testing.assert_allclose(Ramp(0, 100, 0, 0, 100).positions(8), np.arange(8) - 3.5)


def test_samples_of_a_trapezoid_follow_its_area():
    ramp = Ramp(160, 240, 160, 32, 496)
    positions = ramp.positions(496)
    gradient = np.interp(32 + np.arange(495) + 1.0, (0, 160, 400, 560), (0, 1, 1, 0))
    steps = np.diff(positions)
    np.testing.assert_allclose(steps / steps.max(), gradient, atol=0.01)
    np.testing.assert_allclose(positions, -positions[::-1], atol=1e-9)
    assert 247 < positions[-1] < 248


def test_even_samples_are_those_of_the_object():
    n, pixels = 64, np.arange(64) - 32
    profile = cnormal(n) * (np.abs(pixels) < 20)  # within the readout oversampling
    positions = Ramp(160, 240, 160, 32, 496).positions(n)
    measured, even = (
        np.exp(-2j * np.pi * np.outer(k, pixels) / n) @ profile for k in (positions, pixels)
    )
    np.testing.assert_allclose(resampling_matrix(positions) @ measured, even, atol=1e-3)


def test_few_samples_of_a_ramp_do_not_amplify_noise():
    assert np.linalg.norm(resampling_matrix(Ramp(160, 240, 160, 32, 496).positions(64)), 2) < 1.5


def blades(kspace, phases, repetition=0, slice_number=0):
    """Three navigators and the lines of an image (coil, y, x), every other one read backwards."""
    navigator = cnormal(COILS, X, seed=9)
    rows = []
    for number, line in enumerate([navigator] * 3 + [kspace[:, y] for y in range(Y)]):
        backwards = number % 2
        flags = REVERSE * backwards + NAVIGATOR * (number < 3)
        samples = turned(line, *phases)[:, ::-1] if backwards else line
        place = {"Lin": 4 if number < 3 else number - 3, "Seg": backwards, "Sli": slice_number}
        position = (0, 0, 8 * slice_number)
        rows.append(row(samples, mask=flags, Rep=repetition, position=position, **place))
    return rows


needs_turbotwix = pytest.mark.usefixtures("turbotwix")


@pytest.fixture
def turbotwix():
    return pytest.importorskip("turbotwix", reason="needs turbotwix, the extra twix")


@needs_turbotwix
@pytest.mark.parametrize("counter", ["repetition", "slice_number"])
def test_navigators_align_the_lines_after_them(tmp_path, counter):
    kspace = cnormal(2, COILS, Y, X)
    first, second = (
        blades(kspace[number], phases, **{counter: number}) for number, phases in enumerate(PHASES)
    )
    rows = first + second
    if counter == "slice_number":  # lines of both in turns
        rows = [line for pair in zip(first, second, strict=True) for line in pair]
    scan = formats.read(write(tmp_path / "a.dat", measurement(rows)))
    found = torch.stack([scan.series(z).kspace for z in range(scan.shape[1])], 1)
    np.testing.assert_allclose(found.numpy().reshape(kspace.shape), kspace, atol=1e-4)


@needs_turbotwix
def test_noise_is_left_as_it_was_stored(tmp_path):
    noise = [row(cnormal(COILS, X, seed=seed), mask=NOISE) for seed in range(50)]
    rows = blades(cnormal(COILS, Y, X), PHASES[0])
    plain, ramp = (
        formats.read(write(tmp_path / "a.dat", measurement(noise + rows, protocol((), more)))).noise
        for more in ({}, RAMP)
    )
    assert torch.equal(plain.covariance, ramp.covariance)


@needs_turbotwix
@pytest.mark.parametrize(
    "strange",
    [
        {"alRegridMode": "4 1"},
        {"aflRegridADCDuration": "<Precision> 6 600.0"},
        {"aflRegridADCDuration": "0"},
        {"alRegridRampupTime": "-160"},
    ],
)
def test_other_gradients_are_refused(tmp_path, strange):
    rows = blades(cnormal(COILS, Y, X), PHASES[0])
    write(tmp_path / "a.dat", measurement(rows, protocol((), RAMP | strange)))
    with refused("gradient-unknown"):
        formats.read(tmp_path / "a.dat")


@needs_turbotwix
def test_epi_of_a_scanner_looks_like_its_gre(real_data):
    folder = real_data / "scanner-files"
    epi, gre = (formats.read(folder / name) for name in ("epi.dat", "gre.dat"))
    assert epi.shape == (1, 1, 2, 80, 160)
    assert epi.acquisition.sequence == "ep2d_bold"
    assert epi.geometry.directions == gre.geometry.directions
    image = rss_images(epi.series(0).kspace)[0, :, 40:120]
    same = gre.series(0).kspace[..., 40:120, 80:240]  # the voxels of the EPI
    reference = rss_images(same)[0, :, 40:120]
    outside = reference < 0.15 * reference.quantile(0.95)
    assert torch.corrcoef(torch.stack([image.flatten(), reference.flatten()]))[0, 1] > 0.92
    assert image[outside].pow(2).mean().sqrt() < 0.2 * image[~outside].pow(2).mean().sqrt()
