import pytest
import torch
from kinds import cnormal, mask_of
from refusals import refused

from cmrrecon.operators.fourier import fft2c, fftc, ifftc
from cmrrecon.operators.noise import (
    noise_covariance,
    noise_level,
    noise_samples,
    whitening_matrix,
)


def level_of(kspace, mask):
    return noise_level(noise_samples(kspace, mask))


def whitened(noise, covariance):
    """The samples (coil, n) of noise (frame, coil, y, x), whitened by a covariance."""
    return whitening_matrix(covariance)[0] @ noise.transpose(0, 1).flatten(1)


@pytest.fixture
def noisy_scan():
    """An object 30 times brighter than the noise, in four coils of unequal noise, at R = 2."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 97), torch.linspace(-1, 1, 128), indexing="ij")
    disc = ((y**2 + 2 * x**2) < 0.5).float() + 0.5 * ((y - 0.2) ** 2 + (x + 0.1) ** 2 < 0.1)
    maps = torch.stack(
        [torch.exp(-((y - a) ** 2) - (x - b) ** 2) for a, b in [(-1, 0), (1, 0), (0, -1), (0, 1)]]
    )
    sigma = torch.tensor([0.02, 0.03, 0.04, 0.05])
    noise = cnormal(3, 4, 97, 128) * sigma[:, None, None]
    mask = torch.zeros((1, 97, 1), dtype=torch.bool)
    mask[:, ::2] = True
    return (fft2c((maps * disc).to(torch.complex64)) + noise) * mask, mask, sigma


def test_noise_level_is_within_five_percent_beside_an_object(noisy_scan):
    kspace, mask, sigma = noisy_scan
    torch.testing.assert_close(level_of(kspace, mask_of(mask)), sigma, rtol=0.05, atol=0)


def test_noise_level_is_the_same_with_a_zero_filled_readout(noisy_scan):
    kspace, mask, sigma = noisy_scan
    kspace[..., :40] = 0
    torch.testing.assert_close(level_of(kspace, mask_of(mask)), sigma, rtol=0.05, atol=0)


def test_noise_level_of_an_asymmetric_echo_is_that_beside_the_object(noisy_scan):
    kspace, mask, sigma = noisy_scan
    kspace[..., :20] = 0
    samples = mask_of(mask).samples.expand(-1, -1, kspace.shape[3]).clone()
    samples[..., :20] = False
    torch.testing.assert_close(level_of(kspace, mask_of(samples)), sigma, rtol=0.1, atol=0)


def test_noise_level_of_a_mask_that_changes_along_the_readout():
    noise = cnormal(4, 3, 65, 64)
    mask = torch.rand((4, 65, 64), generator=torch.Generator().manual_seed(1)) < 0.3
    torch.testing.assert_close(
        level_of(noise * mask[:, None], mask_of(mask)), torch.ones(3), rtol=0.1, atol=0
    )


def test_noise_level_scales_and_is_zero_for_a_dead_coil(noisy_scan):
    kspace, mask, _ = noisy_scan
    torch.testing.assert_close(
        level_of(kspace * 1e-9, mask_of(mask)), level_of(kspace, mask_of(mask)) * 1e-9
    )
    kspace[:, 2] = 0
    assert level_of(kspace, mask_of(mask))[2] == 0
    with refused("noise-covariance"):
        whitening_matrix(noise_covariance(noise_samples(kspace, mask_of(mask))))


def test_noise_needs_lines_away_from_the_centre(noisy_scan):
    kspace, mask, _ = noisy_scan
    mask[:] = False
    mask[:, 40:56] = True
    with refused("noise-not-measurable"):
        level_of(kspace, mask_of(mask))


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e7])
def test_prewhitened_noise_has_unit_covariance(scale):
    mixing = cnormal(4, 4, seed=1)
    noise = torch.einsum("cd,fdyx->fcyx", mixing, cnormal(4, 4, 64, 128)) * scale
    mask = torch.ones((1, 64, 1), dtype=torch.bool)
    white = whitened(noise, noise_covariance(noise_samples(noise, mask_of(mask))))
    torch.testing.assert_close(
        white @ white.mH / white.shape[1], torch.eye(4, dtype=torch.complex64), atol=0.1, rtol=0
    )
    true_covariance = mixing @ mixing.mH * scale**2
    white = whitened(noise, true_covariance)
    torch.testing.assert_close(
        white @ white.mH / white.shape[1], torch.eye(4, dtype=torch.complex64), atol=0.03, rtol=0
    )


def test_filtered_readouts_hold_no_noise_to_measure(noisy_scan):
    """The ends of the field of view hold only rounding errors."""
    kspace, mask, _ = noisy_scan
    image = ifftc(kspace, -1)
    image[..., :12] = image[..., -12:] = 0
    with refused("noise-not-measurable"):
        noise_samples(fftc(image, -1) * mask, mask_of(mask))
