"""A file that changes while it is read is refused, in every format that is read by slice."""

import os
import shutil

import pytest
import torch
from refusals import refused

from cmrrecon import formats


def overwritten(path, other):
    path.write_bytes(other.read_bytes())


def replaced(path, other):
    shutil.copy(other, path.with_name("copy"))
    os.replace(path.with_name("copy"), path)


def touched(path, other):
    os.utime(path, ns=(1, 1))


def cut(path, other):
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("suffix", [".h5", ".mat", ".npz", ".cfl"])
@pytest.mark.parametrize("change", [overwritten, replaced, touched, cut])
def test_slices_of_two_files_never_come_together(scan, tmp_path, suffix, change):
    path, other = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    formats.write_scan(path, scan)
    formats.write_scan(other, scan)
    read = formats.read(path)
    first = read.read_slice(0)
    change(path, other)
    with refused("input-changed"):
        read.read_slice(1)
    if change is not cut:
        assert torch.equal(formats.read(path).read_slice(0), first)


def test_a_mask_that_changes_and_a_file_that_vanishes_are_refused(scan, tmp_path):
    path, mask = tmp_path / "a.npy", tmp_path / "m.mat"
    formats.write_scan(path, scan)
    formats.write_mask(mask, scan.mask.samples, x=12)
    read = formats.read(path, mask=mask)
    read.read_slice(0)
    os.utime(mask, ns=(1, 1))
    with refused("input-changed"):
        read.read_slice(1)
    path.unlink()
    with refused("file-missing"):
        read.read_slice(0)
