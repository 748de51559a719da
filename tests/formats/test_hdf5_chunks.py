"""Chunks inflated in parallel give the same bits as h5py; other data are left to h5py."""

import pickle
import random
import tracemalloc
import zlib

import h5py
import numpy as np
import pytest
import torch
from refusals import refused

from cmrrecon import formats
from cmrrecon.formats import arrays, hdf5_chunks
from cmrrecon.formats.arrays import AXES, SliceReader, StoredArray, single_precision
from cmrrecon.formats.hdf5_access import Hdf5Reader, variables
from cmrrecon.formats.hdf5_chunks import is_parallel, read_parallel
from cmrrecon.tools.errors import InputError

COMPOUND = [np.dtype([("real", f"<f{size}"), ("imag", f"<f{size}")]) for size in (4, 8)]
DTYPES = [
    *COMPOUND,
    *(
        np.dtype(name)
        for name in ("<c8", "<c16", ">c8", "<f4", "<f8", ">f8", "<f2", "<i2", ">i4", "u1", "<u8")
    ),
]
ALL = slice(None)


@pytest.fixture(autouse=True, params=["deflate", "zlib"])
def codec(request, monkeypatch):
    """With the extra `fast-io` and without it; chunks of any size, several threads."""
    if request.param == "zlib":
        monkeypatch.setattr(hdf5_chunks, "deflate", None)
    elif hdf5_chunks.deflate is None:
        pytest.skip("the extra fast-io is not installed")
    monkeypatch.setattr(hdf5_chunks, "MIN_CHUNK", 1)
    monkeypatch.setattr(hdf5_chunks, "available_cores", lambda: 3)


def noise(shape, dtype, seed=0):
    """Numbers of any bit pattern, including NaN, infinity and doubles beyond single precision."""
    raw = np.random.default_rng(seed).integers(0, 256, (*shape, dtype.itemsize), dtype=np.uint8)
    raw[..., 0] &= 3  # so that it can be compressed
    return raw.view(dtype).reshape(shape)


def written(path, values, **more):
    options = {"chunks": values.shape, "compression": "gzip"} | more
    with h5py.File(path, "w", userblock_size=512) as file:
        return file.create_dataset("kspace", data=values, **options).shape


def assert_same_bits(found, dataset, selection):
    with np.errstate(all="ignore"):
        expected = single_precision(dataset[selection])
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert found.tobytes() == expected.tobytes()


def some(chance, length):
    """An index of an axis, possibly from its end, or a slice that may extend beyond the axis."""
    start = chance.randrange(length)
    return chance.choice(
        [
            start,
            start - length,
            ALL,
            slice(start, None),
            slice(start, start + 1 + chance.randrange(length)),
        ]
    )


@pytest.mark.filterwarnings("ignore:invalid value")  # NaN of doubles, as in `single_precision`
def test_any_piece_of_any_array_has_the_same_bits(tmp_path):
    for seed in range(100):
        chance = random.Random(seed)
        shape = tuple(chance.randint(1, 7) for _ in range(chance.randint(1, 5)))
        chunks = tuple(chance.randint(1, length) for length in shape)
        values = noise(shape, DTYPES[seed % len(DTYPES)], seed)
        written(
            tmp_path / "a.mat",
            values,
            chunks=chunks,
            shuffle=chance.random() < 0.5,
            compression_opts=chance.randrange(10),
        )
        with h5py.File(tmp_path / "a.mat") as file:
            dataset = file["kspace"]
            assert is_parallel(dataset), seed
            for _ in range(4):
                selection = tuple(some(chance, length) for length in shape)
                assert_same_bits(read_parallel(dataset, selection), dataset, selection)


