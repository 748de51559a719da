"""Our own scans keep noise, separate calibration, maps, averages and geometry."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from refusals import refused

import cmrrecon
from cmrrecon import formats
from cmrrecon.data import Geometry, Noise, Scan
from cmrrecon.sampling import apply_mask

GEOMETRY = Geometry(
    voxel_mm=(1.5, 2.0, 8.0),
    positions_mm=((0.0, 5.0, 0.0), (0.0, 5.0, 8.0)),
    directions=(((0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),) * 2,
    frame_times_ms=(0.0, 40.0, 80.0),
    field_of_view=(10, 6),
    recon_matrix=(20, 12),
)
SUFFIXES = (".h5", ".npz")


def draw(*shape):
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def whole(scan) -> Scan:
    """The small scan with everything that a raw file can hold."""
    only = torch.zeros_like(scan.mask.samples)
    only[0, 4:6] = True
    half = draw(4, 4)
    calibration, maps = draw(2, 4, 5, 6), draw(2, 4, 10, 12)
    mask = replace(
        scan.mask,
        calibration_only=only,
        averages=torch.arange(1.0, 11)[None, :, None],
        centre=(4, 5),
    )
    facts = replace(scan.acquisition, field_strength=2.89, sequence="tfi2d1_12", venc=(0.0, 150.0))
    return replace(
        scan,
        mask=mask,
        acquisition=facts,
        noise=Noise(half @ half.mH, 384),
        calibration=calibration.__getitem__,
        maps=maps.__getitem__,
        geometry=GEOMETRY,
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_scan_is_read_as_it_was_written(whole, suffix, tmp_path):
    path = tmp_path / f"cine{suffix}"
    formats.write_scan(path, whole)
    found = formats.read(path)
    assert found.geometry == GEOMETRY
    assert found.acquisition == whole.acquisition
    assert found.noise.samples == 384
    assert torch.equal(found.noise.covariance, whole.noise.covariance)
    for index in range(2):
        assert torch.equal(found.calibration(index), whole.calibration(index))
        assert torch.equal(found.maps(index), whole.maps(index))
    for name in ("samples", "calibration_only", "averages"):
        assert torch.equal(getattr(found.mask, name), getattr(whole.mask, name)), name
    assert type(found.mask) is type(whole.mask)
    assert found.mask.centre == (4, 5)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_companions_stay_missing(scan, suffix, tmp_path):
    path = tmp_path / f"cine{suffix}"
    formats.write_scan(path, scan)
    found = formats.read(path)
    assert (found.noise, found.calibration, found.maps, found.geometry) == (None,) * 4
    assert found.mask.calibration_only is found.mask.averages is found.mask.centre is None


def test_calibration_lines_of_one_frame_keep_a_mask_equal_in_all(scan, tmp_path):
    samples = torch.ones(3, 10, 1, dtype=torch.bool)
    only = torch.zeros_like(samples)
    only[1, :2] = True
    mask = replace(scan.mask, samples=samples, calibration_only=only)
    formats.write_scan(tmp_path / "cine.h5", replace(scan, mask=mask))
    found = formats.read(tmp_path / "cine.h5").mask
    assert torch.equal(found.samples, samples)
    assert torch.equal(found.calibration_only, only)


def test_a_mask_from_another_file_has_no_companions_of_this_one(whole, tmp_path):
    formats.write_scan(tmp_path / "cine.h5", whole)
    formats.write_mask(tmp_path / "other.mat", torch.ones(1, 10, 1, dtype=torch.bool), 12)
    found = formats.read(tmp_path / "cine.h5", mask=tmp_path / "other.mat")
    assert found.mask.calibration_only is found.mask.averages is None
    assert found.noise is not None


def test_calibration_of_two_sizes_is_cropped_to_the_common_size(whole, tmp_path):
    sizes = {0: draw(4, 6, 8), 1: draw(4, 4, 12)}
    formats.write_scan(tmp_path / "cine.h5", replace(whole, calibration=sizes.__getitem__))
    found = formats.read(tmp_path / "cine.h5").calibration
    assert torch.equal(found(0), sizes[0][:, 1:5])
    assert torch.equal(found(1), sizes[1][:, :, 2:10])


def test_official_files_keep_the_geometry(whole, tmp_path):
    formats.write_scan(tmp_path / "cine_sax.mat", whole)
    assert formats.read(tmp_path / "cine_sax.mat").geometry == GEOMETRY


def test_arrays_of_other_programs_are_not_mistaken_for_ours(scan, tmp_path):
    """An array `noise` of another program may hold anything."""
    kspace = np.stack([scan.read_slice(z).numpy() for z in range(2)], 1)
    np.savez(tmp_path / "cine.npz", kspace=kspace, noise=np.ones((4, 4), np.complex64))
    assert formats.read(tmp_path / "cine.npz").noise is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("noise", np.ones((4, 3), np.complex64)),
        ("noise", np.ones((4, 4), np.float32)),
        ("noise_samples", np.ones(2)),
        ("calibration", np.ones((1, 4, 5, 6), np.complex64)),
        ("maps", np.ones((2, 4, 10, 11), np.complex64)),
        ("averages", np.ones((3, 9, 1), np.float32)),
        ("calibration_only", np.ones((2, 10, 1), np.uint8)),
        ("centre", np.array([4, 12])),
        ("centre", np.array([-1, 2])),
    ],
)
def test_arrays_that_do_not_fit_are_refused(whole, name, value, tmp_path):
    path = tmp_path / "cine.h5"
    formats.write_scan(path, whole)
    with h5py.File(path, "r+") as file:
        del file[name]
        file[name] = value
    with refused("array-shape"):
        formats.read(path)


def test_an_undersampled_scan_keeps_its_facts(whole, tmp_path):
    full = replace(
        whole,
        mask=None,
        acquisition=replace(whole.acquisition, pattern=None),
        read_slice=lambda index: draw(3, 4, 10, 12),
    )
    lines = torch.zeros(1, 10, 1, dtype=torch.bool)
    lines[:, 2:8] = True
    sampled = apply_mask(full, cmrrecon.LineMask(lines))
    formats.write_scan(tmp_path / "cine.h5", sampled)
    found = formats.read(tmp_path / "cine.h5")
    assert found.geometry == GEOMETRY
    assert found.noise is not None
    assert found.acquisition.field_strength == 2.89
