import errno
import os
import pickle
import subprocess
import sys
from io import FileIO

import h5py
import numpy as np
import pytest
import torch
from refusals import refused

from cmrrecon import formats
from cmrrecon.data import Scan
from cmrrecon.formats import hdf5_access, hdf5_output


def chunk_of(path, variable, position):
    """Offset and length in the file of the chunk that holds `position`."""
    with h5py.File(path) as file:
        info = file[variable].id.get_chunk_info_by_coord(position)
        # HDF5 2 counts from the start of the file, earlier versions from the end of the user block.
        block = file.userblock_size if h5py.version.hdf5_version_tuple < (2, 0, 0) else 0
        return info.byte_offset + block, info.size


def test_a_scan_round_trips(tmp_path, scan, images, stamp):
    formats.write_scan(tmp_path / "a.h5", scan, stamp, images=images)
    back = formats.read(tmp_path / "a.h5")
    assert back.shape == scan.shape
    assert back.acquisition == scan.acquisition
    assert back.notes == ()
    assert torch.equal(back.mask.samples, scan.mask.samples)
    assert all(torch.equal(back.series(i).kspace, scan.read_slice(i)) for i in range(2))
    assert torch.equal(formats.read_images(tmp_path / "a.h5"), images.transpose(0, 1))
    assert formats.read_provenance(tmp_path / "a.h5") == stamp
    assert formats.kind(tmp_path / "a.h5") == "scan"


def test_a_scan_without_mask_says_that_non_zero_samples_count(tmp_path, scan):
    formats.write_scan(tmp_path / "a.h5", Scan(scan.shape, scan.read_slice, None, scan.acquisition))
    back = formats.read(tmp_path / "a.h5")
    assert back.mask is None
    assert any("non-zero in any coil" in note for note in back.notes)
    assert torch.equal(back.series(0).mask.samples, scan.mask.samples)
    assert formats.read_provenance(tmp_path / "a.h5") is None


@pytest.mark.parametrize("part", ["complex", "real"])
def test_images_round_trip_and_are_written_one_by_one(tmp_path, images, stamp, part):
    given = images if part == "complex" else images.abs()
    written = []

    class Lazy:
        def __len__(self):
            return len(given)

        def __getitem__(self, index):
            written.append(index)
            return given[index]

    formats.write_images(tmp_path / "a.h5", Lazy(), stamp)
    assert written == [0, 1]
    back = formats.read_images(tmp_path / "a.h5")
    assert back.dtype == given.dtype
    assert torch.equal(back, given.transpose(0, 1))


@pytest.mark.parametrize("name", ["a.h5", "a.mat"])
def test_a_slice_is_read_without_touching_the_others(tmp_path, scan, name):
    path = tmp_path / name
    formats.write_scan(path, scan, variable="kspace")
    for frame in range(3):
        for coil in range(4):
            offset, size = chunk_of(path, "kspace", (frame, 1, coil, 0, 0))
            content = bytearray(path.read_bytes())
            content[offset : offset + size] = b"\xaa" * size
            path.write_bytes(content)
    back = formats.read(path)
    assert torch.equal(back.read_slice(0), scan.read_slice(0))
    with refused("file-damaged"):
        back.read_slice(1)


def test_opening_reads_no_kspace(tmp_path, scan, monkeypatch):
    formats.write_scan(tmp_path / "a.h5", scan)
    monkeypatch.setattr(
        hdf5_access.Hdf5Reader,
        "__call__",
        lambda self, selection: (
            pytest.fail("read") if self.name == "kspace" else np.ones(self.shape)
        ),
    )
    assert formats.read(tmp_path / "a.h5").shape == scan.shape


def test_readers_can_be_sent_to_worker_processes(tmp_path, scan):
    formats.write_scan(tmp_path / "a.h5", scan)
    read_slice = pickle.loads(pickle.dumps(formats.read(tmp_path / "a.h5").read_slice))
    assert torch.equal(read_slice(1), scan.read_slice(1))


def test_links_external_storage_virtual_data_and_foreign_filters_are_refused(tmp_path):
    secret = tmp_path / "secret.h5"
    values = np.ones((1, 1, 2, 4, 4), np.complex64)
    with h5py.File(secret, "w") as file:
        file["kspace"] = values

    def external_link(file):
        file["kspace"] = h5py.ExternalLink(str(secret), "/kspace")

    def soft_link(file):
        file["kspace"] = h5py.SoftLink("/elsewhere")

    def external_storage(file):
        (tmp_path / "raw").write_bytes(bytes(values.nbytes))
        file.create_dataset(
            "kspace", values.shape, "c8", external=[(str(tmp_path / "raw"), 0, values.nbytes)]
        )

    def virtual(file):
        layout = h5py.VirtualLayout(values.shape, "c8")
        layout[:] = h5py.VirtualSource(str(secret), "kspace", values.shape)
        file.create_virtual_dataset("kspace", layout)

    def foreign_filter(file):
        dcpl = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        dcpl.set_chunk(values.shape)
        dcpl.set_filter(h5py.h5z.FILTER_NBIT, 0, ())
        h5py.h5d.create(
            file.id,
            b"kspace",
            h5py.h5t.py_create(np.dtype("c8")),
            h5py.h5s.create_simple(values.shape),
            dcpl,
        )

    for hostile in (external_link, soft_link, external_storage, virtual, foreign_filter):
        path = tmp_path / f"{hostile.__name__}.h5"
        with h5py.File(path, "w") as file:
            hostile(file)
        with refused("storage-foreign"):
            formats.read(path)


