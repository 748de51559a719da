import h5py
import numpy as np
import pytest
import scipy.io
import torch

from cmrrecon import formats
from cmrrecon.data import Acquisition, Scan
from cmrrecon.formats.matlab import default_variable


def test_the_header_is_that_of_matlab_v73(tmp_path, scan):
    formats.write_scan(tmp_path / "a.mat", scan)
    head = (tmp_path / "a.mat").read_bytes()[:128]
    assert head.startswith(b"MATLAB 7.3 MAT-file, Platform: ")
    assert head[124:] == b"\x00\x02IM"
    with pytest.raises(NotImplementedError, match="HDF"):
        scipy.io.loadmat(tmp_path / "a.mat")


def test_layout_is_that_of_the_official_files(tmp_path, scan, golden):
    formats.write_scan(tmp_path / "a.mat", scan)
    official = next((golden / "matfiles").rglob("cine_sax.mat"))
    with h5py.File(tmp_path / "a.mat") as ours, h5py.File(official) as theirs:
        (name,) = ours
        (other,) = theirs
        assert name == "kus"
        assert ours[name].dtype == theirs[other].dtype
        assert dict(ours[name].attrs) == dict(theirs[other].attrs)
        assert ours.userblock_size == theirs.userblock_size == 512
        assert ours[name].chunks == (1, 1, 1, 10, 12)
        assert ours[name].compression == "gzip"
        assert ours[name][2, 1, 3, 4, 5]["real"] == scan.read_slice(1)[2, 3, 4, 5].real


def test_scan_and_mask_round_trip(tmp_path, scan, stamp):
    data, mask = (
        tmp_path / formats.kus_name("cine_sax", "kt-gaussian", 4),
        tmp_path / formats.mask_name("cine_sax", "kt-gaussian", 4),
    )
    formats.write_scan(data, scan, stamp)
    formats.write_mask(mask, scan.mask.samples, x=12, provenance=stamp)
    back = formats.read(data)
    assert back.shape == scan.shape
    assert torch.equal(back.mask.samples, scan.mask.samples)
    assert all(torch.equal(back.read_slice(i), scan.read_slice(i)) for i in range(2))
    assert (back.acquisition.base, back.acquisition.pattern, back.acquisition.acceleration) == (
        "cine_sax",
        "kt-gaussian",
        4,
    )
    assert back.notes == ()
    assert formats.read_provenance(data) == formats.read_provenance(mask) == stamp
    back.series(0)


def test_line_masks_are_repeated_along_x_and_static_ones_have_two_axes(tmp_path, scan):
    formats.write_mask(tmp_path / "m.mat", scan.mask.samples, x=12)
    with h5py.File(tmp_path / "m.mat") as file:
        assert file["mask"].shape == (3, 10, 12)
        assert file["mask"].dtype == np.float64
        assert file["mask"].attrs["MATLAB_class"] == b"double"
    formats.write_mask(tmp_path / "m.mat", scan.mask.samples[:1], x=12)
    with h5py.File(tmp_path / "m.mat") as file:
        assert file["mask"].shape == (10, 12)
        np.testing.assert_array_equal(
            file["mask"][()], np.repeat(scan.mask.samples[0].numpy(), 12, axis=1)
        )
    radial = torch.rand(1, 10, 12) > 0.5
    formats.write_mask(tmp_path / "m.mat", radial, x=12)
    assert torch.equal(formats.read_mask(tmp_path / "m.mat").samples, radial)


@pytest.mark.parametrize("base", ["blackblood", "T1w", "T2w"])
def test_modalities_without_time_have_four_axes(tmp_path, base):
    scan = Scan.from_kspace(
        torch.randn(1, 3, 2, 8, 9, dtype=torch.complex64), acquisition=Acquisition(base)
    )
    formats.write_scan(tmp_path / f"{base}.mat", scan)
    with h5py.File(tmp_path / f"{base}.mat") as file:
        assert file["kspace_full"].shape == (3, 2, 8, 9)
    back = formats.read(tmp_path / f"{base}.mat")
    assert back.shape == (1, 3, 2, 8, 9)
    assert torch.equal(back.read_slice(2), scan.read_slice(2))


def test_variable_names_by_year_and_sampling(tmp_path):
    kspace = torch.ones(1, 1, 1, 4, 4, dtype=torch.complex64)
    lines = torch.tensor([1, 0, 1, 1]).bool()[None, :, None]

    def name(mask=None, **facts):
        return default_variable(Scan.from_kspace(kspace, mask, Acquisition("cine_sax", **facts)))

    assert name() == name(year=2024) == name(year=2023) == "kspace_full"
    assert name(year=2025) == name(torch.ones(1, 4, 1).bool(), year=2025) == "kspace"
    assert name(lines, year=2025) == name(pattern="uniform") == "kus"
    formats.write_scan(tmp_path / "a.mat", Scan.from_kspace(kspace), variable="kspace_sub04")
    with h5py.File(tmp_path / "a.mat") as file:
        assert list(file) == ["kspace_sub04"]
