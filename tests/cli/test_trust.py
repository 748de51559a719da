"""`cmrrecon reconstruct` with the network: what is printed and kept, --adapt and --uncertainty."""

import json

import pytest
import torch

from cmrrecon import formats
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
    """A small network in place of the shipped one; its weights state 8 frames or more."""
    path = tmp_path / "pretrained" / "kt-unrolled.safetensors"
    weights.save(path, network(), {"envelope": {"frames": [8, 14]}})
    monkeypatch.setattr(weights, "PRETRAINED", path.parent)
    return path


def test_every_output_carries_its_residual(run, undersampled, tmp_path):
    for method in ("sense", "auto"):
        done = run(
            "reconstruct",
            undersampled,
            "--method",
            method,
            "-o",
            tmp_path / f"{method}.h5",
            "--json",
        )
        (record,) = done.records
        assert len(record["data_residual"]) == 2
        assert all(0.3 < residual < 3 for residual in record["data_residual"])
        assert (
            formats.read_provenance(tmp_path / f"{method}.h5")["data_residual"]
            == record["data_residual"]
        )
        assert (
            f"{min(record['data_residual']):.3g} to {max(record['data_residual']):.3g}" in done.err
        )


def test_images_without_a_phase_have_no_residual(run, undersampled, tmp_path):
    done = run(
        "reconstruct", undersampled, "--method", "zero-filled", "-o", tmp_path / "a.h5", "--json"
    )
    assert done.records[0]["data_residual"] == [None, None]
    assert "nan" not in done.err.lower()


def test_auto_keeps_the_scores_of_both(run, installed, undersampled, tmp_path):
    done = run("reconstruct", undersampled, "-o", tmp_path / "a.h5", "--json", "--verbose")
    assert done.code == 0, done.err
    choice = done.records[0]["choice"]
    assert "kt-unrolled" in {trial["method"] for trial in choice["trials"]}
    assert f"{choice['method']}, weight {choice['weight']:g}" in done.err
    assert formats.read_provenance(tmp_path / "a.h5")["choice"] == choice


def test_the_shipped_network_is_a_method(run, installed, undersampled, tmp_path):
    done = run(
        "reconstruct", undersampled, "--method", "kt-unrolled", "-o", tmp_path / "a.h5", "--json"
    )
    assert done.code == 0, done.err
    assert formats.read_images(tmp_path / "a.h5").is_complex()
    assert done.records[0]["data_residual"][0] > 0


def test_a_scan_outside_of_what_was_trained_on_is_warned_of(run, installed, undersampled, tmp_path):
    done = run(
        "reconstruct", undersampled, "--method", "kt-unrolled", "-o", tmp_path / "a.h5", "--json"
    )
    assert done.records[0]["outside"] == ["frames 3 (trained on 8 to 14)"]
    assert "warning" in done.err
    assert done.records[0]["outside"][0] in done.err
    assert (
        "outside"
        not in run(
            "reconstruct", undersampled, "-m", "sense", "-o", tmp_path / "b.h5", "--json"
        ).records[0]
    )


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
    spread, images = (
        formats.read_images(tmp_path / "a_uncertainty.h5"),
        formats.read_images(tmp_path / "a.h5"),
    )
    assert spread.shape == images.shape
    assert 0 < float(spread.abs().mean()) < float(images.abs().mean())
    assert "a_uncertainty.h5" in done.err
    (described,) = run("info", tmp_path / "a_uncertainty.h5", "--json").records
    assert described["provenance"]["quantity"] == "standard deviation"
    assert run(*words, "--uncertainty", 3, "--json").records[0]["status"] == "skipped"
    scores = ("--truth", full.parent, "--protocol", "fullfov", "--json")
    scored = run("evaluate", tmp_path, *scores)
    assert [record["input"] for record in scored.records[:-1]] == [str(tmp_path / "a.h5")], (
        "uncertainties are no reconstruction"
    )
    assert "a_uncertainty" not in scored.err
    (tmp_path / "damaged.h5").write_bytes((tmp_path / "a.h5").read_bytes()[:2000])
    both = run("evaluate", tmp_path, *scores)
    assert (both.code, both.codes) == (1, ["file-damaged"])
    assert "damaged.h5" in both.err
    assert "psnr" in both.out, "one damaged file stops no other"
    (tmp_path / "damaged.h5").unlink()
    assert run("evaluate", tmp_path / "a.h5", tmp_path / "a_uncertainty.h5", *scores).code == 0
    refused = run("evaluate", tmp_path / "a_uncertainty.h5", *scores)
    assert (refused.code, refused.codes) == (3, ["variable-kind"])
    assert "standard deviation" in refused.err
    for found in (tmp_path, tmp_path / "*.h5"):
        shards = [run("evaluate", found, *scores, "--shard", f"{part}/2") for part in (1, 2)]
        assert [done.code for done in shards] == [0, 0]
        assert [record["status"] for done in shards for record in done.records] == [
            "done",
            "summary",
        ]
    assert run(*words).codes == ["output-exists"]
    assert not list(tmp_path.glob(".*.parts"))


