"""Cutting and interpolating images: the centre stays in place for all sizes."""

import math

import pytest
import torch

from cmrrecon.data import Geometry, View
from cmrrecon.operators.field_of_view import interpolated, shown


@pytest.mark.parametrize("encoded", [(8, 13), (9, 12)])
@pytest.mark.parametrize("wanted", [(4, 6), (5, 7), (5, 6), (4, 7)])
def test_the_reference_pixel_stays_the_reference_pixel(encoded, wanted):
    image = torch.zeros(2, *encoded)
    image[:, encoded[0] // 2, encoded[1] // 2] = 1
    found = shown(image, View(), Geometry(field_of_view=wanted))
    assert found.shape == (2, *wanted)
    assert (found[:, wanted[0] // 2, wanted[1] // 2] == 1).all()
    assert found.sum() == 2


def test_a_cut_image_holds_only_its_own_pixels_in_memory():
    image = torch.rand(1, 64, 128)
    found = shown(image, View(), Geometry(field_of_view=(64, 64)))
    assert found.untyped_storage().nbytes() == found.numel() * 4
    assert torch.equal(found, image[..., 32:96])


def test_the_oversampling_is_kept_on_request():
    image = torch.rand(1, 8, 16)
    kept = shown(image, View(keep_oversampling=True), Geometry(field_of_view=(8, 8)))
    assert torch.equal(kept, image)


def wave(length, cycles, kind=torch.complex64):
    """A wave whose phase is zero at pixel length // 2."""
    place = (torch.arange(length) - length // 2) / length
    return torch.exp(2j * math.pi * cycles * place).to(kind)


@pytest.mark.parametrize("length", [12, 13])
@pytest.mark.parametrize("wanted", [7, 8, 20, 21, 24])
def test_waves_that_both_grids_hold_are_interpolated_exactly(length, wanted):
    for cycles in (-3, 0, 2):
        image = wave(length, cycles)[:, None] * wave(10, 1)
        expected = wave(wanted, cycles)[:, None] * wave(10, 1)
        torch.testing.assert_close(interpolated(image, (wanted, 10)), expected)


def test_magnitudes_stay_real_and_non_negative():
    image = torch.zeros(1, 9, 9)
    image[0, 4, 4] = 1
    found = interpolated(image, (18, 27))
    assert found.dtype == torch.float32
    assert found.min() == 0
    assert found[0, 9, 13] == pytest.approx(1, abs=1e-5)


def test_the_scanner_matrix_is_interpolated_from_the_field_of_view():
    image = torch.randn(2, 8, 24, dtype=torch.complex64)
    geometry = Geometry(field_of_view=(8, 12), recon_matrix=(16, 18))
    found = shown(image, View(recon_matrix=True), geometry)
    assert torch.equal(found, interpolated(image[..., 6:18], (16, 18)))
