"""ISMRMRD files that are damaged, hostile or not supported: each raises an InputError."""

import random

import h5py
import numpy as np
import pytest
from ismrmrd_files import (
    ACQUISITION,
    CALIBRATION,
    COILS,
    KSPACE,
    NOISE,
    X,
    cartesian,
    cnormal,
    header,
    readout,
    spokes,
    write,
)
from refusals import refused

from cmrrecon import formats
from cmrrecon.formats.hdf5_heap import REFERENCE, Heap
from cmrrecon.tools.errors import InputError


def entities(path):
    bomb = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]>' + header().split("?>")[
        1
    ].replace("cartesian", "&c;")
    write(path, cartesian(), bomb)


def external(path):
    write(path, cartesian(), '<!DOCTYPE a SYSTEM "file:///etc/passwd">' + header().split("?>")[1])


def broken_header(path):
    write(path, cartesian(), header()[:200])


def huge_header(path):
    write(path, cartesian(), header() + " " * 2**22)


def no_matrix(path):
    write(path, cartesian(), header().replace("matrixSize", "size"))


def infinite_matrix(path):
    write(path, cartesian(), header().replace("<x>12</x>", "<x>1e999</x>"))


def negative_matrix(path):
    write(path, cartesian(), header().replace("<y>8</y>", "<y>-8</y>"))


def too_many_lines(path):
    write(path, [*cartesian(), readout(KSPACE[0, 0, :, 0], kspace_encode_step_1=60000)])


def too_many_samples(path):
    write(path, [readout(cnormal(2, 40), kspace_encode_step_1=y) for y in range(8)])


def centre_outside(path):
    write(path, [readout(cnormal(2, 9), kspace_encode_step_1=y, centre=60) for y in range(8)])


def discards_everything(path):
    write(path, cartesian(before=10, after=10))


def coils_differ(path):
    write(path, [*cartesian(), readout(cnormal(2, X))])


def frame_missing_in_a_slice(path):
    write(
        path,
        [
            row
            for row in cartesian()
            if (row["head"]["idx"]["phase"], row["head"]["idx"]["slice"]) != (2, 1)
        ],
    )


def far_frame_and_slice(path):
    write(path, [*cartesian(), readout(KSPACE[0, 0, :, 0], slice=65535, phase=65535)])


def three_dimensional(path):
    write(path, [*cartesian(), readout(KSPACE[0, 0, :, 0], kspace_encode_step_2=1)])


def data_too_short(path):
    rows = cartesian()
    for row in rows:
        row["data"] = row["data"][:-2]
    write(path, rows)


def some_without_trajectory(path):
    write(path, cartesian() + spokes()[0], header(trajectory="radial"))


def one_axis(path):
    write(
        path,
        [readout(cnormal(2, 16), np.linspace(-0.5, 0.5, 16)[:, None]) for _ in range(4)],
        header(trajectory="radial"),
    )


def no_rows(path):
    write(path, [])


def other_columns(path):
    with h5py.File(path, "w") as file:
        file["dataset/xml"] = header()
        file["dataset/data"] = np.zeros(3, [("head", "f4"), ("traj", "f4"), ("data", "f4")])


def groups_in_place_of_tables(path):
    with h5py.File(path, "w") as file:
        file.create_group("dataset/data")
        file.create_group("dataset/xml")
        file["text"] = "words"
        file.create_group("links")["data"] = h5py.SoftLink("/nowhere")


def packed_rows(path):
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "dataset/xml", data=np.array([header()], object), dtype=h5py.string_dtype()
        )
        table = file.create_dataset(
            "dataset/data", (1,), ACQUISITION, chunks=(1,), compression="gzip"
        )
        table[0] = cartesian()[0]


