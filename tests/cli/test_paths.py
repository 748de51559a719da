"""Every option that takes a path, with every kind of path that cannot be used."""

import os
import shutil

import numpy as np
import pytest

from cmrrecon.networks.checkpoints.headers import PRETRAINED

# What stands where a file is read, and the codes that are right for it; `{}` is the path.
READING = {
    "info {}": {},
    "undersample {} -o {out}/a.h5": {},
    "undersample {full} --mask {} -o {out}/a.h5": {"folder": "file-is-folder"},
    "reconstruct {} -m zero-filled -o {out}/a.h5": {},
    "reconstruct {scan} -m zero-filled --mask {} -o {out}/a.h5": {"folder": "file-is-folder"},
    "reconstruct {scan} -m sense --maps {} -o {out}/a.h5": {"folder": "file-is-folder"},
    "reconstruct {scan} --checkpoint {} -o {out}/a.h5": {
        "folder": "file-is-folder",
        "file": "checkpoint-format",
    },
    "evaluate {} --truth {truth}": {},
    "evaluate {images} --truth {}": {"folder": "reference-missing"},
    "evaluate {images} --truth {truth} --roi {}": {"folder": "labels-missing"},
    "compare {} -o {out}/a.png": {},
    "compare {scan} -m zero-filled --mask {} -o {out}/a.png": {"folder": "file-is-folder"},
    "compare {scan} -m zero-filled --truth {} -o {out}/a.png": {"folder": "reference-missing"},
    "compare {scan} --checkpoint {} -o {out}/a.png": {
        "folder": "file-is-folder",
        "file": "checkpoint-format",
    },
    "preprocess {} --out-dir {out}": {},
    "preprocess {full} --out-dir {out} --labels {}": {
        "folder": "file-is-folder",
        "file": "labels-table",
    },
    "train -r {}.toml --data {out} --out-dir {out}": {
        "folder": "file-missing",
        "file": "file-missing",
    },
    "train -r e2e-varnet --data {} --out-dir {out}": {"file": "folder-needed"},
    "models show {}": {"folder": "file-is-folder", "file": "checkpoint-format"},
    "models convert {} {out}/a.safetensors": {
        "folder": "file-is-folder",
        "file": "checkpoint-format",
    },
}
WRITING = [
    "simulate --size 32x32 --frames 1 --slice-count 1 --coils 1 -o {}/a.h5",
    "simulate --size 32x32 --frames 1 --slice-count 1 --coils 1 --out-dir {}",
    "undersample {full} -o {}/a.h5",
    "undersample {full} --out-dir {}",
    "reconstruct {scan} -m zero-filled -o {}/a.h5",
    "reconstruct {scan} -m zero-filled --out-dir {}",
    "compare {scan} -m zero-filled -o {}/a.png",
    "preprocess {full} --out-dir {}",
    "models convert {weights} {}/a.safetensors",
]
KINDS = ("missing", "folder", "file", "dangling", "loop", "below", "long")
# Below a file, through a link to itself and with an endless name nothing can be read or written.
CODES = {
    "missing": {"file-missing"},
    "folder": {"file-missing"},
    "file": {"file-format"},
    "dangling": {"file-missing"},
    "loop": {"file-missing", "file-unreadable"},
    "below": {"file-missing", "file-unreadable"},
    "long": {"file-missing", "file-unreadable"},
}


@pytest.fixture
def paths(tmp_path):
    folder = tmp_path / "paths"
    (folder / "folder").mkdir(parents=True)
    (folder / "file").write_text("neither k-space nor weights")
    (folder / "dangling").symlink_to(folder / "nowhere")
    (folder / "loop").symlink_to(folder / "loop")
    made = {"missing": "none", "below": "file/below", "long": "x" * 300}
    return {kind: folder / made.get(kind, kind) for kind in KINDS}


@pytest.fixture(scope="session")
def given(run, full, truth, undersampled, tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    images = folder / "images.h5"
    assert run("reconstruct", undersampled, "-m", "zero-filled", "-o", images).code == 0
    np.save(folder / "roi.npy", np.ones((2, 64, 96), np.uint8))
    return {"full": full, "truth": truth, "scan": undersampled, "images": images}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("words", READING)
def test_a_path_that_cannot_be_read_has_a_code(run, given, paths, tmp_path, words, kind):
    out = tmp_path / "out"
    names = {**given, "out": out}
    done = run(*(word.format(paths[kind], **names) for word in words.split(" ")))
    expected = {READING[words][kind]} if kind in READING[words] else CODES[kind]
    assert len(done.codes) == 1, done.err
    assert done.codes[0] in expected
    assert done.code == 3
    assert "Traceback" not in done.err
    # A run that has looked through its folder of data has locked its own.
    assert not out.exists() or os.listdir(out) in ([], [".lock"])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("missing", "folder")])
@pytest.mark.parametrize("words", WRITING)
def test_a_path_that_cannot_be_written_has_a_code(run, given, paths, tmp_path, words, kind):
    if "{weights}" in words:
        weights = tmp_path / "weights.safetensors"
        shutil.copy(PRETRAINED / "kt-unrolled.safetensors", weights)
        given = {**given, "weights": weights}
    done = run(*(word.format(paths[kind], **given) for word in words.split(" ")))
    assert done.codes, done.err
    assert set(done.codes) <= {"output-unwritable", "file-unreadable"}
    assert done.code in (1, 3)
    assert "Traceback" not in done.err
    assert not (paths["dangling"].parent / "nowhere").exists()


def test_the_name_of_installed_weights_is_a_checkpoint(run, undersampled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("reconstruct", undersampled, "--slices", 0, "--json")
    done = run(*words, "--checkpoint", "kt-unrolled", "-o", tmp_path / "a.h5")
    assert done.code == 0, done.err
    assert done.records[0]["method"] == "kt-unrolled"
    other = run(*words, "--checkpoint", "promptmr", "-o", tmp_path / "b.h5")
    assert (other.code, other.codes) == (2, ["weights-missing"])
