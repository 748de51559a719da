"""Each command end to end on a small simulated scan."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import torch

from cmrrecon import formats
from cmrrecon.methods.registry import DEFAULT_METHOD, METHODS

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_info_says_axes_and_sampling(run, full, undersampled):
    records = run("info", full, undersampled, "--json").records
    assert [r["shape"] for r in records] == [[3, 2, 4, 64, 96]] * 2
    assert records[0]["effective_acceleration"] == 1
    assert records[1]["pattern"] == "kt-gaussian"
    assert records[1]["acceleration"] == 4
    assert records[1]["calibration_lines_found"] >= 20
    assert "coil 4" in run("info", full).out


def test_info_says_what_calibrates(run, tmp_path):
    generator = torch.Generator().manual_seed(0)
    middle = torch.exp(-(((torch.arange(48) - 24) / 4.0) ** 2))[:, None]
    kspace = torch.randn((4, 1, 3, 48, 32), dtype=torch.complex64, generator=generator) * middle
    moving = torch.zeros((4, 48, 1), dtype=torch.bool)
    for t in range(4):
        moving[t, t::4] = True
    block = moving.clone()
    block[:, 16:32] = True
    files = []
    for name, mask, off in (("moving", moving, 0), ("block", block, 0), ("off", block, 9)):
        files.append(tmp_path / f"{name}.npz")
        stored = (kspace * mask[:, None, None]).roll(off, 3).numpy()
        np.savez(files[-1], kspace=stored, mask=mask.roll(off, 1).expand(-1, -1, 32).numpy())
    records = run("info", *files, "--json").records
    assert [record["calibration_lines_found"] for record in records] == [48, 16, 16]
    sources = [record["calibration_source"] for record in records]
    assert sources == ["time average", "every frame", "every frame"]
    assert [record["centre_of_kspace"] for record in records] == [None, None, [33, 16]]
    assert "48 calibration lines found in the time average" in run("info", files[0]).out


def test_info_finds_the_seed_of_a_mask(run, undersampled):
    mask = undersampled.with_name("cine_sax_mask_ktGaussian4.mat")
    (record,) = run("info", mask, "--json").records
    assert record["kind"] == "mask"
    assert record["seed"] == 7


def test_info_knows_images_and_times(run, tmp_path, simulated):
    run(
        "simulate",
        "--kind",
        "t2map",
        "--slices",
        1,
        "--coils",
        2,
        "--size",
        "48x64",
        "--out-dir",
        tmp_path,
    )
    times = next(tmp_path.rglob("T2map.csv"))
    assert run("info", times, "--json").records[0]["times_ms"] == [[0, 35, 55]]
    truth = next(tmp_path.rglob("T2map_truth.npz"))
    assert run("info", truth, "--json").records[0]["kind"] == "images"


@pytest.mark.parametrize(
    ("kind", "frames", "base"),
    [
        ("cine", 12, "cine_sax"),
        ("perfusion", 20, "perfusion"),
        ("t1map", 9, "T1map"),
        ("t2map", 3, "T2map"),
    ],
)
def test_simulate_writes_the_official_layout_and_the_truth(run, tmp_path, kind, frames, base):
    done = run(
        "simulate",
        "--kind",
        kind,
        "--slices",
        1,
        "--coils",
        2,
        "--size",
        "48x64",
        "--out-dir",
        tmp_path,
    )
    path = Path(done.out.strip())
    assert path.name == f"{base}.mat"
    assert "TrainingSet/FullSample/Center000" in str(path)
    assert formats.read(path).shape == (frames, 1, 2, 48, 64)
    assert formats.read_images(path.with_name(f"{base}_truth.npz")).shape == (frames, 1, 48, 64)


def test_undersample_writes_official_names_and_the_mask_fits(run, full, undersampled):
    mask = formats.read_mask(undersampled.with_name("cine_sax_mask_ktGaussian4.mat"))
    kus = formats.read(undersampled)
    assert torch.equal(kus.mask.samples, mask.samples)
    kspace = formats.read(full).read_slice(1)
    assert torch.equal(kus.read_slice(1), kspace * mask.samples[:, None])
    with h5py.File(undersampled) as file:
        assert "kus" in file


def test_undersample_takes_the_seed_from_the_name_and_a_mask_file(
    run, full, undersampled, tmp_path
):
    a = run("undersample", full, "-R", 4, "--out-dir", tmp_path / "a", "--json").records[0]
    b = run("undersample", full, "-R", 4, "--out-dir", tmp_path / "b", "--json").records[0]
    assert a["seed"] == b["seed"]
    mask = undersampled.with_name("cine_sax_mask_ktGaussian4.mat")
    c = run("undersample", full, "--mask", mask, "--out-dir", tmp_path / "c", "--json").records[0]
    assert Path(c["output"]).name == undersampled.name
    assert torch.equal(
        formats.read(c["output"]).read_slice(0), formats.read(undersampled).read_slice(0)
    )


def test_every_method_runs_and_the_regularised_ones_beat_zero_filling(
    run, undersampled, truth, tmp_path
):
    for method in METHODS:
        asked = () if method == DEFAULT_METHOD else ("-m", method)
        done = run(
            "reconstruct", undersampled, *asked, "--slices", "0", "--out-dir", tmp_path, "--json"
        )
        assert done.code == 0, done.err
        (record,) = done.records
        assert (record["method"], record["default_method"]) == (method, not asked)
        assert f"effective R {record['effective_acceleration']:g}" in done.err
        if method == DEFAULT_METHOD:
            assert {"method", "weight", "iterations"} <= set(record["choice"])
    *records, summary = run("evaluate", tmp_path, "--truth", truth, "--json").records
    assert {record["protocol"] for record in records} == {"fullfov"}
    assert {record["reference_is"] for record in records} == {"noise-free truth"}
    psnr = {record["method"]: record["psnr"] for record in records}
    assert set(psnr) == set(METHODS)
    regularised = ("sense", "sigpy-sense", "sigpy-l1-wavelet", "sigpy-tv")
    assert min(psnr[name] for name in regularised) > psnr["zero-filled"], psnr
    assert summary["files"] == len(METHODS)


def test_matlab_output_is_what_the_challenge_reads(run, undersampled, tmp_path):
    run("reconstruct", undersampled, "-m", "zero-filled", "-o", tmp_path / "a.mat")
    images = scipy.io.loadmat(tmp_path / "a.mat")["img4ranking"]
    assert images.shape == (96, 64, 2, 3)
    assert images.dtype == np.float32
    run("reconstruct", undersampled, "-m", "zero-filled", "-o", tmp_path / "a.npy")
    np.testing.assert_allclose(np.load(tmp_path / "a.npy").T, images, rtol=1e-6)


@pytest.fixture(scope="module")
def both(run, undersampled, tmp_path_factory):
    """Zero-filled and SENSE images of the simulated scan."""
    folder = tmp_path_factory.mktemp("both")
    for method in ("zero-filled", "sense"):
        assert run("reconstruct", undersampled, "-m", method, "--out-dir", folder).code == 0
    return folder


def test_evaluate_scores_by_the_named_protocol_with_groups_and_aggregate(run, both, full):
    *records, summary = run(
        "evaluate", both, "--truth", full.parent, "--protocol", "cmrxrecon2025", "--json"
    ).records
    assert {r["protocol"] for r in records} == {"cmrxrecon2025"}
    assert {r["reference_is"] for r in records} == {"RSS of fully sampled k-space"}
    assert all(r["cropped"] for r in records)
    assert set(summary["groups"]["method"]) == {"zero-filled", "sense"}
    assert summary["final"]
    human = run("evaluate", both, "--truth", full.parent, "--protocol", "cmrxrecon2025")
    assert "cmrxrecon2025" in human.err
    assert len(human.out.splitlines()) == 2


def test_evaluate_says_how_scores_change_between_domains_and_methods(run, both, full):
    words = (
        "evaluate",
        both,
        "--truth",
        full.parent,
        "--by",
        "domain,seen,pattern",
        "--against",
        "zero-filled",
    )
    *records, summary = run(*words, "--json").records
    assert [(row["method"], row["seen"], row["n"]) for row in summary["by"]] == [
        ("sense", "seen", 1),
        ("zero-filled", "seen", 1),
    ]
    scores = {r["method"]: r["psnr"] for r in records}
    difference = next(
        row for row in summary["against"] if (row["domain"], row["method"]) == ("all", "sense")
    )
    assert difference["psnr"]["mean"] == pytest.approx(scores["sense"] - scores["zero-filled"])
    human = run(*words, "--unseen", summary["by"][0]["domain"])
    assert "unseen" in human.err
    assert "fullfov" in human.err
    wrong = run("evaluate", both, "--truth", full.parent, "--by", "planet")
    assert (wrong.code, wrong.codes) == (2, ["unknown-axis"])


def test_evaluate_takes_the_rss_of_full_kspace_as_reference(run, undersampled, full, tmp_path):
    run("reconstruct", full, "-m", "zero-filled", "-o", tmp_path / "same.h5")
    (record, _) = run("evaluate", tmp_path / "same.h5", "--truth", full, "--json").records
    assert record["reference_is"] == "RSS of fully sampled k-space"
    assert record["psnr"] == "inf" or record["psnr"] > 100


def test_evaluate_refuses_an_undersampled_reference(run, undersampled, tmp_path):
    run("reconstruct", undersampled, "-m", "zero-filled", "-o", tmp_path / "a.h5")
    done = run("evaluate", tmp_path / "a.h5", "--truth", undersampled)
    assert (done.code, done.codes) == (3, ["kspace-undersampled"])


def test_compare_draws_and_scores(run, undersampled, truth, tmp_path):
    done = run(
        "compare",
        undersampled,
        "-m",
        "zero-filled,sense",
        "--truth",
        truth,
        "-o",
        tmp_path / "c.png",
        "--json",
    )
    assert done.code == 0, done.err
    assert [r.get("method") for r in done.records] == ["zero-filled", "sense", None]
    assert (tmp_path / "c.png").stat().st_size > 10_000
    again = run(
        "compare",
        undersampled,
        "-m",
        "zero-filled,sense",
        "--truth",
        truth,
        "-o",
        tmp_path / "c.png",
        "--json",
    )
    assert again.records[-1]["status"] == "skipped"
    assert run("compare", undersampled, "-m", "zero-filled", "-o", tmp_path / "c.png").code == 1
    assert formats.read_provenance(tmp_path / "c.png")["config"]["methods"] == [
        "zero-filled",
        "sense",
    ]


def test_preprocess_makes_a_store_with_a_fingerprint_and_goes_on(run, simulated, tmp_path):
    store = tmp_path / "store"
    done = run("preprocess", simulated, "--out-dir", store, "--coils", 3, "--json")
    assert done.code == 0, done.err
    assert done.records[0]["status"] == "done"
    scan = formats.read(next(store.rglob("*.h5")))
    assert scan.shape == (3, 2, 3, 64, 96)
    fingerprint = json.loads((store / "fingerprint.json").read_text())
    assert fingerprint["scans"] == 1
    assert fingerprint["modality"] == {"Cine": 1}
    assert fingerprint["matrix_y_x"] == {"64x96": 1}
    assert (
        run("preprocess", simulated, "--out-dir", store, "--coils", 3, "--json").records[0][
            "status"
        ]
        == "skipped"
    )


def test_examples_run(undersampled, tmp_path, monkeypatch, capsys):
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    shell = subprocess.run(
        ["bash", EXAMPLES / "pipeline.sh", tmp_path / "demo"],
        capture_output=True,
        text=True,
        env=env,
    )
    assert shell.returncode == 0, shell.stderr
    scores = json.loads(shell.stdout.splitlines()[0])
    assert (scores["protocol"], scores["method"], scores["pattern"], scores["acceleration"]) == (
        "fullfov",
        "sense",
        "kt-gaussian",
        4,
    )
    script = EXAMPLES / "reconstruct.py"
    assert len(script.read_text().splitlines()) < 30
    monkeypatch.setattr(sys, "argv", [str(script), str(undersampled), str(tmp_path / "o.h5")])
    runpy.run_path(str(script), run_name="__main__")
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "slice",
        "slice",
        "effective",
    ]
    assert formats.read_images(tmp_path / "o.h5").shape == (3, 2, 64, 96)
