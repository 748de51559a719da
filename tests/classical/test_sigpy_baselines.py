import pytest
import torch
from kinds import normal
from refusals import refused

from cmrrecon.classical.coils import estimate_coils
from cmrrecon.classical.problem import Problem
from cmrrecon.classical.sense import sense
from cmrrecon.classical.sigpy_baselines import (
    VariationOptions,
    WaveletOptions,
    sigpy_jsense,
    sigpy_l1_wavelet,
    sigpy_sense,
    sigpy_tv,
)
from cmrrecon.classical.zero_filled import zero_filled
from cmrrecon.operators.cartesian import encoding
from cmrrecon.operators.sensitivity import estimate_maps

ALL = [sigpy_sense, sigpy_l1_wavelet, sigpy_tv, sigpy_jsense]


def psnr(image, reference):
    return float(
        10
        * torch.log10(reference.abs().max() ** 2 / (image.abs() - reference.abs()).square().mean())
    )


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("radial", [False, True])
def test_each_is_better_than_zero_filled(cine, method, radial):
    series, truth = cine(radial=radial)
    images = method(series)
    assert images.shape == truth.shape
    assert images.dtype == torch.complex64
    assert psnr(images, truth) > psnr(zero_filled(series), truth) + 5


def test_sigpy_sense_is_sense(cine):
    series, _ = cine()
    problem = Problem.of(normal(series), estimate_coils(series))
    torch.testing.assert_close(
        sigpy_sense(series), problem.whole(sense(problem).x), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("method", [sigpy_l1_wavelet, sigpy_tv])
def test_the_same_input_gives_the_same_image(cine, method):
    series, _ = cine()
    assert torch.equal(method(series), method(series))


@pytest.mark.parametrize(
    ("method", "options", "iterations"),
    [(sigpy_l1_wavelet, WaveletOptions, 400), (sigpy_tv, VariationOptions, 60)],
)
def test_solvers_converge(cine, method, options, iterations):
    series, _ = cine(frames=1)
    long, longer = (method(series, options(0.01, n)) for n in (iterations, 2 * iterations))
    assert (long - longer).abs().max() < 0.02 * longer.abs().max()


def test_default_iterations_of_total_variation_come_close_to_its_minimum(cine):
    series, _ = cine(frames=1)
    A = encoding(estimate_maps(series.kspace, series.mask), series.mask)

    def objective(x):
        differences = [x - x.roll(1, -1), x - x.roll(1, -2)]
        return 0.5 * (A(x) - series.kspace).abs().square().sum() + 0.002 * sum(
            d.abs().sum() for d in differences
        )

    usual, best = (
        objective(sigpy_tv(series)),
        objective(sigpy_tv(series, VariationOptions(iterations=150))),
    )
    assert best <= usual < 1.05 * best


def test_jsense_refuses_one_coil_and_too_few_lines(cine):
    with refused("coils-too-few"):
        sigpy_jsense(cine(coils=1)[0])
    with refused("calibration-too-small"):
        sigpy_jsense(cine(step=9, acs=3)[0])
