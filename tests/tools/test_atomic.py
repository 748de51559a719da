import errno
import os
import signal
import subprocess
import sys

import pytest
from refusals import refused

from cmrrecon.tools import atomic as module
from cmrrecon.tools.atomic import atomic, atomic_folder, never_replaced
from cmrrecon.tools.errors import OutputError
from cmrrecon.tools.strays import remove_strays


def test_the_complete_file_replaces_the_target_and_folders_are_created(tmp_path):
    target = tmp_path / "new" / "folder" / "a.txt"
    with atomic(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.name.startswith(f".a.txt.tmp-{os.getpid()}-")
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert os.listdir(target.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_no_temporary_file(tmp_path, error):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail():
        with atomic(target) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (errno.ENOSPC, "full"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "permission"),
        (errno.EROFS, "read-only"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_system_errors_become_output_errors(tmp_path, monkeypatch, number, word, call):
    def refuse(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module.os, call, refuse)
    with refused("output-unwritable") as error, atomic(tmp_path / "a.txt") as temporary:
        temporary.write_text("x")
    assert word in error.value.found
    assert os.listdir(tmp_path) == []


def test_the_error_number_in_the_text_of_an_hdf5_error_is_found(tmp_path):
    with refused("output-unwritable") as error, atomic(tmp_path / "a.h5"):
        raise OSError(
            "Can't write data (file write failed: time = now, errno = 28, error message = 'x')"
        )
    assert "full" in error.value.found


def test_folders_in_place_of_files_and_files_in_place_of_folders_are_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    with refused("output-unwritable"), atomic(tmp_path / "folder") as temporary:
        temporary.write_text("x")

    (tmp_path / "file").write_text("x")
    with refused("output-unwritable"), atomic(tmp_path / "file" / "a.txt") as temporary:
        temporary.write_text("x")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_name_that_is_too_long_is_refused(tmp_path):
    with refused("output-unwritable"), atomic(tmp_path / ("a" * 300)) as temporary:
        temporary.write_text("x")


def test_a_folder_that_cannot_be_synchronised_is_no_error(tmp_path, monkeypatch):
    real = os.fsync
    calls = []

    def once(descriptor):
        calls.append(descriptor)
        if len(calls) > 1:
            raise OSError(errno.EINVAL, "no")
        real(descriptor)

    monkeypatch.setattr(module.os, "fsync", once)
    with atomic(tmp_path / "a.txt") as temporary:
        temporary.write_text("x")
    assert len(calls) == 2
    assert (tmp_path / "a.txt").read_text() == "x"


def anything(older):
    """Let everything be replaced."""


def test_a_folder_appears_whole_and_replaces_files_and_folders(tmp_path):
    target = tmp_path / "new" / "a.dcm"
    for content in ("first", "second"):
        with atomic_folder(target, anything) as temporary:
            (temporary / content).write_text(content)
            assert not (target / content).exists()
        assert os.listdir(target) == [content]
        assert os.listdir(target.parent) == ["a.dcm"]

    with atomic(target, may_replace=anything) as temporary:
        temporary.write_text("file")
    assert target.read_text() == "file"
    with atomic_folder(target, anything):
        pass
    assert target.is_dir()
    assert os.listdir(target.parent) == ["a.dcm"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_folder(error, tmp_path):
    target = tmp_path / "a.dcm"
    target.mkdir()
    (target / "old").write_text("old")

    def write():
        with atomic_folder(target, anything) as temporary:
            (temporary / "new").write_text("new")
            raise error

    with pytest.raises(error):
        write()
    assert os.listdir(target) == ["old"]
    assert os.listdir(tmp_path) == ["a.dcm"]


def test_two_processes_may_write_the_same_folder(tmp_path):
    target = tmp_path / "a.dcm"
    with atomic_folder(target, anything) as mine:
        (mine / "mine").write_text("mine")
        with atomic_folder(target, anything) as other:
            (other / "other").write_text("other")
    assert os.listdir(target) == ["mine"]
    assert os.listdir(tmp_path) == ["a.dcm"]


@pytest.mark.parametrize("lost", [False, True])
def test_a_folder_that_cannot_be_renamed_leaves_the_old_one(lost, tmp_path, monkeypatch):
    """Once another process puts its folder there in between, once the system refuses."""
    target = tmp_path / "a.dcm"
    target.mkdir()
    (target / "old").write_text("old")
    rename, calls = os.rename, []

    def failing(source, goal):
        calls.append(goal)
        if len(calls) == 2 and lost:
            target.mkdir()
            (target / "other").write_text("other")
        if len(calls) == 2 and not lost:
            raise OSError(errno.EIO, "no")
        rename(source, goal)

    monkeypatch.setattr(module.os, "rename", failing)
    if lost:
        with atomic_folder(target, anything) as temporary:
            (temporary / "new").write_text("new")
        assert os.listdir(target) == ["new"]
    else:
        with refused("output-unwritable"), atomic_folder(target, anything):
            pass
        assert os.listdir(target) == ["old"]
    assert os.listdir(tmp_path) == ["a.dcm"]


@pytest.mark.parametrize("folder", [False, True])
def test_a_protected_output_does_not_replace_a_folder_that_appears_meanwhile(folder, tmp_path):
    target = tmp_path / "a.dcm"
    writer = atomic_folder(target, anything) if folder else atomic(target, may_replace=anything)

    def write():
        with never_replaced([target]), writer as temporary:
            (temporary / "new" if folder else temporary).write_text("new")
            target.mkdir()
            (target / "other").write_text("other")

    with refused("output-exists"):
        write()
    assert os.listdir(target) == ["other"]
    assert os.listdir(tmp_path) == ["a.dcm"]


def test_a_protected_folder_does_not_replace_a_file_that_appears_meanwhile(tmp_path):
    target = tmp_path / "a.dcm"

    def write():
        with never_replaced([target]), atomic_folder(target, anything):
            target.write_text("other")

    with refused("output-exists"):
        write()
    assert target.read_text() == "other"
    with never_replaced([tmp_path / "b"]), atomic_folder(tmp_path / "b", anything):
        pass
    assert sorted(os.listdir(tmp_path)) == ["a.dcm", "b"]


def test_what_may_not_be_replaced_keeps_its_place(tmp_path):
    """It is checked once nobody can add files to it under its name."""
    target = tmp_path / "a.dcm"
    target.mkdir()

    def check(older):
        assert not target.exists()
        if (older / "foreign").exists():
            raise OutputError("output-foreign", "a", "b", "c")

    def write():
        with atomic_folder(target, check):
            (target / "foreign").write_text("x")

    with refused("output-foreign"):
        write()
    assert os.listdir(target) == ["foreign"]
    assert os.listdir(tmp_path) == ["a.dcm"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(errno.EIO, "no")])
def test_an_interrupted_swap_puts_the_old_folder_back(error, tmp_path, monkeypatch):
    target = tmp_path / "a.dcm"
    target.mkdir()
    (target / "old").write_text("old")

    def check(older):
        raise error

    with pytest.raises((KeyboardInterrupt, OutputError)), atomic_folder(target, check):
        pass
    assert os.listdir(target) == ["old"]
    assert os.listdir(tmp_path) == ["a.dcm"]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_folder_of_a_process_killed_while_it_replaced_it_is_restored(replaced, tmp_path):
    """The process dies between its two renames, or after them."""
    target = tmp_path / "a.dcm"
    target.mkdir()
    (target / "old").write_text("old")
    script = """
import os, signal, sys
from pathlib import Path
from cmrrecon.tools import atomic

def die(path):
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[2] == "True":
    atomic._delete = die
with atomic.atomic_folder(Path(sys.argv[1]), die if sys.argv[2] == "False" else print) as new:
    (new / "new").write_text("new")
"""
    words = [sys.executable, "-c", script, str(target), str(replaced)]
    assert subprocess.run(words, stdout=subprocess.DEVNULL).returncode == -signal.SIGKILL
    assert target.exists() == replaced
    remove_strays(tmp_path)
    assert os.listdir(target) == ["new" if replaced else "old"]
    assert os.listdir(tmp_path) == ["a.dcm"]
