"""`cmrrecon preprocess`: what enters a store, and what it never replaces."""

import shutil
from dataclasses import replace

from cmrrecon import formats


def test_preprocess_refuses_inputs_that_share_an_output(run, full, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(full, tmp_path / folder)
    words = ("preprocess", tmp_path / "a", tmp_path / "b", "--out-dir", tmp_path / "store")
    for more in ((), ("--shard", "1/2"), ("--shard", "2/2")):
        done = run(*words, *more)
        assert (done.code, done.codes) == (2, ["output-shared"])
    assert not (tmp_path / "store").exists()


def test_preprocess_in_parallel_and_empty_shards(run, full, tmp_path):
    for folder in ("P001", "P002"):
        (tmp_path / folder).mkdir()
        shutil.copy(full, tmp_path / folder)
    done = run("preprocess", tmp_path, "--out-dir", tmp_path / "store", "--workers", 2, "--json")
    assert [r["status"] for r in done.records] == ["done", "done"]
    assert run("preprocess", full, "--out-dir", tmp_path / "store2", "--shard", "2/2").code == 0
    assert run("preprocess", "-", "--out-dir", tmp_path / "store2").codes == ["input-stream"]


def test_scales_that_cannot_be_normalised_do_not_enter_a_store(run, full, tmp_path):
    scan = formats.read(full)
    formats.write_scan(
        tmp_path / "tiny.mat",
        replace(scan, read_slice=lambda z: scan.read_slice(z) * 1e-38),
        variable="kspace_full",
    )
    done = run("preprocess", tmp_path / "tiny.mat", "--out-dir", tmp_path / "store")
    assert (done.code, done.codes) == (5, ["kspace-no-signal"])
    assert not list((tmp_path / "store").rglob("*.h5"))


def test_preprocess_never_replaces_its_inputs(run, full, tmp_path):
    mine = tmp_path / "cine_sax.h5"
    formats.write_scan(mine, formats.read(full))
    before = mine.read_bytes()
    for more in ([], ["--overwrite"]):
        done = run("preprocess", mine, "--out-dir", tmp_path, "--coils", 2, *more)
        assert (done.code, done.codes) == (2, ["output-is-input"])
    assert mine.read_bytes() == before
