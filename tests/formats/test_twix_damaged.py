"""Twix files that are damaged, hostile or not twix: each raises one clear error without a crash."""

import random
import struct
import sys
from contextlib import suppress
from importlib.util import find_spec

import numpy as np
import pytest
from ismrmrd_files import cnormal
from refusals import refused
from twix_files import NOISE, measurement, protocol, row, write

from cmrrecon import formats
from cmrrecon.tools.errors import CmrreconError

COILS, Y, X = 2, 8, 12
KSPACE = cnormal(COILS, Y, X)
ENTRY = 8  # offset of the first entry of the directory: two numbers, offset, length

needs_turbotwix = pytest.mark.skipif(
    find_spec("turbotwix") is None, reason="needs turbotwix, the extra twix"
)


def lines(vb=False, **facts):
    return [row(KSPACE[:, y], vb=vb, Lin=y, **facts) for y in range(Y)]


def good(path, vb=False):
    return write(path, measurement(lines(vb), vb=vb), vb=vb)


def cut(path, share, vb=False):
    content = good(path, vb).read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def patched(path, place, number, kind="<Q"):
    content = bytearray(good(path).read_bytes())
    struct.pack_into(kind, content, place, number)
    path.write_bytes(content)


def cut_with_its_length(path):
    """Cut, with a directory that agrees."""
    content = bytearray(good(path).read_bytes()[:-400])
    struct.pack_into("<Q", content, ENTRY + 16, len(content) - 10240)
    path.write_bytes(content)


def empty_entries(path):
    write(path, measurement(lines()), measurement(lines()))
    content = bytearray(path.read_bytes())
    for entry in (ENTRY, ENTRY + 152):
        struct.pack_into("<Q", content, entry + 16, 0)
    path.write_bytes(content)


def changed(path, lines=(), parameters=(), rows=None):
    write(path, measurement(rows or globals()["lines"](), protocol(lines, parameters)))


def three_dimensional(path):
    rows = [row(KSPACE[:, y], Lin=y, Par=z) for y in range(Y) for z in range(2)]
    changed(path, rows=rows)


DAMAGED = {
    "cut in two": (lambda path: cut(path, 0.8), "file-damaged"),
    "cut within the protocol": (lambda path: cut(path, 0.7), "file-damaged"),
    "cut within the directory": (lambda path: cut(path, 0.3), "file-damaged"),
    "cut in two, VB": (lambda path: cut(path, 0.94, vb=True), "file-damaged"),
    "cut, with a length that agrees": (cut_with_its_length, "file-damaged"),
    "all measurements empty": (empty_entries, "file-damaged"),
    "offset beyond the end": (lambda path: patched(path, ENTRY + 8, 2**40), "file-damaged"),
    "length beyond the end": (lambda path: patched(path, ENTRY + 16, 2**62), "file-damaged"),
    "offset and length overflow": (
        lambda path: patched(path, ENTRY + 16, 2**64 - 8),
        "file-damaged",
    ),
    "protocol longer than the file": (
        lambda path: patched(path, 10240, 2**31, "<I"),
        "file-damaged",
    ),
    "protocol without length": (lambda path: patched(path, 10240, 0, "<I"), "file-damaged"),
    "no readouts": (lambda path: write(path, measurement([])), "readouts-missing"),
    "no image": (
        lambda path: write(path, measurement(lines(mask=NOISE))),
        "readouts-missing",
    ),
    "spiral": (lambda path: changed(path, {"sKSpace.ucTrajectory": 4}), "trajectory-missing"),
    "radial": (lambda path: changed(path, {"sKSpace.ucTrajectory": "0x2"}), "trajectory-missing"),
    "PROPELLER": (lambda path: changed(path, {"sKSpace.ucTrajectory": 8}), "trajectory-missing"),
    "slices excited together": (
        lambda path: changed(path, {"sSliceAcceleration.lMultiBandFactor": 2}),
        "slices-simultaneous",
    ),
    "a matrix out of proportion": (
        lambda path: changed(path, {"sKSpace.lBaseResolution": "1e9"}),
        "header-damaged",
    ),
    "three-dimensional": (three_dimensional, "kspace-3d"),
    "readouts of different coils": (
        lambda path: write(path, measurement([*lines(), row(cnormal(3, X), Lin=2)])),
        "readouts-differ",
    ),
}


@needs_turbotwix
@pytest.mark.parametrize("case", DAMAGED)
def test_one_clear_error(tmp_path, case):
    make, code = DAMAGED[case]
    make(tmp_path / "a.dat")
    with refused(code):
        formats.read(tmp_path / "a.dat")


@needs_turbotwix
def test_invalid_numbers_in_the_protocol_are_left_out(tmp_path):
    strange = {
        "sSliceArray.asSlice[0].dPhaseFOV": "nan",
        "sSliceArray.asSlice[0].dReadoutFOV": "1e999",
        "sSliceArray.asSlice[999999999].dThickness": "1",
        "sKSpace.lBaseResolution": "-5",
        "sProtConsistencyInfo.flNominalB0": "0x",
        "sRXSPEC.alDwellTime[0]": "abc",
    }
    changed(tmp_path / "a.dat", strange, {"NImageLins": "x", "flReadoutOSFactor": "}"})
    scan = formats.read(tmp_path / "a.dat")
    np.testing.assert_array_equal(scan.series(0).kspace[0].numpy(), KSPACE)
    assert scan.geometry.voxel_mm is None
    assert scan.acquisition.field_strength is None


@needs_turbotwix
@pytest.mark.parametrize("vb", [False, True])
@pytest.mark.parametrize("seed", range(60))
def test_wrong_bytes_in_headers_give_an_error_or_a_scan(tmp_path, seed, vb):
    chance = random.Random(seed)
    content = bytearray(good(tmp_path / "a.dat", vb).read_bytes())
    first = 0 if vb else 10240
    for _ in range(chance.choice([1, 4, 40])):
        place = chance.choice([chance.randrange(first, len(content)), chance.randrange(400)])
        content[place] = chance.randrange(256)
    (tmp_path / "a.dat").write_bytes(content)
    with suppress(CmrreconError):  # any other exception fails the test
        formats.read(tmp_path / "a.dat").series(0)


@needs_turbotwix
def test_a_file_that_shrinks_after_opening_is_refused(tmp_path):
    scan = formats.read(good(tmp_path / "a.dat"))
    cut(tmp_path / "a.dat", 0.8)
    with refused("input-changed"):
        scan.series(0)


def test_without_the_package_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "turbotwix", None)
    path = good(tmp_path / "a.dat")
    assert formats.is_scan(path)
    with refused("package-missing") as caught:
        formats.read(path)
    assert "cmrrecon[twix]" in caught.value.remedy


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 20000, b"time,value\n1,2\n" * 999, random.Random(1).randbytes(30000)],
    ids=["empty", "zeros", "text", "random"],
)
def test_other_dat_files_in_a_folder_are_not_scans(tmp_path, content):
    path = tmp_path / "a.dat"
    path.write_bytes(content)
    assert not formats.is_scan(path)
    assert not formats.is_images(path)
    with refused("file-format" if content else "file-empty"):
        formats.read(path)
