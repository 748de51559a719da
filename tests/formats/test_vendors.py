"""Unsupported raw data: the error names the converter, and there are no false alarms."""

import h5py
import numpy as np
import pytest
from refusals import refused

from cmrrecon import formats
from cmrrecon.tools.errors import InputError

LIST = b"# === DATA DESCRIPTION FILE ======\r\n#\r\n# CAUTION"
NOTHING = bytes(range(7, 250)) * 40


def archive(path):
    with h5py.File(path, "w") as file:
        file.create_group("Frames")["0"] = np.zeros(4)


def made(folder, name):
    path = folder / name
    archive(path) if name.endswith(".h5") else path.write_bytes(
        LIST if ".list" in name else NOTHING
    )
    return path


@pytest.mark.parametrize(
    ("name", "beside", "converter"),
    [
        ("P12345.7", None, "ge_to_ismrmrd"),
        ("ScanArchive_20200101_120000000.h5", None, "ge_to_ismrmrd"),
        ("scan.lab", None, "philips_to_ismrmrd"),
        ("scan.sin", None, "philips_to_ismrmrd"),
        ("scan.raw", "scan.lab", "philips_to_ismrmrd"),
        ("scan.RAW", "scan.SIN", "philips_to_ismrmrd"),
        ("raw_001.list", None, "philips_to_ismrmrd"),
        ("raw_001.data", "raw_001.list", "philips_to_ismrmrd"),
        ("fid", "acqp", "bruker_to_ismrmrd"),
    ],
)
@pytest.mark.parametrize("call", [formats.read, formats.kind])
def test_the_error_names_the_converter(tmp_path, name, beside, converter, call):
    if beside:
        made(tmp_path, beside)
    path = made(tmp_path, name)
    with refused("vendor-format") as caught:
        call(path)
    assert converter in caught.value.remedy


@pytest.mark.parametrize("name", ["scan.raw", "scan.data", "fid", "notes.list", "P12.7", "x.7"])
def test_other_files_with_such_names_have_an_unknown_format(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(NOTHING)
    with refused("file-format"):
        formats.read(path)


def test_an_hdf5_file_with_kspace_is_read_under_any_name(tmp_path):
    path = tmp_path / "ScanArchive_1.h5"
    with h5py.File(path, "w") as file:
        file["kspace"] = np.ones((1, 1, 2, 8, 8), "c8")
    assert formats.read(path).shape == (1, 1, 2, 8, 8)


def test_an_empty_file_is_refused(tmp_path):
    path = tmp_path / "P12345.7"
    path.touch()
    with pytest.raises(InputError) as caught:
        formats.read(path)
    assert caught.value.code == "file-empty"
