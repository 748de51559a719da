import pytest
import torch
from kinds import mask_of
from refusals import refused

from cmrrecon.operators.coils import (
    COLUMN_ENERGY_LOST,
    column_virtual_coils,
    compress,
    noise_covariance,
    noise_level,
    prewhiten,
    rss,
    virtual_coils,
)
from cmrrecon.operators.fourier import fft2c


def cnormal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def noisy_scan():
    """An object 30 times brighter than the noise, seen by four coils of different noise, every second line measured."""
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


def test_rss_is_the_root_of_the_sum_of_squares():
    images = cnormal(3, 4, 5, 6)
    torch.testing.assert_close(rss(images), images.abs().square().sum(1).sqrt())
    torch.testing.assert_close(rss(images, dim=0), images.abs().square().sum(0).sqrt())


@pytest.mark.parametrize("count", [1, 4, 7])
def test_virtual_coils_are_the_leading_singular_vectors_of_all_samples(count):
    strength = 2.0 ** torch.arange(7)
    mixing = torch.linalg.qr(cnormal(7, 7, seed=2))[0]
    samples = [mixing @ (strength[:, None] * cnormal(7, 20 * (i + 1), seed=i)) for i in range(3)]
    samples[1] = samples[1].reshape(7, 5, 8)
    matrix = virtual_coils(iter(samples), count)
    assert matrix.dtype == torch.complex64
    torch.testing.assert_close(
        matrix @ matrix.mH, torch.eye(count, dtype=torch.complex64), atol=1e-5, rtol=0
    )
    expected = torch.linalg.svd(
        torch.cat([part.flatten(1) for part in samples], 1), full_matrices=False
    )[0][:, :count]
    # Each up to its phase.
    torch.testing.assert_close((matrix @ expected).abs(), torch.eye(count), atol=1e-3, rtol=0)


def test_virtual_coils_of_silent_coils_leave_these_out():
    samples = cnormal(6, 50)
    samples[[1, 4]] = 0
    matrix = virtual_coils([samples], 5)
    torch.testing.assert_close(
        matrix @ matrix.mH, torch.eye(5, dtype=torch.complex64), atol=1e-5, rtol=0
    )
    assert matrix[:4, [1, 4]].abs().max() < 1e-5
    assert (matrix[4] @ samples).abs().max() < 1e-5


@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e15])
def test_compression_keeps_energy_and_orders_it(scale):
    kspace = cnormal(2, 6, 8, 9) * torch.arange(1, 7)[:, None, None] * scale
    compressed, matrix = compress(kspace, 6)
    torch.testing.assert_close(rss(compressed / scale), rss(kspace / scale))
    torch.testing.assert_close(
        matrix @ matrix.mH, torch.eye(6, dtype=torch.complex64), atol=1e-5, rtol=0
    )
    energy = (compressed / scale).abs().square().sum((0, 2, 3))
    assert (energy.diff() < 0).all()
    torch.testing.assert_close(
        (matrix @ compress(kspace / scale, 6)[1].mH).abs(), torch.eye(6), atol=1e-4, rtol=0
    )


