import numpy as np
import pytest
import torch

from cmrrecon.operators.fourier import centred, fft2c, fftc, ifft2c, ifftc, resized

SHAPES = [(8, 6), (7, 6), (8, 5), (7, 5), (1, 4)]


def noise(*shape, seed=0):
    return torch.randn(shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", SHAPES)
def test_transform_is_unitary_and_inverted(shape):
    a, b = noise(2, *shape), noise(2, *shape, seed=1)
    assert torch.allclose(ifft2c(fft2c(a)), a, atol=1e-12)
    assert torch.allclose(
        torch.vdot(fft2c(a).flatten(), b.flatten()),
        torch.vdot(a.flatten(), ifft2c(b).flatten()),
        atol=1e-12,
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_zero_frequency_lies_at_half_the_length(shape):
    kspace = fft2c(torch.ones(shape, dtype=torch.complex128))
    peak = torch.zeros_like(kspace)
    peak[shape[0] // 2, shape[1] // 2] = np.sqrt(shape[0] * shape[1])
    assert torch.allclose(kspace, peak, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_convention_is_the_official_one(shape):
    k = noise(*shape)
    official = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(k.numpy()))) * np.sqrt(k.numel())
    np.testing.assert_allclose(ifft2c(k).numpy(), official, atol=1e-12)


def test_one_axis_at_a_time_is_the_same():
    x = noise(3, 7, 6)
    assert torch.allclose(fftc(fftc(x, -1), -2), fft2c(x), atol=1e-12)
    assert torch.allclose(ifftc(ifftc(x, -2), -1), ifft2c(x), atol=1e-12)


def test_centred_block_is_that_of_the_official_masks():
    assert centred(49, 16) == slice(16, 32)
    assert centred(162, 20) == slice(71, 91)
    assert centred(5, 5) == slice(0, 5)


@pytest.mark.parametrize("n", [6, 7])
@pytest.mark.parametrize("length", [3, 4, 9, 10])
def test_resizing_keeps_the_middle(n, length):
    values = torch.arange(1.0, n + 1).expand(2, -1)
    made = resized(values, 1, length)
    assert made.shape == (2, length)
    assert bool((made[:, length // 2] == values[:, n // 2]).all())
    torch.testing.assert_close(resized(resized(values, 1, 12), 1, n), values)
    assert float(resized(values, 1, 12).sum()) == float(values.sum())
