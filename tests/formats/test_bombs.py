"""Files that only look like files, or declare far more than they contain, are refused."""

import gzip
import os
import socket
import zipfile

import h5py
import numpy as np
import pytest
from numpy.lib import format as npy

from cmrrecon import formats
from cmrrecon.formats import bombs
from cmrrecon.formats.label_maps import read_label_map
from cmrrecon.tools.errors import InputError, UsageError
from cmrrecon.training import recipe


@pytest.mark.parametrize("name", ["scan.h5", "recipe.toml", "scan.cfl"])
def test_a_named_pipe_is_refused(tmp_path, name):
    os.mkfifo(tmp_path / name)
    read = recipe.load if name.endswith(".toml") else formats.read
    with pytest.raises(InputError) as caught:
        read(str(tmp_path / name))
    assert caught.value.code == "file-special"


def test_devices_and_sockets_are_refused(tmp_path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "s.h5"))
        for path in ("/dev/zero", tmp_path / "s.h5"):
            with pytest.raises(InputError) as caught:
                formats.read(path)
            assert caught.value.code == "file-special"


def test_hdf5_chunks_that_grow_too_much_are_refused(tmp_path):
    with h5py.File(tmp_path / "kspace.h5", "w") as file:
        shape = (1, 1, 8, 4096, 32768)
        file.create_dataset("kspace", shape, "<c8", chunks=(1, 1, 1, 64, 64), compression="gzip")
    with pytest.raises(InputError) as caught:
        formats.read(tmp_path / "kspace.h5")
    assert caught.value.code == "array-too-large"


def test_npz_members_that_grow_too_much_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(bombs, "SMALL_BYTES", 2**20)
    path, size = tmp_path / "kspace.npz", 4 * 2**20
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive,
        archive.open("kspace.npy", "w") as member,
    ):
        head = {"descr": "<c8", "fortran_order": False, "shape": (1, 1, 1, 1, size // 8)}
        npy.write_array_header_1_0(member, head)
        for _ in range(size >> 20):
            member.write(bytes(1 << 20))
    with pytest.raises(InputError) as caught:
        formats.read(path)
    assert caught.value.code == "file-damaged"


def test_gzip_labels_that_are_longer_than_they_declare_are_refused(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    path = tmp_path / "cine_label.nii.gz"
    image = nibabel.Nifti1Image(np.ones((4, 4), np.uint8), np.eye(4))
    with gzip.open(path, "wb", 1) as file:
        file.write(image.to_bytes())
        for _ in range(20):
            file.write(bytes(1 << 20))
    with pytest.raises(InputError) as caught:
        read_label_map(path)
    assert caught.value.code == "file-damaged"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a = " + "[" * 5000, "file-damaged"),
        ("seed = " + "9" * 10_000, "file-damaged"),
        ("[schedule]\nepochs = 0x" + "9" * 10_000, "option-value"),
        ("description = '" + "a" * 100_000 + "'", "file-too-large"),
        ("[schedule]\nepochs = 3", "option-missing"),
        ("a" + ".a" * 7_000 + " = 1", "unknown-option"),
    ],
)
def test_recipes_beyond_all_limits_are_refused(tmp_path, text, code):
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises((InputError, UsageError)) as caught:
        recipe.load(str(tmp_path / "recipe.toml"))
    assert caught.value.code == code
