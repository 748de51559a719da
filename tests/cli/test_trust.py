"""`cmrrecon reconstruct` with the network: what is told and kept of how far to trust the images, --adapt and --uncertainty."""

import json

import pytest
import torch

from cmrrecon import formats
from cmrrecon.methods import registry as methods
from cmrrecon.methods import shipped
from cmrrecon.networks.checkpoints import weights
from cmrrecon.networks.kt_unrolled import KtUnrolled


def network():
    torch.manual_seed(0)
    made = KtUnrolled(cascades=2, channels=8, blocks=1, solver_steps=2).eval()
    with torch.no_grad():
        made.unet.last.weight.normal_(std=0.02)
    return made


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """A small network in place of the shipped one, trained on scans of 8 frames or more if one asks its weights."""
    path = tmp_path / "pretrained" / "kt-unrolled.safetensors"
    weights.save(path, network(), {"envelope": {"frames": [8, 14]}})
    found = weights.load(path).network.eval()
    monkeypatch.setattr(weights, "PRETRAINED", path.parent)
    monkeypatch.setattr(shipped, "FILE", path)
    monkeypatch.setattr(shipped, "shipped_network", lambda: found)
    monkeypatch.setattr(methods, "shipped_network", lambda: found)
    return path


def test_every_output_carries_its_residual(run, undersampled, tmp_path):
    for method in ("sense", "auto"):
        done = run("reconstruct", undersampled, "--method", method, "-o", tmp_path / f"{method}.h5", "--json")
        (record,) = done.records
        assert len(record["data_residual"]) == 2
        assert all(0.3 < residual < 3 for residual in record["data_residual"])
        assert formats.read_provenance(tmp_path / f"{method}.h5")["data_residual"] == record["data_residual"]
        assert "residual of the data over their noise" in done.err


def test_images_without_a_phase_have_no_residual(run, undersampled, tmp_path):
    done = run("reconstruct", undersampled, "--method", "zero-filled", "-o", tmp_path / "a.h5", "--json")
    assert done.records[0]["data_residual"] == [None, None]
    assert "residual" not in done.err


def test_auto_tells_the_scores_of_both(run, installed, undersampled, tmp_path):
    done = run("reconstruct", undersampled, "-o", tmp_path / "a.h5", "--json")
    assert done.code == 0, done.err
    assert "what was taken" in done.err
    assert "each at its best weight" in done.err
    choice = done.records[0]["choice"]
    assert "kt-unrolled" in {trial["method"] for trial in choice["trials"]}
    assert formats.read_provenance(tmp_path / "a.h5")["choice"] == choice


def test_the_shipped_network_is_a_method(run, installed, undersampled, tmp_path):
    done = run("reconstruct", undersampled, "--method", "kt-unrolled", "-o", tmp_path / "a.h5", "--json")
    assert done.code == 0, done.err
    assert formats.read_images(tmp_path / "a.h5").is_complex()
    assert done.records[0]["data_residual"][0] > 0


def test_a_scan_outside_of_what_was_trained_on_is_warned_of(run, installed, undersampled, tmp_path):
    done = run("reconstruct", undersampled, "--method", "kt-unrolled", "-o", tmp_path / "a.h5", "--json")
    assert done.records[0]["outside"] == ["frames 3 (trained on 8 to 14)"]
    assert "outside of what the network was trained on: frames 3" in done.err
    assert "outside" not in run("reconstruct", undersampled, "-m", "sense", "-o", tmp_path / "b.h5", "--json").records[0]


