import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from refusals import refused

from cmrrecon import formats
from cmrrecon.tools.errors import InputError


class Payload:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_a_scan_round_trips(tmp_path, scan, stamp, suffix):
    path = tmp_path / f"cine_sax{suffix}"
    formats.write_scan(path, scan, stamp)
    back = formats.read(path)
    assert back.shape == scan.shape
    assert all(torch.equal(back.read_slice(i), scan.read_slice(i)) for i in range(2))
    assert formats.read_provenance(path) == stamp
    if suffix == ".npz":
        assert back.acquisition == scan.acquisition
        assert torch.equal(back.mask.samples, scan.mask.samples)
        assert back.notes == ()
    else:
        assert back.acquisition.base == "cine_sax"
        assert any("non-zero in any coil" in note for note in back.notes)


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
@pytest.mark.parametrize("part", ["complex", "real"])
def test_images_round_trip(tmp_path, images, stamp, suffix, part):
    given = images if part == "complex" else images.abs()
    path = tmp_path / f"a{suffix}"
    formats.write_images(path, given, stamp)
    array = np.load(path, allow_pickle=False)
    np.testing.assert_array_equal(
        array["image"] if suffix == ".npz" else array, given.transpose(0, 1).numpy()
    )
    assert torch.equal(formats.read_images(path), given.transpose(0, 1))
    assert formats.read_provenance(path) == stamp
    assert formats.kind(path) == "images"


def test_provenance_of_npy_lies_beside_it_and_never_outlives_its_array(tmp_path, images, stamp):
    formats.write_images(tmp_path / "a.npy", images, stamp)
    assert sorted(os.listdir(tmp_path)) == ["a.npy", "a.npy.json"]
    formats.write_images(tmp_path / "a.npy", images)
    assert os.listdir(tmp_path) == ["a.npy"]
    assert formats.read_provenance(tmp_path / "a.npy") is None


def test_truth_files(tmp_path):
    image, maps = (
        torch.randn(3, 2, 8, 9, dtype=torch.complex64),
        torch.randn(4, 8, 9, dtype=torch.complex64),
    )
    formats.write_truth(tmp_path / "cine_sax_truth.npz", image, maps)
    assert torch.equal(formats.read_images(tmp_path / "cine_sax_truth.npz"), image)
    with np.load(tmp_path / "cine_sax_truth.npz", allow_pickle=False) as stored:
        assert sorted(stored) == ["image", "maps"]
        np.testing.assert_array_equal(stored["maps"], maps.numpy())
    with refused("variable-kind"):
        formats.read(tmp_path / "cine_sax_truth.npz")


def test_named_axes_fortran_order_and_double_precision(tmp_path):
    array = np.asfortranarray((np.arange(6 * 5 * 2) * 1j).reshape(6, 5, 2)).astype(">c16")
    np.save(tmp_path / "a.npy", array)
    scan = formats.read(tmp_path / "a.npy", axes="x,y,coil")
    assert scan.shape == (1, 1, 2, 5, 6)
    assert torch.equal(
        scan.read_slice(0)[0], torch.from_numpy(array.transpose(2, 1, 0).astype(np.complex64))
    )


def test_three_axes_of_images_are_one_slice_over_time(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    back = formats.read_images(tmp_path / "a.npy")
    assert back.shape == (2, 1, 3, 4)
    assert back.dtype == torch.float32


def test_pickled_objects_are_refused_and_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "a.npy", np.array([Payload()], object), allow_pickle=True)
    np.savez(tmp_path / "b.npz", kspace=np.array([Payload()], object))
    (tmp_path / "c.npy").write_bytes(pickle.dumps(Payload()))
    for name, code in {
        "a.npy": "file-objects",
        "b.npz": "file-objects",
        "c.npy": "file-format",
    }.items():
        for read in (formats.read, formats.read_images):
            with refused(code):
                read(tmp_path / name)
    assert not (tmp_path / "executed").exists()


def header(shape, dtype="<c8"):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    return file.getvalue()


@pytest.mark.parametrize(
    ("shape", "content"),
    [
        ((1, 1, 40, 10000, 10000), 0),
        ((1, 1, 2, 100, 100), 1000),
        ((2, 2), 10**8),
        ((-1, 4), 0),
        ((2**40, 2**40), 0),
    ],
)
def test_npz_with_a_wrong_shape_is_refused(tmp_path, shape, content):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("kspace.npy", header(shape) + bytes(content))
    with pytest.raises(InputError):
        formats.read(tmp_path / "a.npz")


def test_npz_with_a_wrong_size_in_its_directory_is_refused(tmp_path):
    head = header((1, 1, 3, 2**13, 2**14))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("kspace.npy", head + bytes(1000))
    content, real = (tmp_path / "a.npz").read_bytes(), (len(head) + 1000).to_bytes(4, "little")
    assert content.count(real) == 2
    (tmp_path / "a.npz").write_bytes(
        content.replace(real, (len(head) + 3 * 2**30).to_bytes(4, "little"))
    )
    with refused("file-damaged"):
        formats.read(tmp_path / "a.npz")


def test_a_truncated_npy_is_refused(tmp_path, scan):
    formats.write_scan(tmp_path / "a.npy", scan)
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content[:-100])
    with refused("file-damaged"):
        formats.read(tmp_path / "a.npy")


def test_npy_with_too_small_a_shape_is_refused(tmp_path, scan):
    formats.write_scan(tmp_path / "a.npy", scan)
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content.replace(b"(3, 2, 4, 10, 12)", b"(2, 2, 4, 10, 12)"))
    with refused("file-damaged"):
        formats.read(tmp_path / "a.npy")


def test_npz_with_too_small_a_shape_is_refused(tmp_path):
    values = np.ones((3, 2, 4, 40, 50), np.complex64)
    np.savez(tmp_path / "a.npz", kspace=values)
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(content.replace(b"(3, 2, 4, 40, 50)", b"(1, 2, 4, 40, 50)"))
    with refused("file-damaged"):
        formats.read(tmp_path / "a.npz")


def test_npz_packed_in_another_way_is_refused(tmp_path):
    content = header((1, 1, 2, 8, 8)) + bytes(8 * 128)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("kspace.npy", content)
    with refused("file-damaged"):
        formats.read(tmp_path / "a.npz")
