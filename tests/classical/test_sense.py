import pytest
import torch

from cmrrecon.classical.sense import sense
from cmrrecon.classical.zero_filled import zero_filled
from cmrrecon.physics.coils import rss
from cmrrecon.physics.fourier import fft2c, ifft2c
from cmrrecon.physics.sensitivity import estimate_maps
from cmrrecon.scan import Series


def psnr(image, reference):
    return float(10 * torch.log10(reference.abs().max() ** 2 / (image.abs() - reference.abs()).square().mean()))


def test_zero_filled_is_the_rss_of_the_coil_images(cine):
    series, _ = cine()
    images = zero_filled(series)
    assert images.dtype == torch.float32
    torch.testing.assert_close(images, rss(ifft2c(series.kspace)))


@pytest.mark.parametrize("radial", [False, True])
def test_sense_unfolds_what_zero_filled_leaves_folded(cine, radial):
    series, truth = cine(radial=radial)
    images = sense(series, weight=1e-4)
    assert images.dtype == torch.complex64
    assert psnr(images, truth) > psnr(zero_filled(series), truth) + 6


def test_sense_solves_its_normal_equations(cine):
    series, _ = cine()
    maps = estimate_maps(series.kspace, series.mask)
    x = sense(series, weight=0.05, iterations=100)
    residual = fft2c(maps * x[:, None]) * series.mask[:, None] - series.kspace
    gradient = (maps.conj() * ifft2c(residual * series.mask[:, None])).sum(1) + 0.05 * x
    assert gradient.abs().max() < 1e-4 * x.abs().max()


def test_sense_magnitude_does_not_depend_on_the_order_of_coils(cine):
    series, _ = cine(coils=5)
    permuted = Series(series.kspace[:, [3, 1, 4, 0, 2]], series.mask)
    torch.testing.assert_close(sense(permuted).abs(), sense(series).abs(), atol=1e-3, rtol=0)


def test_calibration_on_the_first_frame_ignores_the_others(cine):
    series, _ = cine()
    changed = Series(torch.stack([series.kspace[0], 5 * series.kspace[1].roll(3, -1)]), series.mask)
    torch.testing.assert_close(sense(changed, calibration="first")[0], sense(series, calibration="first")[0])
    assert not torch.allclose(sense(changed)[0], sense(series)[0], atol=1e-3)


@pytest.mark.parametrize(("step", "least"), [(2, 50), (3, 46), (4, 43)])
def test_sense_reaches_the_fully_sampled_image_of_a_measured_head(measured_head, step, least):
    mask = torch.zeros((1, 96, 1), dtype=torch.bool)
    mask[:, ::step] = True
    mask[:, 36:60] = True
    series = Series(measured_head * mask, mask)
    scale = series.scale()
    series = series.scaled(1 / scale)
    maps = estimate_maps(series.kspace, mask)
    reference = (maps.conj() * ifft2c(measured_head[0] / scale)).sum(0)
    assert psnr(sense(series)[0], reference) >= least
