"""Images of raw data are cut to their field of view, and nothing else changes."""

import dataclasses
from dataclasses import replace

import pytest
import torch
from refusals import refused

import cmrrecon
from cmrrecon import formats
from cmrrecon.data import Geometry
from cmrrecon.methods.registry import METHODS, find_method
from cmrrecon.operators.field_of_view import interpolated

GEOMETRY = Geometry(
    voxel_mm=(1.5, 2.0, 8.0),
    positions_mm=tuple((0.0, 5.0, 8.0 * z) for z in range(3)),
    directions=(((0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),) * 3,
    frame_times_ms=(0.0, 40.0, 80.0),
    field_of_view=(41, 24),
    recon_matrix=(82, 36),
)
# Of 48 x 48 pixels: 24 - 41 // 2 = 4 and 24 - 24 // 2 = 12.
INSIDE = (..., slice(4, 45), slice(12, 36))
FAST = {"sense": {"weight": 0.01, "iterations": 3}, "zero-filled": {}}


@pytest.fixture(scope="module")
def raw(scan):
    return replace(scan, geometry=GEOMETRY)


def made(scan, method="sense", **options):
    return cmrrecon.reconstruct(scan, method, **FAST.get(method, {}), **options)


@pytest.mark.parametrize("method", ["zero-filled", "sense"])
def test_images_maps_and_uncertainty_are_cut_alike(raw, method):
    shown = made(raw, method, uncertainty=2)
    whole = made(raw, method, uncertainty=2, keep_oversampling=True)
    assert shown.images.shape == (3, 3, 41, 24)
    assert torch.equal(shown.images, whole.images[INSIDE])
    assert torch.equal(
        torch.stack(list(shown.uncertainty)), torch.stack(list(whole.uncertainty))[INSIDE]
    )
    assert len(shown.maps) == len(whole.maps)
    for part, full in zip(shown.maps, whole.maps, strict=True):
        assert torch.equal(part, full[INSIDE])
    assert shown.residuals == whole.residuals


def test_the_whole_image_is_that_of_a_scan_without_a_geometry(raw, scan):
    assert torch.equal(made(raw, keep_oversampling=True).images, made(scan).images)
    assert made(scan).geometry is None


def test_decisions_do_not_depend_on_the_cut(raw, scan):
    shown, whole = (
        cmrrecon.reconstruct(one, "sense", iterations=3, slices=[1]) for one in (raw, scan)
    )
    assert shown.decision == whole.decision
    assert shown.residuals == whole.residuals


@pytest.mark.parametrize("method", ["zero-filled", "sense"])
def test_the_scanner_matrix_is_interpolated_on_request(raw, method):
    found = made(raw, method, recon_matrix=True, slices=[0])
    cut = made(raw, method, slices=[0])
    assert found.images.dtype == cut.images.dtype
    torch.testing.assert_close(found.slices[0], interpolated(cut.slices[0], (82, 36)))
    assert found.geometry.voxel_mm == pytest.approx((0.75, 24 * 2 / 36, 8))


def test_the_uncertainty_is_that_of_the_interpolated_images(raw):
    found = made(raw, recon_matrix=True, uncertainty=2, slices=[0])
    assert found.uncertainty[0].shape == (3, 82, 36)
    assert found.uncertainty[0].min() >= 0


def test_the_geometry_is_that_of_the_returned_images(raw):
    found = made(raw, slices=[0, 2]).geometry
    assert found.positions_mm == (GEOMETRY.positions_mm[0], GEOMETRY.positions_mm[2])
    assert found.voxel_mm == (1.5, 2, 8)
    assert found.field_of_view == (41, 24)
    assert made(raw, keep_oversampling=True).geometry.field_of_view == (41, 24)


@pytest.mark.parametrize("suffix", [".h5", ".mat", ".npz", ".npy", ".png"])
def test_the_geometry_is_stored_in_every_file(raw, suffix, tmp_path):
    result = made(raw, "zero-filled", slices=[1])
    result.save(tmp_path / f"cine{suffix}")
    assert formats.read_geometry(tmp_path / f"cine{suffix}") == result.geometry


def test_other_views_are_other_recipes(raw):
    configs = [
        made(raw, "zero-filled", slices=[0], **view).provenance["config_hash"]
        for view in ({}, {"keep_oversampling": True}, {"recon_matrix": True})
    ]
    assert len(set(configs)) == 3


def test_images_along_a_trajectory_are_cut_too():
    radial = cmrrecon.simulate(slices=1, y=32, x=32, spokes=24, frames=1, coils=2).scan
    scan = replace(radial, geometry=Geometry(field_of_view=(16, 32), recon_matrix=(32, 64)))
    assert made(scan).images.shape == (1, 1, 16, 32)
    assert made(scan, recon_matrix=True).images.shape == (1, 1, 32, 64)


def test_an_unknown_matrix_is_not_interpolated_to(scan, raw):
    with refused("recon-matrix-missing"):
        made(scan, recon_matrix=True)
    with refused("options-conflict"):
        made(raw, recon_matrix=True, keep_oversampling=True)
    huge = replace(GEOMETRY, recon_matrix=(2**16, 2**16))
    with refused("array-too-large"):
        made(replace(raw, geometry=huge), recon_matrix=True)
    with refused("option-value"):
        made(raw, recon_matrix="yes")
    with refused("option-value"):
        made(raw, whiten="yes")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_cut(raw, name):
    fields = {field.name for field in dataclasses.fields(find_method(name).Options)}
    options = {"iterations": 2, "weight": 0.01}
    options = {key: value for key, value in options.items() if key in fields}
    found = cmrrecon.reconstruct(raw, name, slices=[0], **options)
    assert found.images.shape == (3, 1, 41, 24)
