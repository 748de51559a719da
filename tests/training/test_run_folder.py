"""The folder of a run: its scans and recipe, its exclusive use, and its files."""

import json
import re
import sys
import types

import pytest
import torch
from matplotlib.image import imread
from typer.testing import CliRunner

from cmrrecon.cli.app import app
from cmrrecon.training import checkpoint
from cmrrecon.training.identity import only_run

SETTINGS = [
    "network.cascades=1",
    "network.channels=2",
    "network.pools=1",
    "network.sensitivity_channels=2",
    "network.sensitivity_pools=1",
    "sampling.acs=12",
    "schedule.epochs=1",
    "schedule.batch=1",
]


def command(*words):
    return CliRunner().invoke(
        app, [str(word) for word in ("train", "--recipe", "e2e-varnet", *words)]
    )


def small(*more):
    return [word for text in (*SETTINGS, *more) for word in ("--set", text)]


def run_json(folder):
    return json.loads((folder / "run.json").read_text())


def test_a_run_continues_only_with_its_own_scans_and_recipe(data, tmp_path):
    words = ["--data", data, "--out", tmp_path / "run", *small("schedule.epochs=2")]
    assert command(*words, "--max-steps", 1).exit_code == 0
    for other, code in (
        (["--only", "centre=Center002"], "scans-mismatch"),
        (["--set", "optimiser.lr=1"], "recipe-mismatch"),
    ):
        done = command(*words, *other)
        assert done.exit_code == 2
        assert f"[{code}]" in done.stderr
    assert "optimiser.lr" in done.stderr
    done = command(*words, "--workers", 2, "--json")
    assert done.exit_code == 0, done.output
    assert (json.loads(done.stdout)["status"], run_json(tmp_path / "run")["plan"]["workers"]) == (
        "done",
        2,
    )
    again = command(*words)
    assert "nothing is left to do" in again.stderr


def test_the_plan_and_the_waiting_are_printed(data, tmp_path):
    done = command("--data", data, "--out", tmp_path / "run", *small(), "--no-checkpointing")
    assert "plan: batches of 1" in done.stderr
    assert "windows per second" in done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert all(line["memory_mb"] > 0 and line["windows"] == 1 for line in lines if "loss" in line)


def test_pictures_show_the_same_windows_after_every_epoch(data, tmp_path):
    words = ["--data", data, "--out", tmp_path / "run", *small("schedule.epochs=2")]
    done = command(*words)
    assert done.exit_code == 0, done.output
    pictures = sorted(path.name for path in (tmp_path / "run" / "pictures").iterdir())
    assert pictures == ["validation-001-1.png", "validation-002-1.png"]
    first, second = (imread(tmp_path / "run" / "pictures" / name) for name in pictures)
    assert first.shape == second.shape
    assert (first != second).any()


def test_held_out_scans_are_scored_and_select_nothing(data, tmp_path):
    words = [
        "--data",
        data,
        "--out",
        tmp_path / "run",
        *small("schedule.epochs=2", "data.validation=0"),
    ]
    done = command(*words, "--hold-out", "centre=Center001")
    assert re.search(r"2 scans \D*0 \D*1 held out", done.stderr)
    assert "epoch 2, unseen: PSNR" in done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [(line["validation"], set(line["unseen"])) for line in lines if "unseen" in line] == [
        ({}, {"psnr", "ssim", "nmse"})
    ] * 2


def test_a_folder_belongs_to_one_run_at_a_time(data, tmp_path):
    with only_run(tmp_path / "run"):
        done = command("--data", data, "--out", tmp_path / "run", *small())
    assert done.exit_code == 2
    assert "[folder-busy]" in done.stderr


def test_a_file_in_place_of_the_folder_is_reported(data, tmp_path):
    (tmp_path / "file").write_text("x")
    done = command("--data", data, "--out", tmp_path / "file", *small())
    assert done.exit_code == 1
    assert str(tmp_path / "file") in done.stderr