@pytest.mark.parametrize(
    "options",
    [
        {"fletcher32": True},
        {"compression": "lzf"},
        {"compression": None},
        {"compression": None, "shuffle": True},
        {"compression": None, "chunks": None},
    ],
)
def test_other_filters_are_left_to_h5py(tmp_path, options):
    values = noise((4, 5), np.dtype("<f4"))
    shape = written(tmp_path / "a.h5", values, **options)
    with h5py.File(tmp_path / "a.h5", locking=False) as file:
        assert not is_parallel(file["kspace"])
        assert_same_bits(
            Hdf5Reader(tmp_path / "a.h5", "kspace", shape)((ALL, 2)), file["kspace"], (ALL, 2)
        )


@pytest.mark.parametrize(
    "dtype",
    [
        np.dtype(bool),
        np.dtype([("imag", "<f4"), ("real", "<f4")]),
        np.dtype([("real", ">f4"), ("imag", ">f4")]),
        np.dtype([("real", "<f2"), ("imag", "<f2")]),
        np.dtype(
            {
                "names": ["real", "imag"],
                "formats": ["<f4", "<f4"],
                "offsets": [0, 8],
                "itemsize": 16,
            }
        ),
    ],
)
def test_other_numbers_are_left_to_h5py(tmp_path, dtype):
    values = np.zeros((4, 5), dtype)
    for name in dtype.names or ():
        values[name] = np.arange(20).reshape(4, 5)
    shape = written(tmp_path / "a.h5", values)
    with h5py.File(tmp_path / "a.h5", locking=False) as file:
        assert not is_parallel(file["kspace"])
        assert_same_bits(
            Hdf5Reader(tmp_path / "a.h5", "kspace", shape)((1, ALL)), file["kspace"], (1, ALL)
        )


def test_numbers_of_odd_width_are_left_to_h5py(tmp_path):
    kind = h5py.h5t.STD_I16LE.copy()
    kind.set_precision(10)
    kind.set_offset(3)
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((6,))
    plist.set_deflate(3)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        h5py.h5d.create(file.id, b"kspace", kind, h5py.h5s.create_simple((6,)), plist)
        file["kspace"][:] = np.arange(-3, 3)
        assert file["kspace"].dtype == np.int16
        assert not is_parallel(file["kspace"])
    assert Hdf5Reader(tmp_path / "a.h5", "kspace", (6,))((ALL,)).tolist() == [-3, -2, -1, 0, 1, 2]


def test_very_small_and_large_chunks_are_left_to_h5py(tmp_path, monkeypatch):
    written(tmp_path / "a.h5", noise((4, 5), np.dtype("<f4")))
    with h5py.File(tmp_path / "a.h5", locking=False) as file:
        for name, wrong in (("MIN_CHUNK", 81), ("MAX_CHUNK", 79)):
            assert is_parallel(file["kspace"])
            with monkeypatch.context() as patch:
                patch.setattr(hdf5_chunks, name, wrong)
                assert not is_parallel(file["kspace"])


@pytest.mark.parametrize(
    "selection", [(slice(0, 4, 2), ALL), (slice(2, 2), ALL), (slice(9, 12), 1)]
)
def test_empty_pieces_and_steps_are_left_to_h5py(tmp_path, selection):
    shape = written(tmp_path / "a.h5", noise((4, 5), COMPOUND[0]), chunks=(2, 2))
    with h5py.File(tmp_path / "a.h5", locking=False) as file:
        assert read_parallel(file["kspace"], selection) is None
        assert_same_bits(
            Hdf5Reader(tmp_path / "a.h5", "kspace", shape)(selection), file["kspace"], selection
        )


@pytest.mark.parametrize("fill", [None, 7.5])
def test_missing_chunks_hold_the_fill_value(tmp_path, fill):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset(
            "kspace", (6, 5), "f4", chunks=(2, 5), compression="gzip", fillvalue=fill
        )
        dataset[2:4] = noise((2, 5), np.dtype("<f4"))
        assert read_parallel(dataset, (slice(2, 4), ALL)) is not None
        assert read_parallel(dataset, (ALL, ALL)) is None
        expected = dataset[:]
    values = Hdf5Reader(tmp_path / "a.h5", "kspace", (6, 5))((ALL, ALL))
    assert (values[0] == (fill or 0)).all()
    assert values.tobytes() == expected.tobytes()


