"""Disks that are full or read-only leave old or new outputs, and errors with their code.

A small file system is mounted where that is allowed; elsewhere these tests are skipped, and
`test_atomic.py` injects the errors.
"""

import os
import shutil
import subprocess

import pytest


@pytest.fixture
def disk(tmp_path):
    """A file system of 4 MB, and a function that fills all but some bytes of it."""
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", place]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    try:

        def fill(free):
            left = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
            (place / "filler").write_bytes(bytes(max(0, left - free)))

        yield place, fill
    finally:
        subprocess.run(["umount", "-l", place], check=True)


COMMANDS = {
    "reconstruct": ("-m", "zero-filled", "-o", "out.h5"),
    "undersample": ("-R", 4, "-o", "out.mat"),
    "preprocess": ("--out-dir", "store"),
}


@pytest.mark.parametrize("free", [0, 20_000, 100_000])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_leaves_nothing_and_works_again_with_room(run, full, disk, command, free):
    place, fill = disk
    words = [
        place / w if str(w) in ("out.h5", "out.mat", "store") else w for w in COMMANDS[command]
    ]
    fill(free)
    failed = run(command, full, *words)
    assert (failed.code, set(failed.codes)) == (1, {"output-unwritable"})
    left = [path for path in place.rglob("*") if path.is_file() and path.name != "filler"]
    assert all(".parts" in str(path) for path in left)
    (place / "filler").unlink()
    assert run(command, full, *words).code == 0
    assert not list(place.rglob("*tmp-*"))


def test_a_full_disk_loses_neither_truth_nor_exit_code(run, disk):
    place, fill = disk
    words = ("simulate", "--frames", 3, "--slices", 1, "--coils", 4, "--size", "32x48")
    words = (*words, "--out-dir", place)
    fill(60_000)
    failed = run(*words)
    assert (failed.code, failed.codes) == (1, ["output-unwritable"])
    (place / "filler").unlink()
    assert run(*words).code == 0
    assert len(list(place.rglob("*_truth.npz"))) == 1


def test_a_read_only_disk_keeps_the_old_output(run, full, disk):
    place, _ = disk
    words = ("undersample", full, "-o", place / "a.h5", "--overwrite", "-R")
    assert run(*words, 4).code == 0
    before = (place / "a.h5").read_bytes()
    subprocess.run(["mount", "-o", "remount,ro", place], check=True)
    failed = run(*words, 2)
    assert (failed.code, failed.codes) == (1, ["output-unwritable"])
    assert (place / "a.h5").read_bytes() == before


def test_a_full_folder_for_temporary_files(run, full, disk, monkeypatch, tmp_path):
    place, fill = disk
    monkeypatch.setattr("tempfile.tempdir", str(place))
    data = full.read_bytes()
    fill(8_000)
    done = run("reconstruct", "-", "-m", "zero-filled", "-o", tmp_path / "a.h5", stdin=data)
    assert (done.code, done.codes) == (1, ["output-unwritable"])
    assert sorted(os.listdir(place)) == ["filler"]
