"""The haze where no coil sees anything."""

from dataclasses import replace

import pytest
import torch

from cmrrecon import SamplingMask, Scan, simulate, undersample
from cmrrecon.classical.air import with_air
from cmrrecon.classical.measured_coils import coil_average
from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.methods.registry import find_method
from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import fft2c
from cmrrecon.simulation.acquisition import coil_maps

HAZE = 0.02


def scan(haze, pattern="kt-gaussian", acceleration=4):
    """A scan of a disc in air with an even haze, and its truth (frame, y, x)."""
    made = simulate("cine", frames=4, slices=1, coils=4, y=64, x=80)
    image = made.image[:, 0] / made.image.abs().max()
    image = image + haze * (image.abs() == 0)
    kspace = fft2c(coil_maps(4, 64, 80, 0) * image[:, None])
    full = Scan.from_kspace(kspace[:, None], torch.ones((1, 64, 1), dtype=torch.bool))
    return undersample(full, pattern, acceleration, acs=16, seed=1), image


def with_maps(one, truth):
    """The series with true maps of the body alone, prepared, and the pixels outside them."""
    body = truth.abs().amax(0) > 2 * HAZE
    series = replace(one.series(0), maps=coil_maps(4, 64, 80, 0) * body)
    return PreparedSeries(series), ~body


@pytest.mark.parametrize("pattern", ["kt-gaussian", "uniform", "kt-radial"])
@pytest.mark.parametrize("method", ["llr", "sense", "kt-unrolled"])
def test_haze_has_the_right_brightness(pattern, method):
    prepared, outside = with_maps(*scan(HAZE, pattern))
    found = find_method(method)
    given = {} if method == "kt-unrolled" else {"weight": 0.01, "iterations": 20}
    air = found.reconstruct(prepared, found.options(given)).images.abs()[:, outside]
    assert 0.5 * HAZE < float(air.median()) < 1.5 * HAZE


def test_without_haze_air_stays_nearly_empty():
    prepared, outside = with_maps(*scan(0.0))
    llr = find_method("llr")
    options = llr.options({"weight": 0.01, "iterations": 20})
    air = llr.reconstruct(prepared, options).images.abs()[:, outside]
    assert float(air.median()) < 0.2 * HAZE


def test_only_air_changes():
    made, _ = scan(HAZE)
    prepared = PreparedSeries(made.series(0))
    coils = prepared.coils().first
    images = torch.randn(
        (4, 64, 80), dtype=torch.complex64, generator=torch.Generator().manual_seed(0)
    )
    filled = with_air(prepared, *coil_average(images, coils), images)
    inside = rss(coils.measured) > 0
    assert torch.equal(filled[:, inside], images[:, inside])
    # The haze is the same in all frames.
    assert torch.equal(filled[0][~inside], filled[1][~inside])


def test_a_frame_without_signal_stays_empty():
    made, _ = scan(HAZE)
    prepared = PreparedSeries(made.series(0))
    coils = prepared.coils().first
    images = torch.ones((4, 64, 80), dtype=torch.complex64)
    images[2] = 0
    filled = with_air(prepared, *coil_average(images, coils), images)
    assert not bool((filled[2] != 0).any())


def test_complete_series_and_few_calibration_lines_change_nothing():
    made, _ = scan(HAZE)
    series = made.series(0)
    coils = PreparedSeries(series).coils().first
    images = torch.ones((4, 64, 80), dtype=torch.complex64)
    few = torch.zeros((1, 64, 1), dtype=torch.bool)
    few[:, 30:34] = True
    for samples in (torch.ones_like(few), few):
        prepared = PreparedSeries(replace(series, mask=SamplingMask.of(samples)))
        assert with_air(prepared, *coil_average(images, coils), images) is images