def replaced_chunk(path, stream, filter_mask=0):
    """A file of three chunks of 4000 float32, the second of them stored as `stream`."""
    values = noise((3, 4000), np.dtype("<f4"))
    written(path, values, chunks=(1, 4000))
    with h5py.File(path, "r+") as file:
        file["kspace"].id.write_direct_chunk((1, 0), stream, filter_mask)
    return values, Hdf5Reader(path, "kspace", values.shape)


def test_a_chunk_stored_without_its_filters_is_left_to_h5py(tmp_path):
    values, reader = replaced_chunk(tmp_path / "a.h5", bytes(range(250)) * 64, filter_mask=1)
    with h5py.File(tmp_path / "a.h5", locking=False) as file:
        assert is_parallel(file["kspace"])
        assert read_parallel(file["kspace"], (ALL, ALL)) is None
    assert reader((1, ALL)).tobytes() == bytes(range(250)) * 64
    assert reader((2, ALL)).tobytes() == values[2].tobytes()


def test_bytes_after_the_end_of_a_stream_are_ignored(tmp_path):
    for length in (10, 20_000):  # the latter exceeds the largest size of a packed chunk
        _, reader = replaced_chunk(
            tmp_path / "a.h5", zlib.compress(bytes(range(250)) * 64) + b"\xaa" * length
        )
        assert reader((1, ALL)).tobytes() == bytes(range(250)) * 64


def flipped(stream):
    return bytes([*stream[:100], stream[100] ^ 16, *stream[101:]])


STREAM = zlib.compress(np.random.default_rng(1).integers(0, 100, 16000, dtype=np.uint8).tobytes())


@pytest.mark.parametrize(
    "stream",
    [
        b"\x78",
        b"\xaa" * 500,
        STREAM[:-1],
        STREAM[:-4],
        STREAM[:200],
        STREAM[:-4] + bytes(4),
        flipped(STREAM),
        zlib.compress(bytes(15_999)),
        zlib.compress(bytes(16_001)),
        zlib.compress(bytes(10**7)),
    ],
)
def test_damaged_chunks_are_refused_and_the_others_read(tmp_path, stream):
    values, reader = replaced_chunk(tmp_path / "a.h5", stream)
    for selection in ((ALL, ALL), (1, slice(0, 3))):
        with refused("file-damaged"):
            reader(selection)
    assert reader((slice(2, 3), ALL)).tobytes() == values[2].tobytes()


def test_a_stream_that_inflates_too_far_needs_no_memory(tmp_path):
    _, reader = replaced_chunk(tmp_path / "a.h5", zlib.compress(bytes(10**7)))
    tracemalloc.start()
    with refused("file-damaged"):
        reader((1, ALL))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10**6


def test_memory_holds_the_piece_and_one_chunk_per_thread(tmp_path):
    shape = written(tmp_path / "a.h5", np.zeros((100, 1000, 20), COMPOUND[1]), chunks=(1, 1000, 20))
    reader = Hdf5Reader(tmp_path / "a.h5", "kspace", shape)
    tracemalloc.start()
    piece = reader((ALL, ALL, ALL))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < piece.nbytes + 3 * 3 * 320_000 + 10**6


def test_damage_raises_nothing_but_an_input_error(tmp_path):
    path = tmp_path / "cine_sax.mat"
    values = noise((2, 2, 3, 6, 8), COMPOUND[0])
    written(path, values, chunks=(1, 2, 1, 6, 8))
    whole = path.read_bytes()
    for seed in range(150):
        chance = random.Random(seed)
        content = bytearray(whole)
        start = chance.randrange(len(content))
        block = chance.randbytes(min(chance.choice([1, 8, 64]), len(content) - start))
        content[start : start + len(block)] = block
        path.write_bytes(content)
        try:
            scan = formats.read(path)
            slices = [scan.read_slice(index) for index in range(scan.shape[1])]
        except InputError:
            continue
        # The structure carries no checksums: the numbers read may be wrong.
        assert all(each.shape == (scan.shape[0], *scan.shape[2:]) for each in slices)


