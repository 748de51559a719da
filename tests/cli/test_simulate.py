"""`cmrrecon simulate --random`: as for the phantom, and what it cannot be combined with."""

import os
from pathlib import Path

import pytest
import torch

from cmrrecon import formats
from cmrrecon.simulation.random_scenes import random_scene

WORDS = (
    "simulate",
    "--random",
    "--frames",
    3,
    "--slices",
    2,
    "--coils",
    4,
    "--size",
    "48x64",
    "--seed",
    4,
)


@pytest.fixture(scope="module")
def scan(run, tmp_path_factory):
    done = run(*WORDS, "--out-dir", tmp_path_factory.mktemp("random"))
    assert done.code == 0, done.err
    assert "frame 3, slice 2, coil 4, y 48, x 64" in done.err
    return Path(done.out.strip())


def test_it_writes_the_official_layout_and_the_truth(scan):
    assert scan.parts[-8:] == (
        "MultiCoil",
        "Cine",
        "TrainingSet",
        "FullSample",
        "Center000",
        "Simulated_30T_phantom",
        "P005",
        "cine_random.mat",
    )
    read = formats.read(scan)
    assert read.shape == (3, 2, 4, 48, 64)
    assert read.series(0).mask.complete
    assert read.acquisition.modality == "Cine"
    truth = formats.read_images(scan.with_name("cine_random_truth.npz"))
    for index in range(2):
        torch.testing.assert_close(truth[:, index], random_scene(4, index, 3, 48, 64).images)
    assert sorted(os.listdir(scan.parent)) == ["cine_random.mat", "cine_random_truth.npz"]


def test_again_it_is_the_same_and_another_seed_another(run, scan, tmp_path):
    again = run(*WORDS, "--out-dir", tmp_path, "--json").records[0]
    assert (again["kind"], again["status"], again["shape"]) == ("random", "done", [3, 2, 4, 48, 64])
    other = run(*WORDS, "--seed", 5, "-o", tmp_path / "other.h5")
    assert other.code == 0, other.err
    assert formats.read_provenance(again["output"])["config"]["kind"] == "random"
    for index in range(2):
        kspace = formats.read(scan).read_slice(index)
        assert torch.equal(formats.read(again["output"]).read_slice(index), kspace)
        assert not torch.allclose(
            formats.read(tmp_path / "other.h5").read_slice(index), kspace, atol=0.1
        )
    assert run(*WORDS, "--out-dir", tmp_path, "--json").records[0]["status"] == "skipped"


def test_a_finished_scan_of_the_phantom_is_not_taken_for_it(run, tmp_path):
    words = (
        "--frames",
        1,
        "--slices",
        1,
        "--coils",
        1,
        "--size",
        "32x32",
        "-o",
        tmp_path / "scan.h5",
    )
    assert run("simulate", *words).code == 0
    assert run("simulate", "--random", *words).codes == ["output-exists"]
    assert formats.read_provenance(tmp_path / "scan.h5")["config"]["kind"] == "cine"


@pytest.mark.parametrize(
    "words", [("--kind", "cine"), ("--spokes", 12), ("--lesions",), ("-k", "t1map", "--lesions")]
)
def test_what_random_scenes_cannot_have_is_a_mistake_of_usage(run, tmp_path, words):
    done = run(*WORDS, *words, "--out-dir", tmp_path)
    assert (done.code, done.codes) == (2, ["options-conflict"])
    assert os.listdir(tmp_path) == []
