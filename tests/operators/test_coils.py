import pytest
import torch
from kinds import cnormal
from refusals import refused

from cmrrecon.operators.coils import (
    COLUMN_ENERGY_LOST,
    column_virtual_coils,
    compress,
    rss,
    virtual_coils,
)


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
    # Each is known up to its phase.
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
    """Maps whose columns mix three coils, different in each; the third has 0.001 of the energy."""
    mixing = torch.linalg.qr(cnormal(x, coils, 3, seed=4))[0] * torch.tensor([1.0, 1.0, 0.03])
    return (mixing @ cnormal(x, 3, y, seed=5)).permute(1, 2, 0).contiguous()


def test_virtual_coils_of_columns_combine_as_the_measured_coils():
    maps = column_rank_three()
    virtual, stand_for = column_virtual_coils(maps)
    assert virtual.shape == (3, 21, 6)
    torch.testing.assert_close(stand_for, maps, atol=1e-5, rtol=0)
    products = [torch.einsum("cyx,czx->xyz", part.conj(), part) for part in (virtual, maps)]
    torch.testing.assert_close(*products, atol=1e-4, rtol=0)


def test_virtual_coils_of_columns_lose_little_energy():
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
