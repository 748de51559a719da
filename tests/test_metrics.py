import math

import numpy as np
import pytest
import torch
from refusals import refused
from skimage.metrics import normalized_root_mse, peak_signal_noise_ratio, structural_similarity

from cmrrecon.metrics import hfen, laplacian_of_gaussian, nmse, psnr, ssim


def pair(
    *shape: int, offset: float = 0.0, dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(sum(shape))
    reference = torch.rand(shape, generator=generator, dtype=torch.float64)
    image = reference + 0.1 * torch.randn(shape, generator=generator, dtype=torch.float64)
    return (reference + offset).to(dtype), (image + offset).to(dtype)


@pytest.mark.parametrize("shape", [(7, 7), (8, 7), (33, 20), (40, 41)])
@pytest.mark.parametrize("data_range", [1.0, 0.37])
def test_ssim_equals_scikit_image(shape, data_range):
    reference, image = pair(*shape)
    expected = structural_similarity(reference.numpy(), image.numpy(), data_range=data_range)
    assert float(ssim(reference, image, data_range)) == pytest.approx(expected, abs=1e-9)


def test_ssim_of_float32_images_with_a_large_offset_is_exact():
    reference, image = pair(31, 24, offset=1000.0, dtype=torch.float32)
    expected = structural_similarity(
        reference.double().numpy(), image.double().numpy(), data_range=1.0
    )
    assert abs(expected) < 0.99
    assert float(ssim(reference, image, 1.0)) == pytest.approx(expected, abs=1e-6)


def test_each_image_of_a_batch_can_have_its_own_data_range():
    reference, image = pair(2, 3, 17, 12)
    level = reference.amax((-2, -1))
    for metric in (psnr, ssim):
        values = metric(reference, image, level)
        assert values.shape == (2, 3)
        for i in range(2):
            for j in range(3):
                assert values[i, j] == pytest.approx(
                    float(metric(reference[i, j], image[i, j], float(level[i, j]))), abs=1e-12
                )

    per_row = ssim(reference, image, torch.tensor([[1.0], [2.0]]))
    assert torch.allclose(per_row[1], ssim(reference[1], image[1], 2.0))
    assert torch.allclose(nmse(reference, image)[1, 2], nmse(reference[1, 2], image[1, 2]))


def test_hfen_is_one_ratio_over_all_images():
    reference, image = pair(3, 17, 12)
    sharp, error = (
        laplacian_of_gaussian(reference),
        laplacian_of_gaussian(image) - laplacian_of_gaussian(reference),
    )
    assert float(hfen(reference, image)) == pytest.approx(
        float((error.square().sum() / sharp.square().sum()).sqrt())
    )


def test_psnr_and_nmse_equal_scikit_image():
    reference, image = pair(23, 18)
    a, b = reference.numpy(), image.numpy()
    assert float(psnr(reference, image, 1.3)) == pytest.approx(
        peak_signal_noise_ratio(a, b, data_range=1.3), abs=1e-9
    )
    assert float(nmse(reference, image)) == pytest.approx(normalized_root_mse(a, b) ** 2, rel=1e-9)


def test_an_identical_image_has_perfect_scores():
    reference, _ = pair(16, 16)
    assert float(psnr(reference, reference, 1.0)) == math.inf
    assert float(ssim(reference, reference, 1.0)) == 1.0
    assert float(nmse(reference, reference)) == 0.0
    assert float(hfen(reference, reference)) == 0.0


def test_metrics_are_invariant_to_a_common_scale():
    reference, image = pair(20, 15)
    for factor in (1e-6, 1e6):
        scaled = factor * reference, factor * image
        assert float(psnr(*scaled, factor)) == pytest.approx(
            float(psnr(reference, image, 1.0)), abs=1e-9
        )
        assert float(ssim(*scaled, factor)) == pytest.approx(
            float(ssim(reference, image, 1.0)), abs=1e-9
        )
        assert float(nmse(*scaled)) == pytest.approx(float(nmse(reference, image)), rel=1e-9)
        assert float(hfen(*scaled)) == pytest.approx(float(hfen(reference, image)), rel=1e-9)


def test_ssim_is_invariant_to_transposition_and_order():
    reference, image = pair(19, 26)
    assert float(ssim(reference.T, image.T, 1.0)) == pytest.approx(
        float(ssim(reference, image, 1.0)), abs=1e-12
    )
    assert float(ssim(image, reference, 1.0)) == pytest.approx(
        float(ssim(reference, image, 1.0)), abs=1e-12
    )


def test_the_filter_is_the_laplacian_of_gaussian_kernel():
    impulse = torch.zeros(41, 37)
    impulse[20, 18] = 1
    y, x = np.mgrid[-7:8, -7:8]
    gauss = np.exp(-(y**2 + x**2) / (2 * 1.5**2))
    kernel = (y**2 + x**2 - 2 * 1.5**2) / 1.5**4 * gauss / gauss.sum()
    kernel -= kernel.mean()
    response = laplacian_of_gaussian(impulse).numpy()
    assert np.allclose(response[13:28, 11:26], kernel, atol=1e-14)
    assert np.count_nonzero(response) <= 15 * 15


def test_the_filter_gives_zero_for_a_constant_and_the_curvature_of_a_parabola():
    assert laplacian_of_gaussian(torch.full((9, 11), 5.0)).abs().max() < 1e-12
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    response = laplacian_of_gaussian(y**2 + 2 * x**2)[8:-8, 8:-8]
    assert torch.allclose(response, response[0, 0].expand_as(response))
    assert float(response[0, 0]) == pytest.approx(6.0, rel=0.02)


def test_hfen_of_blurred_and_of_empty_images():
    reference, _ = pair(30, 30)
    blurred = torch.nn.functional.avg_pool2d(reference[None], 3, stride=1, padding=1)[0]
    assert 0.5 < float(hfen(reference, blurred)) < 1.0
    assert float(hfen(reference, torch.zeros_like(reference))) == pytest.approx(1.0)


def test_gradients_flow_through_ssim():
    reference, image = pair(12, 12, dtype=torch.float32)
    ssim(reference, image.requires_grad_(), 1.0).backward()
    assert image.grad is not None
    assert image.grad.abs().max() > 0


def test_bad_input_is_refused():
    small, full = torch.rand(6, 20), torch.rand(8, 20)
    with refused("images-too-small"):
        ssim(small, small, 1.0)
    with refused("shape-mismatch"):
        psnr(small, full, 1.0)
    with refused("images-complex"):
        nmse(full, full.to(torch.complex64))
    with refused("shape-mismatch"):
        hfen(full[0], full[0])
