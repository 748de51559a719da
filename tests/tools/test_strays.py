"""Temporary files of dead processes are removed; those of live ones never."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from refusals import refused

from cmrrecon.tools import strays
from cmrrecon.tools.atomic import atomic, never_replaced, put_first
from cmrrecon.tools.scratch import scratch_folder
from cmrrecon.tools.strays import DAY, remove_strays, short, temporary_name


@pytest.fixture(scope="module")
def dead():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def name_of(process, computer=None, file="a.h5"):
    mine = temporary_name(file)
    computer = strays._computer() if computer is None else computer
    return mine.replace(f"-{os.getpid()}-{strays._computer()}-", f"-{process}-{computer}-")


def test_only_strays_are_removed(tmp_path, dead):
    gone = [name_of(dead), f"cmrrecon-{dead}-{strays._computer()}-abcd_123"]
    old = [name_of(dead, "0" * 8), f".a.h5.tmp-{dead}-0011aabb"]
    kept = [name_of(os.getpid()), name_of(1), "a.h5", ".a.h5.tmp-x", "cmrrecon-notes"]
    for name in (*gone, *old, *kept):
        (tmp_path / name).write_text("x")
    (tmp_path / gone[1]).unlink()
    (tmp_path / gone[1]).mkdir()
    (tmp_path / gone[1] / "stdin").write_text("x")

    remove_strays(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([*old, *kept])
    for name in (*old, *kept):
        os.utime(tmp_path / name, (0, os.stat(tmp_path).st_mtime - DAY - 1))
    remove_strays(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(kept)


def test_the_next_write_into_a_folder_removes_strays(tmp_path, dead):
    (tmp_path / name_of(dead, file="other.mat")).write_text("half")
    with atomic(tmp_path / "a.h5") as temporary:
        temporary.write_text("x")
    assert os.listdir(tmp_path) == ["a.h5"]


@pytest.mark.parametrize("length", [249, 255])
def test_the_longest_names_can_be_written(tmp_path, length):
    name = "ä" * 20 + "n" * (length - 43) + ".h5"
    assert len(os.fsencode(name)) == length
    with atomic(tmp_path / name) as temporary:
        temporary.write_text("x")
    assert os.listdir(tmp_path) == [name]
    assert short(name) != short(name[:-4] + "x.h5")


def test_longer_names_are_refused(tmp_path):
    with refused("output-unwritable"), atomic(tmp_path / ("n" * 256)) as temporary:
        temporary.write_text("x")


@pytest.mark.parametrize("links", [True, False])
def test_a_protected_file_that_appears_meanwhile_is_not_replaced(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.delattr(os, "link")
        monkeypatch.setattr(os, "link", lambda a, b: (_ for _ in ()).throw(OSError()), False)
    target = tmp_path / "a"
    with never_replaced([target]):
        with atomic(target) as temporary:
            temporary.write_text("first")
        with refused("output-exists"), atomic(target) as temporary:
            temporary.write_text("second")
    assert target.read_text() == "first"
    assert os.listdir(tmp_path) == ["a"]
    with atomic(target) as temporary:
        temporary.write_text("third")
    assert target.read_text() == "third"
    (tmp_path / "b").write_text("x")
    assert not put_first(tmp_path / "b", target)


def test_a_folder_for_temporary_files_without_room_has_its_code(monkeypatch):
    def none():
        raise FileNotFoundError(2, "No usable temporary directory found")

    with scratch_folder() as folder:
        assert folder.parent == Path(tempfile.gettempdir())
    monkeypatch.setattr(tempfile, "gettempdir", none)
    with refused("output-unwritable"), scratch_folder():
        pass