def test_compression_of_three_sources_to_three_coils_is_lossless():
    kspace = torch.einsum("cs,fsyx->fcyx", cnormal(8, 3), cnormal(2, 3, 8, 9, seed=1))
    compressed, matrix = compress(kspace, 3)
    assert matrix.shape == (3, 8)
    torch.testing.assert_close(
        torch.einsum("vc,fvyx->fcyx", matrix.conj(), compressed), kspace, atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("coils", [0, 7])
def test_compression_to_impossible_numbers_is_refused(coils):
    with refused("option-value") as error:
        compress(cnormal(1, 6, 4, 4), coils)
    assert "1 to 6" in str(error.value)


def column_rank_three(coils=8, y=21, x=6):
    """Maps of which every column is made of three coils, other ones in each, the third of a thousandth of the energy."""
    mixing = torch.linalg.qr(cnormal(x, coils, 3, seed=4))[0] * torch.tensor([1.0, 1.0, 0.03])
    return (mixing @ cnormal(x, 3, y, seed=5)).permute(1, 2, 0).contiguous()


def test_virtual_coils_of_columns_combine_as_the_coils_that_they_stand_for():
    maps = column_rank_three()
    virtual, stand_for = column_virtual_coils(maps)
    assert virtual.shape == (3, 21, 6)
    torch.testing.assert_close(stand_for, maps, atol=1e-5, rtol=0)
    products = [torch.einsum("cyx,czx->xyz", part.conj(), part) for part in (virtual, maps)]
    torch.testing.assert_close(*products, atol=1e-4, rtol=0)


def test_virtual_coils_of_columns_leave_out_only_a_trifle():
    generous = column_rank_three() + 2e-3 * cnormal(8, 21, 6, seed=6)
    virtual, stand_for = column_virtual_coils(generous)
    energy, lost = generous.abs().square().sum(), (generous - stand_for).abs().square().sum()
    assert len(virtual) == 3
    assert 0 < lost <= COLUMN_ENERGY_LOST * energy
    assert virtual.abs().square().sum((1, 2)).min() > COLUMN_ENERGY_LOST * energy


def test_virtual_coils_of_empty_maps_are_empty_maps():
    virtual, stand_for = column_virtual_coils(torch.zeros(4, 5, 6, dtype=torch.complex64))
    assert not virtual.any()
    assert not stand_for.any()


def test_noise_level_is_within_five_percent_beside_an_object(noisy_scan):
    kspace, mask, sigma = noisy_scan
    torch.testing.assert_close(noise_level(kspace, mask_of(mask)), sigma, rtol=0.05, atol=0)


def test_noise_level_does_not_mind_a_zero_filled_readout(noisy_scan):
    kspace, mask, sigma = noisy_scan
    kspace[..., :40] = 0
    torch.testing.assert_close(noise_level(kspace, mask_of(mask)), sigma, rtol=0.05, atol=0)


def test_noise_level_of_an_asymmetric_echo_is_that_beside_the_object(noisy_scan):
    kspace, mask, sigma = noisy_scan
    kspace[..., :20] = 0
    samples = mask_of(mask).samples.expand(-1, -1, kspace.shape[3]).clone()
    samples[..., :20] = False
    torch.testing.assert_close(noise_level(kspace, mask_of(samples)), sigma, rtol=0.1, atol=0)


def test_noise_level_of_a_mask_that_changes_along_the_readout():
    noise = cnormal(4, 3, 65, 64)
    mask = torch.rand((4, 65, 64), generator=torch.Generator().manual_seed(1)) < 0.3
    torch.testing.assert_close(
        noise_level(noise * mask[:, None], mask_of(mask)), torch.ones(3), rtol=0.1, atol=0
    )


def test_noise_level_scales_and_is_zero_for_a_dead_coil(noisy_scan):
    kspace, mask, _ = noisy_scan
    torch.testing.assert_close(
        noise_level(kspace * 1e-9, mask_of(mask)), noise_level(kspace, mask_of(mask)) * 1e-9
    )
    kspace[:, 2] = 0
    assert noise_level(kspace, mask_of(mask))[2] == 0
    with refused("noise-covariance"):
        prewhiten(kspace, noise_covariance(kspace, mask_of(mask)))


def test_noise_needs_lines_away_from_the_centre(noisy_scan):
    kspace, mask, _ = noisy_scan
    mask[:] = False
    mask[:, 40:56] = True
    with refused("noise-not-measurable"):
        noise_level(kspace, mask_of(mask))


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e7])
def test_prewhitened_noise_has_unit_covariance(scale):
    mixing = cnormal(4, 4, seed=1)
    noise = torch.einsum("cd,fdyx->fcyx", mixing, cnormal(4, 4, 64, 128)) * scale
    mask = torch.ones((1, 64, 1), dtype=torch.bool)
    white = prewhiten(noise, noise_covariance(noise, mask_of(mask))).transpose(0, 1).flatten(1)
    torch.testing.assert_close(
        white @ white.mH / white.shape[1], torch.eye(4, dtype=torch.complex64), atol=0.1, rtol=0
    )
    true_covariance = mixing @ mixing.mH * scale**2
    white = prewhiten(noise, true_covariance).transpose(0, 1).flatten(1)
    torch.testing.assert_close(
        white @ white.mH / white.shape[1], torch.eye(4, dtype=torch.complex64), atol=0.03, rtol=0
    )