def test_a_small_file_that_declares_a_huge_slice_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("kspace", (1, 1, 10, 50000, 50000), "c8", chunks=(1, 1, 1, 100, 100))
        file.create_dataset("image", (1, 1, 60000, 60000), "f4", chunks=(1, 1, 100, 100))
    with refused("array-too-large"):
        formats.read(tmp_path / "a.h5")
    with refused("array-too-large"):
        formats.read_images(tmp_path / "a.h5")


def test_references_text_and_groups_are_not_kspace(tmp_path):
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file.create_group("#refs#")
        file.create_group("kspace")
        file["text"] = "words"
        file["cell"] = np.array([file.ref], dtype=h5py.ref_dtype)
        file["record"] = np.zeros(3, [("a", "f4"), ("b", "f4")])
    with refused("variable-missing"):
        formats.read(tmp_path / "a.mat")


def test_a_later_layout_asks_for_an_update(tmp_path, scan):
    formats.write_scan(tmp_path / "a.h5", scan)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file.attrs["cmrrecon_format"] = 2
    with refused("file-version"):
        formats.read(tmp_path / "a.h5")


def test_only_h5_keeps_reference_images(tmp_path, scan, images):
    with refused("output-format"):
        formats.write_scan(tmp_path / "a.mat", scan, images=images)


def test_an_error_while_slices_are_computed_is_raised_unchanged(tmp_path, scan):
    def fail(index):
        raise RuntimeError("the method failed")

    for name in ("a.h5", "a.mat", "a.npz", "a.npy"):
        with pytest.raises(RuntimeError, match="the method failed"):
            formats.write_scan(tmp_path / name, Scan(scan.shape, fail))
    assert os.listdir(tmp_path) == []


class FillingDisk(FileIO):
    """A disk with room for a given number of bytes."""

    room = 0

    def write(self, data):
        if self.tell() + len(data) > FillingDisk.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


@pytest.mark.parametrize("name", ["a.h5", "a.mat"])
def test_a_full_disk_is_noticed_at_the_next_slice(tmp_path, scan, monkeypatch, name):
    monkeypatch.setattr(hdf5_output, "FileIO", FillingDisk)
    FillingDisk.room = 30_000
    asked = []
    many = Scan((3, 50, 4, 10, 12), lambda index: (asked.append(index), scan.read_slice(0))[1])
    with refused("output-unwritable"):
        formats.write_scan(tmp_path / name, many)
    assert 0 < len(asked) < 10
    assert os.listdir(tmp_path) == []


def test_a_disk_that_fills_up_while_the_file_is_closed_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5_output, "FileIO", FillingDisk)
    FillingDisk.room = 10**6

    def fill():
        with hdf5_output.created(tmp_path / "a.h5") as output:
            output.file.attrs["late"] = 1
            FillingDisk.room = 0

    with pytest.raises(OSError, match="No space left"):
        fill()


def test_every_structure_of_h5_has_a_checksum(tmp_path, scan):
    formats.write_scan(tmp_path / "a.h5", scan)
    content = (tmp_path / "a.h5").read_bytes()
    assert content[8] == 3  # superblock version; from 2 on all structures carry checksums
    assert b"OHDR" in content


FULL_DISK = """
import os, resource, signal, sys, torch
from cmrrecon import formats
from cmrrecon.tools.errors import OutputError
from cmrrecon.data import Scan
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
os.chdir(sys.argv[1])
scan = Scan.from_kspace(torch.randn(3, 3, 4, 48, 48, dtype=torch.complex64))
images = torch.randn(4, 3, 64, 64, dtype=torch.complex64)
for limit in (0, 100, 600, 2000, 10000, 40000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for suffix in ("h5", "mat", "npz", "npy"):
        for write, what in ((formats.write_scan, scan), (formats.write_images, images)):
            try:
                write("a." + suffix, what, {"seed": 1})
            except OutputError:
                continue
            sys.exit(f"{write.__name__} {suffix} {limit} went through")
    if os.listdir("."):
        sys.exit(f"{os.listdir('.')} left")
"""


def test_a_disk_that_fills_up_gives_an_output_error_and_leaves_nothing(tmp_path):
    # The limit on file sizes makes writes fail like a full disk. HDF5 by itself crashes the process
    # after such a failure.
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["a.h5", "a.mat", "a.npz", "a.npy", "a.png", "a.gif"])
def test_a_disk_that_is_full_at_the_end_leaves_the_old_file(tmp_path, images, monkeypatch, name):
    formats.write_images(tmp_path / name, images)
    old = (tmp_path / name).read_bytes()

    def refuse(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with refused("output-unwritable"):
        formats.write_images(tmp_path / name, images * 2)
    assert (tmp_path / name).read_bytes() == old
    assert os.listdir(tmp_path) == [name]
