"""What a `Result` holds, and how it is saved."""

import h5py
import pytest
import torch
from refusals import refused

import cmrrecon
from cmrrecon import formats
from cmrrecon.reconstruction.result import Result, uncertainty_path
from cmrrecon.tools import provenance

STAMP = provenance.make(["a", "test"], config={"method": "own"}, inputs=[])


def complex_images(slices=2):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn((3, 8, 6), dtype=torch.complex64, generator=generator) for _ in range(slices)
    ]


@pytest.fixture
def result():
    images = complex_images()
    return Result(
        images,
        (4, 7),
        uncertainty=[image.abs() for image in images],
        residuals=(1.0, None),
        provenance=STAMP,
    )


def test_all_slices_together(result):
    assert result.images.shape == (3, 2, 8, 6)
    assert torch.equal(result.images[:, 1], result.slices[1])


def test_images_and_uncertainties_are_saved_with_their_origin(result, tmp_path):
    images, beside = result.save(tmp_path / "cine.h5")
    assert beside == tmp_path / "cine_uncertainty.h5" == uncertainty_path(images)
    assert torch.equal(formats.read_images(images), result.images)
    torch.testing.assert_close(formats.read_images(beside), result.images.abs())
    assert formats.read_provenance(images) == STAMP
    assert formats.read_provenance(beside) == {**STAMP, "quantity": "standard deviation"}


@pytest.mark.parametrize("suffix", [".h5", ".mat", ".npy", ".npz", ".png", ".gif"])
def test_every_format(suffix, tmp_path):
    path = tmp_path / "new" / f"cine{suffix}"
    made = Result([torch.rand(3, 40, 40)], (0,), provenance=STAMP)
    assert made.save(str(path)) == [path]
    assert path.stat().st_size > 0


def test_an_older_file_is_replaced(result, tmp_path):
    path = tmp_path / "cine.h5"
    path.write_text("something else")
    result.save(path)
    assert h5py.is_hdf5(path)


@pytest.mark.parametrize("name", ["cine.gz", "cine", "cine.H6", ".h5", ".nii.gz"])
def test_unknown_formats_are_refused_before_anything_is_written(result, tmp_path, name):
    with refused("output-format"):
        result.save(tmp_path / "new" / name)
    assert not list(tmp_path.iterdir())


def test_the_scan_itself_is_not_replaced(scan, tmp_path):
    path = tmp_path / "scan.h5"
    formats.write_scan(path, scan)
    before = path.read_bytes()
    result = cmrrecon.reconstruct(path, "zero-filled", slices=[0], device="cpu")
    (tmp_path / "link.h5").symlink_to(path)
    for same in (path, tmp_path / "." / "scan.h5", tmp_path / "link.h5"):
        with refused("output-is-input"):
            result.save(same)
    assert path.read_bytes() == before
    assert result.save(tmp_path / "other.h5") == [tmp_path / "other.h5"]


@pytest.mark.parametrize("name", ["file/cine.h5", "file/new/cine.npy"])
def test_unwritable_outputs_are_refused(result, tmp_path, name):
    """A file stands where a folder is needed; even an administrator cannot write there."""
    (tmp_path / "file").write_text("in the way")
    with refused("output-unwritable") as error:
        result.save(tmp_path / name)
    assert name.rpartition("/")[2] in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_of_the_same_name_is_refused(result, tmp_path):
    (tmp_path / "cine.h5").mkdir()
    with refused("output-unwritable"):
        result.save(tmp_path / "cine.h5")


def test_a_result_is_read_back(scan, tmp_path):
    result = cmrrecon.reconstruct(scan, "zero-filled", device="cpu")
    result.save(tmp_path / "cine.h5")
    assert torch.equal(formats.read_images(tmp_path / "cine.h5"), result.images)
    kept = formats.read_provenance(tmp_path / "cine.h5")
    assert kept["config"] == result.provenance["config"]
    assert kept["data_residual"] == [None] * 3


def test_neither_images_nor_uncertainties_replace_their_sources(tmp_path):
    made = cmrrecon.simulate(slices=1, coils=2, frames=2, y=32, x=32)
    for name in ("cine_uncertainty.h5", "cine.h5"):
        source = tmp_path / name
        cmrrecon.write(source, made.scan)
        before = source.read_bytes()
        result = cmrrecon.reconstruct(source, "zero-filled", uncertainty=2)
        with refused("output-is-input"):
            result.save(tmp_path / "cine.h5")
        assert source.read_bytes() == before
        source.unlink()
        assert not (tmp_path / "cine.h5").exists()
