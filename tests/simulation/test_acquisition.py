import math

import pytest
import torch

from cmrrecon.operators.fourier import ifft2c
from cmrrecon.simulation.acquisition import acquire, coil_maps, noise_sigma


@pytest.mark.parametrize(
    ("coils", "y", "x"), [(10, 64, 96), (1, 33, 65), (4, 51, 40), (32, 32, 32)]
)
def test_maps_have_unit_rss_everywhere(coils, y, x):
    maps = coil_maps(coils, y, x, seed=3)
    assert maps.shape == (coils, y, x)
    assert maps.dtype == torch.complex64
    torch.testing.assert_close(torch.linalg.vector_norm(maps, dim=0), torch.ones(y, x))


def test_maps_are_smooth_differ_between_coils_and_see_different_places():
    maps = coil_maps(8, 102, 224, seed=0)
    assert maps.diff(dim=1).abs().max() < 0.1
    assert maps.diff(dim=2).abs().max() < 0.1
    places = {divmod(int(coil.abs().argmax()), 224) for coil in maps}
    assert len(places) == 8
    # Encoding power: the maps are far from parallel.
    assert torch.linalg.cond(maps.flatten(1) @ maps.flatten(1).mH) < 1e4


def test_maps_repeat_with_the_seed():
    assert torch.equal(coil_maps(4, 40, 40, 1), coil_maps(4, 40, 40, 1))
    assert not torch.equal(coil_maps(4, 40, 40, 1), coil_maps(4, 40, 40, 2))


def test_acquired_kspace_combines_to_the_image():
    image = torch.randn(2, 3, 33, 48, dtype=torch.complex64)
    maps = coil_maps(5, 33, 48, 0)
    kspace = acquire(image, maps, 0.0, 0)
    assert kspace.shape == (2, 3, 5, 33, 48)
    torch.testing.assert_close((ifft2c(kspace) * maps.conj()).sum(-3), image)


def test_noise_is_white_and_complex_with_the_stated_strength():
    maps = coil_maps(6, 64, 64, 0)
    noise = acquire(torch.zeros(8, 64, 64, dtype=torch.complex64), maps, 0.3, 5, 1)
    for part in (noise.real, noise.imag):
        assert float(part.std()) == pytest.approx(0.3 / math.sqrt(2), rel=0.02)
    combined = (ifft2c(noise) * maps.conj()).sum(1)
    assert float(combined.abs().square().mean().sqrt()) == pytest.approx(0.3, rel=0.02)
    coils = noise.transpose(0, 1).flatten(1)
    covariance = coils @ coils.mH / coils.shape[1] / 0.09
    torch.testing.assert_close(covariance, torch.eye(6, dtype=torch.complex64), atol=0.04, rtol=0)


def test_noise_depends_on_every_seed():
    image, maps = torch.zeros(1, 32, 32, dtype=torch.complex64), coil_maps(2, 32, 32, 0)
    first = acquire(image, maps, 1.0, 0, 0)
    assert torch.equal(first, acquire(image, maps, 1.0, 0, 0))
    assert not torch.equal(first, acquire(image, maps, 1.0, 0, 1))
    assert not torch.equal(first, acquire(image, maps, 1.0, 1, 0))


def test_sigma_is_relative_to_the_object_without_air():
    image = torch.zeros(2, 1, 40, 40, dtype=torch.complex64)
    image[:, :, 10:30, 10:30] = 2j
    assert noise_sigma(image, 20.0) == pytest.approx(0.2)
    padded = torch.nn.functional.pad(image, (50, 50, 50, 50))
    assert noise_sigma(padded, 20.0) == pytest.approx(0.2)
    assert noise_sigma(7 * image, 20.0) == pytest.approx(1.4)
    assert noise_sigma(image, math.inf) == 0
