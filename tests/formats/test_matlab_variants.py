"""Complex k-space in the forms that laboratories save: integers, pairs of arrays, structs."""

from contextlib import suppress

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from refusals import refused

from cmrrecon import formats
from cmrrecon.formats import corner
from cmrrecon.formats.complex_parts import pairs
from cmrrecon.operators import fourier
from cmrrecon.tools.errors import InputError

SHAPE = (3, 2, 4, 10, 12)  # (frame, slice, coil, y, x)


@pytest.fixture
def whole():
    """Complex whole numbers, complex64."""
    rng = np.random.default_rng(1)
    real, imag = rng.integers(-4096, 4096, (2, *SHAPE))
    return (real + 1j * imag).astype(np.complex64)


def check(path, expected, images=False):
    if images:
        np.testing.assert_array_equal(formats.read_images(path).numpy(), expected)
        return
    assert formats.kind(path) == "scan"
    scan = formats.read(path)
    assert scan.shape == expected.shape
    for index in range(2):
        np.testing.assert_array_equal(scan.read_slice(index).numpy(), expected[:, index])


@pytest.mark.parametrize("kind", ["i2", "i4", "u2", "f4", "f8"])
def test_compounds_of_any_number_in_v73(tmp_path, whole, kind):
    if kind == "u2":
        whole = np.abs(whole.real) + 1j * np.abs(whole.imag)
    stored = np.empty(SHAPE, [("real", kind), ("imag", kind)])
    stored["real"], stored["imag"] = whole.real, whole.imag
    for options in ({}, {"chunks": (1, 1, *SHAPE[2:]), "compression": "gzip"}):
        with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
            file.create_dataset("kspace", data=stored, **options)
        check(tmp_path / "a.mat", whole)


@pytest.mark.parametrize("kind", ["complex64", "complex128", "i2"])
def test_numbers_of_any_type_in_v5(tmp_path, whole, kind):
    if kind == "i2":
        content = {
            "kspace_real": whole.real.T.astype("i2"),
            "kspace_imag": whole.imag.T.astype("i2"),
        }
    else:
        content = {"kspace": whole.T.astype(kind)}
    scipy.io.savemat(tmp_path / "a.mat", content)
    check(tmp_path / "a.mat", whole)


NAMES = [
    ("kspace_real", "kspace_imag"),
    ("kspace_re", "kspace_im"),
    ("kspace_r", "kspace_i"),
    ("KSPACE_REAL", "KSPACE_IMAG"),
    ("kspaceReal", "kspaceImag"),
    ("real", "imag"),
    ("re", "im"),
]


@pytest.mark.parametrize("names", NAMES, ids="-".join)
@pytest.mark.parametrize("form", [".mat", ".npz", "v5"])
def test_two_real_arrays(tmp_path, whole, names, form):
    content = {names[0]: whole.real, names[1]: whole.imag}
    path = tmp_path / f"a{form.replace('v5', '.mat')}"
    if form == ".npz":
        np.savez(path, **content)
    elif form == "v5":
        scipy.io.savemat(path, {name: values.T for name, values in content.items()})
    else:
        with h5py.File(path, "w", userblock_size=512) as file:
            for name, values in content.items():
                file[name] = values
    check(path, whole)


@pytest.mark.parametrize("names", [("real", "imag"), ("re", "im"), ("Real", "Imag")])
@pytest.mark.parametrize("form", ["v7.3", "v5", "v5 compressed"])
def test_structs_of_two_fields(tmp_path, whole, names, form):
    path, (real, imag) = tmp_path / "a.mat", names
    if form == "v7.3":
        with h5py.File(path, "w", userblock_size=512) as file:
            file[f"kspace/{real}"], file[f"kspace/{imag}"] = whole.real, whole.imag
            file["kspace/note"] = np.arange(3)
    else:
        fields = {real: whole.real.T, "note": "text", imag: whole.imag.T.astype("f8")}
        content = {"kspace": fields, "mask": np.ones((12, 10)), "other": {"a": 1.0}}
        scipy.io.savemat(path, content, do_compression=form.endswith("compressed"))
    check(path, whole)


def test_images_in_two_arrays(tmp_path, whole):
    content = {"image_real": whole.real[:, :, 0], "image_imag": whole.imag[:, :, 0]}
    np.savez(tmp_path / "a.npz", **content)
    check(tmp_path / "a.npz", whole[:, :, 0], images=True)


def test_arrays_that_are_not_a_pair_stay_separate(tmp_path, whole):
    assert pairs(["kspace_real", "mask", "kspace_imaginary", "are", "aim", "r", "i"]) == {}
    np.savez(tmp_path / "a.npz", kspace_real=whole.real, kspace_imag=whole.imag[:1])
    with refused("shape-mismatch"):
        formats.read(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", kspace=whole, kspace_real=whole.real, kspace_imag=whole.imag)
    check(tmp_path / "b.npz", whole)


def test_damaged_structs_are_refused(tmp_path, whole):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"kspace": {"real": whole.real.T, "imag": whole.imag.T}})
    good = path.read_bytes()
    for offset in range(128, 420, 4):
        for value in (b"\xff\xff\xff\x7f", b"\x00\x00\x00\x00"):
            path.write_bytes(good[:offset] + value + good[offset + 4 :])
            with suppress(InputError):  # no other error, and no crash
                formats.read(path).series(0)
    path.write_bytes(good[:-4000])
    with refused("file-damaged"):
        formats.read(path).series(0)


@pytest.fixture
def body():
    """K-space of a disc seen by two coils, (frame, slice, coil, y, x), with a little noise."""
    y, x = torch.meshgrid(torch.arange(40) - 20, torch.arange(48) - 24, indexing="ij")
    disc = ((y / 12) ** 2 + (x / 15) ** 2 < 1).float() * torch.exp(0.05j * x)
    coils = torch.stack([torch.exp(-((x - a) ** 2) / 900) for a in (-20, 20)])
    kspace = fourier.fft2c((disc * coils).to(torch.complex64)).expand(2, 1, -1, -1, -1)
    noise = torch.randn(kspace.shape, dtype=torch.complex64, generator=torch.Generator())
    return kspace + 0.05 * noise


@pytest.mark.parametrize(
    ("axes", "named"), [((-2, -1), "y and x"), ((-1,), "of x"), ((-2,), "of y")]
)
def test_a_centre_at_the_corner_is_refused(tmp_path, body, axes, named):
    for lines in (slice(None), slice(None, None, 2)):
        shifted = torch.zeros_like(body)
        shifted[..., lines, :] = torch.fft.ifftshift(body, axes)[..., lines, :]
        np.save(tmp_path / "a.npy", shifted.numpy())
        with refused("kspace-corner") as caught:
            formats.read(tmp_path / "a.npy").series(0)
        assert named in caught.value.found
        assert "fftshift" in caught.value.remedy


def test_centred_kspace_is_not_refused(tmp_path, body):
    noise = torch.randn(2, 2, 40, 48, dtype=torch.complex64, generator=torch.Generator())
    late = body[:, 0].roll(13, -2)  # partial Fourier of 5/8 ends there
    late[..., :8, :] = 0
    for kspace in (body[:, 0], noise, late, body[:, 0, :, :, 20:], torch.zeros(1, 1, 40, 48) + 0j):
        corner.refuse_corner(kspace, "K-space")
