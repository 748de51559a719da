"""Two commands with one output, links planted beside it, and names that lead elsewhere."""

import os
from dataclasses import replace

import pytest

from cmrrecon import formats
from cmrrecon.networks.checkpoints.weights import installed_file
from cmrrecon.reconstruction import resume
from cmrrecon.tools import atomic


def meanwhile(monkeypatch, action):
    """Run an action just before the first file gets its final name."""
    place, called = atomic.put_first, []

    def late(mine, target):
        if not called:
            called.append(target)
            action()
        return place(mine, target)

    monkeypatch.setattr(atomic, "put_first", late)


@pytest.mark.parametrize("command", ["reconstruct", "undersample"])
def test_of_two_different_commands_one_fails(run, full, tmp_path, monkeypatch, command):
    options = {"reconstruct": ("-m", "sense"), "undersample": ("-R", 4)}[command]
    other = {"reconstruct": ("-m", "zero-filled"), "undersample": ("-R", 2)}[command]
    words = (command, full, "-o", tmp_path / "a.h5")
    meanwhile(monkeypatch, lambda: run(*words, *other))
    done = run(*words, *options)
    assert (done.code, done.codes) == (1, ["output-exists"])
    assert run(*words, *other, "--json").records[0]["status"] == "skipped"
    assert os.listdir(tmp_path) == ["a.h5"]


@pytest.mark.parametrize("kinds", [(False, True), (True, False), (False, False)])
def test_of_two_different_commands_with_dicom_one_fails(run, full, tmp_path, monkeypatch, kinds):
    """Folders and Enhanced files never replace each other unasked."""
    words = ("reconstruct", full, "-o", tmp_path / "a.dcm", "--voxel-size", "1,1,8", "-m")
    mine, other = (("--enhanced",) if enhanced else () for enhanced in kinds)
    meanwhile(monkeypatch, lambda: run(*words, "zero-filled", *other))
    done = run(*words, "sense", *mine)
    assert (done.code, done.codes) == (1, ["output-exists"])
    assert run(*words, "zero-filled", *other, "--json").records[0]["status"] == "skipped"
    assert os.listdir(tmp_path) == ["a.dcm"]


def test_of_two_equal_commands_both_succeed(run, full, tmp_path, monkeypatch):
    words = ("undersample", full, "-R", 4, "-o", tmp_path / "a.mat", "--json")
    meanwhile(monkeypatch, lambda: run(*words))
    assert run(*words).records[0]["status"] == "skipped"
    assert sorted(os.listdir(tmp_path)) == ["a.mat", "a_mask.mat"]


def test_a_link_in_place_of_the_folder_for_slices_is_refused(run, full, tmp_path, monkeypatch):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    start = resume.OnDisk.__init__

    def planted(self, outputs, recipe, slices):
        os.symlink(elsewhere, resume.Parts(outputs["images"], recipe, slices).folder)
        start(self, outputs, recipe, slices)

    monkeypatch.setattr(resume.OnDisk, "__init__", planted)
    done = run("reconstruct", full, "-m", "zero-filled", "-o", out / "a.h5")
    assert (done.code, done.codes) == (1, ["parts-link"])
    assert os.listdir(elsewhere) == []


@pytest.mark.parametrize("base", ["../x", "a/b", "..\\x", "a\nb"])
def test_a_stored_name_that_is_a_path_is_refused(run, full, tmp_path, base):
    path, out = tmp_path / "a.h5", tmp_path / "out" / "deep"
    scan = formats.read(full)
    formats.write_scan(path, replace(scan, acquisition=replace(scan.acquisition, base=base)))
    done = run("undersample", path, "-R", 4, "--out-dir", out)
    assert (done.code, done.codes) == (3, ["name-unsafe"])
    assert sorted(os.listdir(tmp_path)) == ["a.h5"]


def test_weights_are_not_replaced_by_images(run, full, tmp_path):
    weights = tmp_path / "w.h5"
    weights.write_bytes(installed_file("kt-unrolled").read_bytes())
    done = run("reconstruct", full, "--checkpoint", weights, "-o", weights)
    assert (done.code, done.codes) == (2, ["output-is-input"])


def test_a_folder_that_cannot_be_read_is_not_skipped(run, full, tmp_path, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    (tmp_path / "in" / "closed").mkdir(parents=True)
    os.symlink(full, tmp_path / "in" / "cine_sax.mat")
    monkeypatch.setattr(os, "scandir", refuse)
    done = run("undersample", tmp_path / "in", "-R", 4, "--out-dir", tmp_path / "out")
    assert (done.code, done.codes) == (3, ["file-unreadable"])
