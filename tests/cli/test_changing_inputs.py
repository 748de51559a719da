"""An input that another program changes during a command never becomes part of an output."""

import os
import shutil

import pytest

from cmrrecon.formats.steady import SteadyReader


@pytest.fixture
def changing(full, tmp_path, monkeypatch):
    """A copy of a scan that is touched when its second slice has been read."""
    path = tmp_path / "in" / "cine_sax.mat"
    path.parent.mkdir()
    shutil.copy(full, path)
    reads = []
    check = SteadyReader.__call__

    def call(self, index):
        reads.append(index)
        if len(reads) == 2:
            os.utime(path, ns=(1, 1))
        return check(self, index)

    monkeypatch.setattr(SteadyReader, "__call__", call)
    return path


@pytest.mark.parametrize(
    "words",
    [
        ("reconstruct", "-m", "zero-filled", "--out-dir"),
        ("undersample", "-R", 4, "--out-dir"),
        ("preprocess", "--out-dir"),
    ],
)
def test_a_change_between_slices_is_an_error_and_nothing_is_written(run, changing, tmp_path, words):
    out = tmp_path / "out"
    out.mkdir()
    done = run(words[0], changing, *words[1:], out)
    assert (done.code, done.codes) == (3, ["input-changed"])
    assert os.listdir(out) == []