def rows_never_written(path):
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "dataset/xml", data=np.array([header()], object), dtype=h5py.string_dtype()
        )
        file.create_dataset("dataset/data", (2**40,), ACQUISITION, chunks=(1,))


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (entities, "header-damaged"),
        (external, "header-damaged"),
        (broken_header, "header-damaged"),
        (huge_header, "header-damaged"),
        (no_matrix, "header-damaged"),
        (infinite_matrix, "header-damaged"),
        (negative_matrix, "header-damaged"),
        (too_many_lines, "shape-mismatch"),
        (too_many_samples, "shape-mismatch"),
        (centre_outside, "shape-mismatch"),
        (discards_everything, "readouts-empty"),
        (coils_differ, "readouts-differ"),
        (frame_missing_in_a_slice, "frame-missing"),
        (far_frame_and_slice, "frame-missing"),
        (three_dimensional, "kspace-3d"),
        (data_too_short, "file-damaged"),
        (some_without_trajectory, "readouts-differ"),
        (one_axis, "readouts-empty"),
        (no_rows, "readouts-missing"),
        (other_columns, "file-damaged"),
        (groups_in_place_of_tables, "variable-missing"),
        (packed_rows, "file-damaged"),
        (rows_never_written, "file-damaged"),
    ],
)
def test_unusable_files_raise_an_input_error(tmp_path, make, code):
    path = tmp_path / "raw.h5"
    make(path)
    with refused(code):
        formats.read(path).series(0)


def references(path):
    """Where the references to the samples of each row lie in a file, and the file."""
    content = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        table = file["dataset/data"]
        rows = [table.id.get_chunk_info(index) for index in range(table.id.get_num_chunks())]
        offset = table.id.get_type().get_member_offset(2)
    return content, [row.byte_offset + offset for row in rows]


@pytest.mark.parametrize(
    "change",
    [
        {"length": 2**32 - 1},
        {"length": 2**31},
        {"address": 2**63},
        {"address": 8},
        {"index": 77},
        {"length": 1},
    ],
)
def test_references_to_impossible_places_and_sizes_are_refused(tmp_path, change):
    path = write(tmp_path / "raw.h5", cartesian())
    content, places = references(path)
    reference = np.frombuffer(content, REFERENCE, 1, places[4])[0].copy()
    for name, value in change.items():
        reference[name] = value
    content[places[4] : places[4] + REFERENCE.itemsize] = reference.tobytes()
    path.write_bytes(content)
    with refused("file-damaged"):
        formats.read(path).series(0)


def test_a_heap_that_points_at_itself_is_searched_once(tmp_path):
    """Objects of size 0 and nested collections keep HDF5's own code busy for ever or very long."""
    path = tmp_path / "heap"
    path.write_bytes(
        b"".join(b"GCOL\1\0\0\0" + (16000 - 16 * i).to_bytes(8, "little") for i in range(1000))
    )
    reference = np.zeros(1, REFERENCE)[0]
    reference["length"] = 4
    with open(path, "rb") as handle:
        heap = Heap(handle, 0)
        for address in range(0, 16000, 16):
            reference["address"] = address
            with pytest.raises(ValueError, match=r"not where it should be|is damaged"):
                heap.read(reference, 4)
        assert heap._searched > 16000
        assert sum(map(len, heap._found.values())) <= 1000


def calibrated():
    """Readouts of every kind: noise, separate references, averages."""
    noise = [readout(cnormal(COILS, 30, seed=seed), flags=NOISE) for seed in range(3)]
    references = cartesian([2, 3, 4, 5], flags=CALIBRATION)
    return [*noise, *references, *cartesian(), *cartesian([3], average=1)]


@pytest.mark.parametrize(
    ("rows", "xml"),
    [
        (cartesian, header()),
        (lambda: spokes()[0], header(y=8, x=16, trajectory="radial")),
        (calibrated, header(calibration="separate")),
    ],
)
def test_damaged_files_raise_an_input_error_or_are_read(tmp_path, rows, xml):
    path = tmp_path / "raw.h5"
    write(path, rows(), xml)
    whole = path.read_bytes()
    heaps = [start for start in range(len(whole)) if whole.startswith(b"GCOL", start)]
    for seed in range(80):
        chance = random.Random(seed)
        content = bytearray(whole)
        start = (
            chance.choice(heaps) + chance.randrange(200)
            if seed % 2
            else chance.randrange(len(content))
        )
        block = content[start : start + chance.choice([1, 2, 8, 64])]
        content[start : start + len(block)] = chance.choice(
            [chance.randbytes(len(block)), bytes(len(block)), b"\xff" * len(block)]
        )
        path.write_bytes(content)
        try:
            scan = formats.read(path)
            for index in range(scan.shape[1]):
                scan.series(index)
        except InputError:
            continue
        assert scan.shape[2] == COILS


def test_files_cut_off_anywhere_are_refused(tmp_path):
    path = write(tmp_path / "raw.h5", cartesian())
    whole = path.read_bytes()
    for part in range(40):
        path.write_bytes(whole[: len(whole) * part // 40])
        with pytest.raises(InputError):
            formats.read(path)