CHUNKS = [(1, 1, 1, 6, 8), (1, 1, 2, 6, 8), (2, 2, 2, 3, 4), (4, 5, 3, 2, 1), (3, 3, 3, 5, 5)]


@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [3, 2, 0], [2, 1]])
def test_slices_are_the_same_in_any_order_of_reading(tmp_path, chunks, order):
    values = noise((4, 5, 3, 6, 8), COMPOUND[0])
    written(tmp_path / "cine_sax.mat", values, chunks=chunks)
    read_slice = formats.read(tmp_path / "cine_sax.mat").read_slice
    for index in order:
        found = read_slice(index)
        assert found.shape == (4, 3, 6, 8)
        assert found[0].is_contiguous()
        assert found.contiguous().numpy().tobytes() == values[:, index].tobytes()


@pytest.mark.parametrize(
    "names", ["x,y,coil,slice,frame", "coil,x,frame,y,slice", "slice,y,x", "y,x"]
)
def test_slices_have_our_order_for_any_stored_order(tmp_path, names):
    names = names.split(",")
    length = {"frame": 4, "slice": 3, "coil": 2, "y": 6, "x": 5}
    values = noise(tuple(length[name] for name in names), COMPOUND[0])
    written(tmp_path / "a.h5", values)
    stored = variables(tmp_path / "a.h5")["kspace"]
    assert stored.lean
    reader = SliceReader(stored, tuple(names))
    present = [axis for axis in AXES if axis in names]
    expected = values.transpose([names.index(axis) for axis in present]).reshape(reader.shape)
    for index in range(reader.shape[1]):
        found = reader(index)
        assert found[0].is_contiguous()
        assert found.contiguous().numpy().tobytes() == expected[:, index].tobytes()


def counting_reader(chunks):
    values = torch.arange(4.0 * 5 * 2 * 3 * 3).to(torch.complex64).reshape(4, 5, 2, 3, 3).numpy()
    seen = []

    def read(selection):
        seen.append(selection[1])
        return values[selection]

    return SliceReader(
        StoredArray("kspace", values.shape, True, read, chunks, lean=True), AXES
    ), seen


@pytest.mark.parametrize(("together", "reads"), [(1, 5), (2, 3), (3, 3), (5, 3)])
def test_slices_compressed_together_are_read_two_at_a_time(together, reads):
    reader, seen = counting_reader((1, together, 2, 3, 3))
    for index in range(5):
        reader(index)
    assert len(seen) == reads
    assert max(block.stop - block.start for block in seen) <= min(together, 2)
    assert not reader._next
    for index in (0, 3):
        reader(index)
    assert len(reader._next) == (together in (3, 5))  # never two


def test_slices_that_are_too_large_together_are_read_one_by_one(monkeypatch):
    reader, seen = counting_reader((4, 5, 2, 3, 3))
    monkeypatch.setattr(arrays, "MAX_BYTES", 2 * 4 * 2 * 3 * 3 * 8 - 1)
    for index in range(5):
        reader(index)
    assert [block.stop - block.start for block in seen] == [1] * 5


def test_slices_may_be_changed_reread_and_sent_to_worker_processes(tmp_path):
    values = noise((4, 5, 3, 6, 8), COMPOUND[0])
    written(tmp_path / "cine_sax.mat", values)
    read_slice = formats.read(tmp_path / "cine_sax.mat").read_slice
    read_slice(0).zero_()
    for reader in (pickle.loads(pickle.dumps(read_slice)), read_slice):
        for index in (1, 0, 1):
            assert reader(index).contiguous().numpy().tobytes() == values[:, index].tobytes()
