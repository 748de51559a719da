import pytest
import torch
from kinds import mask_of, normal

from cmrrecon.classical.coils import estimate_coils
from cmrrecon.classical.prepared import normalisation
from cmrrecon.classical.problem import Problem
from cmrrecon.classical.sense import sense
from cmrrecon.classical.zero_filled import zero_filled
from cmrrecon.data import Series
from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import fft2c, ifft2c
from cmrrecon.operators.sensitivity import estimate_maps


def psnr(image, reference):
    return float(
        10
        * torch.log10(reference.abs().max() ** 2 / (image.abs() - reference.abs()).square().mean())
    )


def images_of(series, **options):
    problem = Problem.of(normal(series), estimate_coils(series, virtual=8))
    return problem.whole(sense(problem, **options).x)


def test_zero_filled_is_the_rss_of_the_coil_images(cine):
    series, _ = cine()
    images = zero_filled(series)
    assert images.dtype == torch.float32
    torch.testing.assert_close(images, rss(ifft2c(series.kspace)))


@pytest.mark.parametrize("radial", [False, True])
@pytest.mark.parametrize("moving", [False, True])
def test_sense_unfolds_what_zero_filled_leaves_folded(cine, radial, moving):
    series, truth = cine(radial=radial, moving=moving)
    images = images_of(series, weight=1e-4)
    assert images.dtype == torch.complex64
    assert psnr(images, truth) > psnr(zero_filled(series), truth) + 6


def test_sense_solves_its_normal_equations(cine):
    series, _ = cine()
    maps = estimate_coils(series, virtual=4).measured
    x = images_of(series, weight=0.05, iterations=100)
    mask = series.mask.samples[:, None]
    residual = fft2c(maps * x[:, None]) * mask - series.kspace
    gradient = (maps.conj() * ifft2c(residual * mask)).sum(1) + 0.05 * x
    assert gradient.abs().max() < 1e-4 * x.abs().max()


def test_sense_stops_when_it_is_solved(cine):
    series, _ = cine()
    problem = Problem.of(normal(series), estimate_coils(series, virtual=8))
    found = sense(problem, weight=0.05, iterations=500)
    assert len(found.residuals) < 100
    assert found.residuals[-1] <= 1e-6


def test_solved_frames_survive_the_steps_of_others(cine):
    series, _ = cine(frames=4, step=2, moving=True)
    samples = series.mask.samples
    samples[0] = False
    samples[0, 22] = True
    samples[1, :16] = samples[1, 30:] = False
    problem = Problem.of(
        normal(series), estimate_coils(cine(frames=4, step=2, moving=True)[0], virtual=8)
    )
    assert sense(problem, weight=0.0, iterations=300).x.abs().max() < 3 * problem.start.abs().max()


def test_as_many_virtual_coils_as_coils_are_only_a_change_of_basis(cine):
    series, _ = cine()
    coils, maps = estimate_coils(series, virtual=4), estimate_maps(series.kspace, series.mask)
    torch.testing.assert_close(coils.measured.abs(), maps.abs(), atol=1e-3, rtol=0)


def test_sense_magnitude_does_not_depend_on_the_order_of_coils(cine):
    series, _ = cine(coils=5)
    permuted = Series(series.kspace[:, [3, 1, 4, 0, 2]], series.mask)
    torch.testing.assert_close(
        images_of(permuted).abs(), images_of(series).abs(), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize(("step", "least"), [(2, 50), (3, 46), (4, 43)])
def test_sense_reaches_the_fully_sampled_image_of_a_measured_head(measured_head, step, least):
    mask = torch.zeros((1, 96, 1), dtype=torch.bool)
    mask[:, ::step] = True
    mask[:, 36:60] = True
    series = Series(measured_head * mask, mask_of(mask))
    scale = normalisation(series)
    series = series.scaled(1 / scale)
    coils = estimate_coils(series, virtual=16)
    problem = Problem.of(normal(series), coils)
    reference = (coils.measured.conj() * ifft2c(measured_head[0] / scale)).sum(0)
    assert psnr(problem.whole(sense(problem).x)[0], reference) >= least