def test_a_new_run_never_returns_to_the_state_of_an_earlier_one(data, tmp_path):
    words = ["--data", data, "--out", tmp_path / "run", *small()]
    assert command(*words).exit_code == 0
    (tmp_path / "run" / "last.pt").unlink()
    assert command(*words, "--max-steps", 1).exit_code == 0
    assert not (tmp_path / "run" / "epoch.pt").exists()
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 1


def test_impossible_settings_are_refused_before_scans_are_read(tmp_path):
    for setting, named in (
        ("network.cascades=0", "cascade"),
        ("sampling.patterns=['spiral']", "spiral"),
        ("discriminator.channel=8", "channels"),
        ("sampling.patterns=[]", "sampling.patterns"),
        ("sampling.accelerations=[]", "sampling.accelerations"),
        ("optimiser.lr=-1", "optimiser.lr"),
        ("data.validation=1.5", "data.validation"),
        ("schedule.epochs=0", "schedule.epochs"),
    ):
        done = command("--data", tmp_path / "nothing", "--out", tmp_path / "run", "--set", setting)
        assert done.exit_code == 2, setting
        assert named in done.stderr


def test_raw_files_train_like_a_store(data, tmp_path):
    raw = data.parent / "raw"
    words = [*small()]
    for name, folder in (("raw", raw), ("store", data)):
        done = command(*words, "--data", folder, "--out", tmp_path / name)
        assert done.exit_code == 0, done.output
    assert "3 files" in command(*words, "--data", raw, "--out", tmp_path / "raw").stderr
    entries = [
        found["entry"]
        for found in json.loads((tmp_path / "raw" / "index.json").read_text()).values()
    ]
    assert len(entries) == 3
    assert all(
        len(entry["limits"]) == 1 and entry["path"].endswith("cine_sax.mat") for entry in entries
    )
    (raw / "damaged.mat").write_bytes((raw / entries[0]["path"]).read_bytes()[:5000])
    again = command(*words, "--data", raw, "--out", tmp_path / "raw")
    (raw / "damaged.mat").unlink()
    assert "It is left out" in again.stderr
    assert "nothing is left to do" in again.stderr
    # Order and masks depend on the file names, which differ: the losses are similar, not equal.
    means = [torch.tensor(losses(tmp_path / name)).mean() for name in ("raw", "store")]
    torch.testing.assert_close(*means, rtol=0.2, atol=0)


def losses(folder):
    records = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [record["loss"] for record in records if "loss" in record]


def test_tensorboard_gets_every_number(data, tmp_path, monkeypatch):
    scalars = []

    class Writer:
        def __init__(self, folder, purge_step):
            scalars.append(("folder", folder, 0))

        def add_scalar(self, name, value, step):
            scalars.append((name, value, step))

        def close(self):
            scalars.append(("closed", 0, 0))

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    words = [
        "--data",
        data,
        "--tensorboard",
        *small("losses.weighting=variation", "losses.ear.weight=1"),
        "--out",
    ]
    assert command(*words, tmp_path / "run").exit_code == 0
    names = {name for name, _, _ in scalars}
    assert names >= {
        "train/loss",
        "train/weight_ear",
        "train/rate",
        "train/seconds",
        "train/memory_mb",
        "validation/ssim",
        "closed",
    }
    assert scalars[0][1] == str(tmp_path / "run" / "tensorboard")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    done = command(*words, tmp_path / "other")
    assert done.exit_code == 2
    assert "[package-missing]" in done.stderr


@pytest.mark.parametrize("count", [2, 7])
def test_the_number_of_windows_in_an_epoch_can_be_set(data, tmp_path, count):
    words = ["--data", data, "--out", tmp_path / "run"]
    assert command(*words, *small(f"schedule.windows={count}", "schedule.epochs=2")).exit_code == 0
    assert checkpoint.load(tmp_path / "run" / "last.pt")["step"] == 2 * count
