"""Training on random scans, without a store."""

import json

import pytest
import torch
from refusals import refused
from typer.testing import CliRunner

from cmrrecon.cli.app import app
from cmrrecon.losses.ssim import psnr_loss
from cmrrecon.networks.checkpoints import weights
from cmrrecon.training import recipe, scenes
from cmrrecon.training.batch import collate
from cmrrecon.training.checks import check
from cmrrecon.training.dataset import Windows, batches
from cmrrecon.training.entries import read_entries
from cmrrecon.training.recipe import Data
from cmrrecon.training.scenes import Scenes

CPU = torch.device("cpu")
SMALL = [
    "--set",
    "network.channels=8",
    "--set",
    "network.blocks=1",
    "--set",
    "network.cascades=1",
    "--set",
    "schedule.precision=fp32",
]


@pytest.fixture
def tiny(monkeypatch):
    """Makes scans fast to simulate, and validates with few."""
    from cmrrecon.simulation import random_materials, random_scans

    monkeypatch.setattr(random_materials, "LEAVES", (15, 60))
    monkeypatch.setattr(random_materials, "LINES", (2, 8))
    monkeypatch.setattr(random_scans, "ROWS", (48, 50))
    monkeypatch.setattr(random_scans, "COLUMNS", (48, 54))
    monkeypatch.setattr(random_scans, "SMALL", (40, 45))
    monkeypatch.setattr(random_scans, "FRAMES", (2, 4))
    monkeypatch.setattr(random_scans, "SMALL_FRAMES", (2, 4))
    monkeypatch.setattr(random_scans, "PIXELS", 2000)
    monkeypatch.setattr(scenes, "VALIDATION", 2)


def train(*words):
    return CliRunner().invoke(app, ["train", "--recipe", "kt-unrolled", *SMALL, *map(str, words)])


def lines(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_every_epoch_has_new_scans_and_validation_the_same(tiny):
    seen, held = Scenes(Data(scenes=3), 1), Scenes(Data(scenes=3), 1, fixed=True)
    names = {
        seen.sample(place, epoch).name.split(":")[0] for place in seen.places for epoch in (0, 1)
    }
    assert len(names) == 6
    first, again = (held.sample(held.places[1], epoch) for epoch in (0, 5))
    assert torch.equal(first.kspace, again.kspace)
    assert not any(
        torch.equal(held.sample(place, 0).kspace, seen.sample(place, 0).kspace)
        for place in held.places
        if place in seen.places
    )


def test_a_sample_is_a_normalised_series_with_the_truth_in_its_columns(tiny):
    source = Scenes(Data(scenes=8), 3)
    for place in source.places:
        sample = source.sample(place, 0)
        frames, _, y, x = sample.kspace.shape
        assert sample.target.shape == (frames, y, len(range(*sample.columns.indices(x))))
        batch = collate([sample], CPU)
        assert batch.target.shape == sample.target.shape
        assert batch.limit.shape == (frames,)
        assert batch.zero_filled().shape == sample.target.shape
        assert bool((sample.kspace * ~sample.mask[:, None] == 0).all())
    order = batches(source, 0, lambda shape: 1)
    assert sorted(place.scan for (place,) in order) == list(range(8))
    assert order != batches(source, 1, lambda shape: 1)


def test_a_run_needs_no_data_and_continues_exactly(tiny, tmp_path):
    """A run stopped in the middle and continued gives the same weights as one that is not."""
    whole = train(
        "--out", tmp_path / "whole", "--set", "data.scenes=2", "--set", "schedule.epochs=2"
    )
    assert whole.exit_code == 0, whole.stderr
    assert (tmp_path / "whole" / "best.safetensors").exists()
    train(
        "--out",
        tmp_path / "parts",
        "--set",
        "data.scenes=2",
        "--set",
        "schedule.epochs=2",
        "--max-steps",
        1,
    )
    done = train(
        "--out", tmp_path / "parts", "--set", "data.scenes=2", "--set", "schedule.epochs=2"
    )
    assert done.exit_code == 0, done.stderr
    states = [
        torch.load(tmp_path / name / "last.pt", weights_only=True)["parts"]["network"]
        for name in ("whole", "parts")
    ]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    loaded = weights.load(tmp_path / "whole" / "best.safetensors")
    assert loaded.metadata["network"] == "kt-unrolled"
    assert "validation" in lines(tmp_path / "whole")[-1]
    assert (tmp_path / "whole" / "pictures" / "validation-001-1.png").exists()


def test_series_networks_train_on_a_store(data, tmp_path):
    """With a store, the same network sees all frames of a slice at once."""
    windows = Windows(data, read_entries(data), 0, recipe.load("kt-unrolled").sampling, Data(), 1)
    assert len(windows) == 3
    sample = windows.sample(windows.places[0], 0)
    assert sample.target.shape == (3, *sample.kspace.shape[-2:])
    done = train(
        "--data", data, "--out", tmp_path, "--set", "data.scenes=0", "--set", "schedule.epochs=1"
    )
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "best.safetensors").exists()


def test_scenes_and_a_store_exclude_each_other(data, tmp_path):
    done = train("--data", data, "--out", tmp_path)
    assert done.exit_code == 2
    assert "data.scenes=0" in done.stderr
    assert train().exit_code == 2


def test_networks_for_windows_cannot_learn_from_scenes():
    with refused("options-conflict"):
        check(recipe.load("e2e-varnet", ["data.scenes=5"]))


def test_psnr_loss_counts_decibels():
    """A tenth of the error, 20 dB, lowers the loss by two at any scale; zero error is finite."""
    target, error = torch.rand(2, 5, 6), torch.randn(2, 5, 6)
    loss = psnr_loss(target + 0.1 * error, target)
    torch.testing.assert_close(
        psnr_loss(target + 0.01 * error, target), loss - 2, rtol=0, atol=1e-3
    )
    torch.testing.assert_close(
        psnr_loss(1e3 * (target + 0.1 * error), 1e3 * target), loss, rtol=1e-4, atol=1e-4
    )
    assert bool(torch.isfinite(psnr_loss(target, target)))