def test_uncertainty_goes_beside_the_output(run, undersampled, full, tmp_path):
    words = (
        "reconstruct",
        undersampled,
        "--method",
        "temporal-tv",
        "--set",
        "weight=0.01",
        "--set",
        "iterations=5",
        "-o",
        tmp_path / "a.h5",
    )
    done = run(*words, "--uncertainty", 3)
    assert done.code == 0, done.err
    spread, images = formats.read_images(tmp_path / "a_uncertainty.h5"), formats.read_images(tmp_path / "a.h5")
    assert spread.shape == images.shape
    assert 0 < float(spread.abs().mean()) < float(images.abs().mean())
    assert "a_uncertainty.h5" in done.err
    assert "standard deviation" in run("info", tmp_path / "a_uncertainty.h5").out
    assert "skipped" in run(*words, "--uncertainty", 3).err
    scores = ("--truth", full.parent, "--protocol", "fullfov", "--json")
    scored = run("evaluate", tmp_path, *scores).err + str(run("evaluate", tmp_path, *scores).records)
    assert "a.h5" in scored
    assert "a_uncertainty" not in scored, "how uncertain images are is no reconstruction"
    (tmp_path / "damaged.h5").write_bytes((tmp_path / "a.h5").read_bytes()[:2000])
    both = run("evaluate", tmp_path, *scores)
    assert both.code == 1
    assert "damaged.h5" in both.err
    assert "psnr" in both.out, "one damaged file stops no other"
    (tmp_path / "damaged.h5").unlink()
    assert run("evaluate", tmp_path / "a.h5", tmp_path / "a_uncertainty.h5", *scores).code == 0
    refused = run("evaluate", tmp_path / "a_uncertainty.h5", *scores)
    assert refused.code == 3
    assert "standard deviation" in refused.err
    assert run(*words).code == 1
    assert not list(tmp_path.glob(".*.parts"))


def test_a_dry_run_tells_of_adaptation_and_uncertainties(run, installed, undersampled, tmp_path):
    done = run("reconstruct", undersampled, "-o", tmp_path / "a.h5", "--adapt", 7, "--uncertainty", 3, "--dry-run")
    assert done.code == 0, done.err
    assert "at most 7 steps" in done.err
    assert "a_uncertainty.h5" in done.err
    assert not list(tmp_path.glob("a*.h5"))


@pytest.mark.parametrize("words", [("--uncertainty", 1), ("--uncertainty", 4, "-o", "-"), ("--uncertainty", -1), ("--adapt", -1)])
def test_wrong_numbers_are_refused(run, undersampled, words):
    assert run("reconstruct", undersampled, *words).code == 2


def test_adaptation_is_told_and_kept(run, installed, undersampled, tmp_path):
    done = run("reconstruct", undersampled, "--adapt", 5, "-o", tmp_path / "a.h5", "--json")
    assert done.code == 0, done.err
    adapted = done.records[0]["adapted"]
    assert adapted["slice"] == 1
    assert adapted["after"] <= adapted["before"]
    assert "adapted on slice 1" in done.err
    stamp = formats.read_provenance(tmp_path / "a.h5")
    assert stamp["config"]["adapt"] == 5
    assert stamp["adapted"] == adapted
    again = run("reconstruct", undersampled, "--adapt", 5, "-o", tmp_path / "b.h5", "--json").records[0]
    assert json.dumps(again["choice"]) == json.dumps(done.records[0]["choice"])


def test_there_is_nothing_to_adapt_to_in_a_fully_sampled_scan(run, installed, full, tmp_path):
    done = run("reconstruct", full, "--adapt", 5, "--slices", 0, "-o", tmp_path / "a.h5", "--json")
    assert done.code == 0, done.err
    assert "nothing to adapt" in done.err
    assert done.records[0]["adapted"]["steps"] == 0


def test_adaptation_of_a_given_network(run, undersampled, tmp_path):
    weights.save(tmp_path / "w.safetensors", network())
    done = run("reconstruct", undersampled, "--checkpoint", tmp_path / "w.safetensors", "--adapt", 5, "-o", tmp_path / "a.h5", "--json")
    assert done.code == 0, done.err
    assert done.records[0]["adapted"]["steps"] in range(6)


def test_a_method_without_a_network_cannot_be_adapted(run, undersampled):
    done = run("reconstruct", undersampled, "--method", "sense", "--adapt", 5)
    assert done.code == 2
    assert "Only networks" in done.err