def test_a_dry_run_says_of_adaptation_and_uncertainties(run, installed, undersampled, tmp_path):
    done = run(
        "reconstruct",
        undersampled,
        "-o",
        tmp_path / "a.h5",
        "--adapt",
        7,
        "--uncertainty",
        3,
        "--dry-run",
    )
    assert done.code == 0, done.err
    assert "up to 7 steps" in done.err
    assert "a_uncertainty.h5" in done.err
    assert not list(tmp_path.glob("a*.h5"))


@pytest.mark.parametrize(
    ("words", "codes"),
    [
        (("--uncertainty", 1), ["option-value"]),
        (("--uncertainty", 4, "-o", "-"), ["options-conflict"]),
        (("--uncertainty", -1), ["option-value"]),
        (("--adapt", -1), ["option-value"]),
        (("--method", "sense", "--adapt", 5), ["not-adaptable"]),
        (("--set", "iterations=5", "--adapt", 5), ["not-adaptable"]),
    ],
)
def test_what_makes_no_sense_is_refused(run, undersampled, words, codes):
    done = run("reconstruct", undersampled, *words)
    assert (done.code, done.codes) == (2, codes)


def test_adaptation_is_reported_and_kept(run, installed, undersampled, tmp_path):
    done = run(
        "reconstruct", undersampled, "--adapt", 5, "--slices", 1, "-o", tmp_path / "a.h5", "--json"
    )
    assert done.code == 0, done.err
    adapted = done.records[0]["adapted"]
    assert adapted["slice"] == 1
    assert adapted["after"] <= adapted["before"]
    assert f"{adapted['before']:.4g}" in done.err
    stamp = formats.read_provenance(tmp_path / "a.h5")
    assert stamp["config"]["adapt"] == 5
    assert stamp["adapted"] == adapted
    again = run(
        "reconstruct", undersampled, "--adapt", 5, "--slices", 1, "-o", tmp_path / "b.h5", "--json"
    ).records[0]
    assert json.dumps(again["choice"]) == json.dumps(done.records[0]["choice"])


def test_there_is_nothing_to_adapt_to_in_a_fully_sampled_scan(run, installed, full, tmp_path):
    done = run("reconstruct", full, "--adapt", 5, "--slices", 0, "-o", tmp_path / "a.h5", "--json")
    assert done.code == 0, done.err
    assert done.records[0]["adapted"] == {"slice": 0, "steps": 0}


def test_adaptation_of_a_given_network(run, undersampled, tmp_path):
    weights.save(tmp_path / "w.safetensors", network())
    done = run(
        "reconstruct",
        undersampled,
        "--checkpoint",
        tmp_path / "w.safetensors",
        "--adapt",
        2,
        "-o",
        tmp_path / "a.h5",
        "--json",
    )
    assert done.code == 0, done.err
    assert done.records[0]["adapted"]["steps"] in range(3)
