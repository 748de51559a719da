"""Damaged files of every format raise an InputError, or read the same if the damage is harmless."""

import random

import h5py
import pytest
import scipy.io
import torch

from cmrrecon import formats
from cmrrecon.tools.errors import InputError

MUTANTS = 60


def content_of(path):
    scan = formats.read(path)
    return (
        scan.shape,
        None if scan.mask is None else scan.mask.samples,
        [scan.read_slice(index) for index in range(scan.shape[1])],
    )


def equal(first, second):
    masks = (
        first[1] is None
        if second[1] is None
        else first[1] is not None and torch.equal(first[1], second[1])
    )
    return (
        first[0] == second[0]
        and masks
        and all(torch.equal(a, b) for a, b in zip(first[2], second[2], strict=True))
    )


@pytest.fixture(params=["cine_sax.h5", "cine_sax.mat", "cine_sax.npz", "cine_sax.npy", "v5.mat"])
def original(request, tmp_path, scan, stamp):
    path = tmp_path / request.param
    if request.param == "v5.mat":
        kspace = torch.stack([scan.read_slice(0), scan.read_slice(1)], 1).numpy().transpose()
        scipy.io.savemat(path, {"kus": kspace, "other": [1, 2]}, do_compression=True)
    else:
        formats.write_scan(path, scan, stamp)
    return path


def read_damaged(path, content):
    """The content of a damaged file; None if the damage was noticed."""
    path.write_bytes(content)
    try:
        formats.read_provenance(path)
        return content_of(path)
    except InputError:
        return None


def test_files_cut_off_anywhere_are_refused(original):
    whole = original.read_bytes()
    for part in range(64):
        assert read_damaged(original, whole[: len(whole) * part // 64]) is None
    assert read_damaged(original, whole[:-1]) is None


def test_flipped_bits_and_overwritten_blocks_raise_nothing_but_an_input_error(original):
    whole, expected = original.read_bytes(), content_of(original)
    # Neither .npy nor the structure of a classic HDF5 file carries checksums: the numbers read from
    # them may be wrong.
    checked = original.suffix != ".npy" and original.name != "cine_sax.mat"
    for seed in range(MUTANTS):
        chance = random.Random(seed)
        content = bytearray(whole)
        start = chance.randrange(len(content))
        if seed % 2:
            content[start] ^= 1 << chance.randrange(8)
        else:
            block = content[start : start + chance.choice([1, 8, 64, 512])]
            content[start : start + len(block)] = chance.randbytes(len(block))
        found = read_damaged(original, bytes(content))
        if checked and found is not None:
            assert equal(found, expected), f"seed {seed}"


def test_flipped_bits_in_the_compressed_data_of_a_v73_file_are_noticed(tmp_path, scan):
    path = tmp_path / "cine_sax.mat"
    formats.write_scan(path, scan)
    whole, expected = path.read_bytes(), content_of(path)
    with h5py.File(path) as file:
        chunks = [
            file["kus"].id.get_chunk_info(index) for index in range(file["kus"].id.get_num_chunks())
        ]
        block = file.userblock_size if h5py.version.hdf5_version_tuple < (2, 0, 0) else 0
    for seed, chunk in enumerate(chunks):
        content = bytearray(whole)
        content[chunk.byte_offset + block + random.Random(seed).randrange(chunk.size)] ^= 16
        found = read_damaged(path, bytes(content))
        assert found is None or equal(found, expected)
