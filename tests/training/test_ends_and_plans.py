"""Where runs end early, what they leave, and what --dry-run finds out without leaving anything."""

import json
import math
import shutil
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from cmrrecon.cli.app import app
from cmrrecon.networks.checkpoints import weights
from cmrrecon.training import checkpoint, entries, loop, seals
from cmrrecon.training import recipe as recipes
from cmrrecon.training.batch import Batch
from cmrrecon.training.plan import batches_in_all
from cmrrecon.training.state import MOST_RETURNS
from cmrrecon.training.validation import Diverged

SETTINGS = [
    "network.cascades=1", "network.channels=2", "network.pools=1", "network.sensitivity_channels=2",
    "network.sensitivity_pools=1", "sampling.acs=12", "schedule.epochs=2", "schedule.batch=1",
    "schedule.windows=3",
]  # fmt: skip


def train(*words, data=None, more=()):
    settings = [word for text in (*SETTINGS, *more) for word in ("--set", text)]
    given = ["train", "--recipe", "e2e-varnet", *settings, *words]
    return CliRunner().invoke(app, [*map(str, given), *(["--data", str(data)] if data else [])])


def tree(folder):
    return sorted(str(path) for path in folder.rglob("*"))


@pytest.mark.parametrize(("steps", "epochs"), [(2, 0), (3, 1), (4, 1)])
def test_max_steps_leaves_weights_and_says_whether_they_were_validated(
    data, tmp_path, steps, epochs
):
    done = train("--out-dir", tmp_path, "--max-steps", steps, "--json", data=data)
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert (record["steps"], record["epochs"], record["validated"]) == (steps, epochs, epochs > 0)
    loaded = weights.load(record["weights"])
    assert (json.loads(loaded.metadata["metrics"]) != {}) == (epochs > 0)
    assert ("warning: the run ended" in done.stderr) == (epochs == 0)


def test_the_state_of_a_run_converts(data, tmp_path):
    run, output = tmp_path / "run", tmp_path / "a.safetensors"
    assert train("--out-dir", run, "--max-steps", 3, data=data).exit_code == 0
    done = CliRunner().invoke(app, ["models", "convert", str(run / "last.pt"), str(output)])
    assert done.exit_code == 0, done.output
    converted, best = weights.load(output), weights.load(run / "best.safetensors")
    for key, value in best.network.state_dict().items():
        assert torch.equal(value, converted.network.state_dict()[key])
    assert converted.metadata["steps"] == "3"
    (run / "run.json").write_text('{"recipe": {"network": {"name": "unet"}}}')
    done = CliRunner().invoke(app, ["models", "show", str(run / "last.pt"), "--json"])
    assert json.loads(done.stdout)["error"]["code"] == "checkpoint-mismatch"


def test_a_run_stopped_at_the_end_of_an_epoch_takes_the_same_steps(data, tmp_path):
    for name, parts in (("whole", [()]), ("parts", [("--max-steps", 3), ()])):
        for words in parts:
            done = train("--out-dir", tmp_path / name, *words, data=data)
            assert done.exit_code == 0, done.output
    whole, parts = (
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("whole", "parts")
    )
    assert [one.get("loss") for one in whole] == [one.get("loss") for one in parts]
    assert [one["step"] for one in parts] == [1, 2, 3, 3, 4, 5, 6, 6]


@pytest.mark.parametrize(
    ("most", "accumulate", "batches"),
    [(None, 1, 30), (4, 1, 4), (10, 1, 10), (99, 1, 30), (2, 4, 8), (3, 4, 10), (4, 4, 14)],
)
def test_the_bar_counts_to_the_last_step(most, accumulate, batches):
    words = [f"optimiser.accumulate={accumulate}", "schedule.epochs=3"]
    assert batches_in_all(recipes.load("e2e-varnet", words), 10, most) == batches


def test_a_dry_run_measures_and_writes_nothing(data, tmp_path):
    done = train("--out-dir", tmp_path / "run", "--dry-run", "--json", data=data)
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert tree(tmp_path) == []
    assert (record["status"], record["network"]) == ("planned", "e2e-varnet")
    assert (record["windows_an_epoch"], record["steps_an_epoch"], record["epochs"]) == (3, 3, 2)
    assert (record["batches_done"], record["batches_left"]) == (0, 6)
    assert record["seconds_a_batch"] > 0
    assert record["seconds_a_step"] == record["seconds_a_batch"]
    assert record["seconds_measured_on"] == 2
    assert math.isclose(record["seconds_left"], 6 * record["seconds_a_batch"], abs_tol=0.06)
    assert record["plan"]["batches"]
    assert record["peak_memory_mb"] > 0


def test_a_step_of_a_dry_run_accumulates_batches(data, tmp_path):
    words = ["--out-dir", tmp_path, "--dry-run", "--json"]
    record = json.loads(train(*words, data=data, more=["optimiser.accumulate=3"]).stdout)
    assert math.isclose(record["seconds_a_step"], 3 * record["seconds_a_batch"], abs_tol=2e-4)
    assert record["steps_an_epoch"] == 1


@pytest.mark.parametrize(("epochs", "long"), [(2, False), (100_000_000, True)])
def test_a_dry_run_of_a_long_run_recommends_the_quick_recipe(data, tmp_path, epochs, long):
    more = [f"schedule.epochs={epochs}"]
    done = train("--out-dir", tmp_path, "--dry-run", "--device", "cpu", data=data, more=more)
    assert done.exit_code == 0, done.output
    assert ("--recipe quick" in done.stderr) == long


def test_a_dry_run_of_a_run_counts_what_is_left(data, tmp_path):
    assert train("--out-dir", tmp_path, "--max-steps", 4, data=data).exit_code == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    record = json.loads(train("--out-dir", tmp_path, "--dry-run", "--json", data=data).stdout)
    assert (record["batches_done"], record["batches_left"]) == (4, 2)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert train("--out-dir", tmp_path, data=data).exit_code == 0
    over = json.loads(train("--out-dir", tmp_path, "--dry-run", "--json", data=data).stdout)
    assert (over["batches_left"], over["seconds_a_batch"]) == (0, None)


def test_a_dry_run_on_a_folder_of_files_writes_nothing(data, tmp_path):
    raw = data.parent / "raw"
    before = tree(raw)
    done = train("--out-dir", tmp_path / "run", "--dry-run", data=raw)
    assert done.exit_code == 0, done.output
    assert (tree(raw), tree(tmp_path)) == (before, [])


def test_a_dry_run_of_a_run_on_files_leaves_the_index_as_it_is(data, tmp_path):
    index = tmp_path / "index.json"
    index.write_text("{}")
    done = train("--out-dir", tmp_path, "--dry-run", data=data.parent / "raw")
    assert done.exit_code == 0, done.output
    assert index.read_text() == "{}"
    assert tree(tmp_path) == [str(index)]


def test_a_dry_run_uses_the_index_of_the_run(data, tmp_path, monkeypatch):
    raw, index = data.parent / "raw", tmp_path / "index.json"
    files = sorted(raw.rglob("*.mat"))
    entries.index_scans(raw, files, index, lambda: None, lambda text: None)
    before = index.read_bytes()

    monkeypatch.setattr(entries, "_surveyed", None)
    done = train("--out-dir", tmp_path, "--dry-run", data=raw)
    assert done.exit_code == 0, done.output
    assert (tree(tmp_path), index.read_bytes()) == ([str(index)], before)


def test_the_older_name_of_the_folder_stays(data, tmp_path):
    assert train("--out", tmp_path, "--max-steps", 1, data=data).exit_code == 0
    assert (tmp_path / "last.pt").exists()


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda path: None, "file-missing"),
        (lambda path: path.symlink_to(path.with_name("nowhere")), "file-missing"),
        (lambda path: path.symlink_to(path), "file-missing"),
        (lambda path: path.write_text("x"), "folder-needed"),
        (lambda path: path.mkdir(), "file-missing"),
        (lambda path: store(path, "no json"), "store-damaged"),
        (lambda path: store(path, '{"files": 7}'), "store-outdated"),
        (lambda path: store(path, "[" * 100_000), "store-damaged"),
        (lambda path: store(path, sealed({"files": 7})), "store-damaged"),
        (lambda path: store(path, sealed({"files": ["a.h5"]})), "store-damaged"),
        (lambda path: store(path, sealed({"files": []}).replace("[]", '["a"]')), "store-damaged"),
    ],
)
def test_data_that_cannot_be_used_are_refused(tmp_path, make, code):
    make(tmp_path / "data")
    done = train("--out-dir", tmp_path / "run", "--json", data=tmp_path / "data")
    assert json.loads(done.stdout)["error"]["code"] == code
    assert done.exit_code == 3
    assert "Traceback" not in done.stderr


def sealed(content):
    return json.dumps(seals.sealed(content))


def store(path, text):
    path.mkdir()
    (path / "fingerprint.json").write_text(text)


def test_an_epoch_that_diverges_at_its_end_is_repeated_with_half_the_rate(
    data, tmp_path, monkeypatch
):
    real, calls = loop.validate, []

    def diverging(*words):
        calls.append(words)
        if len(calls) == 2:
            raise Diverged
        return real(*words)

    monkeypatch.setattr(loop, "validate", diverging)
    done = train("--out-dir", tmp_path, "--json", data=data)
    assert done.exit_code == 0, done.output
    assert "warning: epoch 2 diverged" in done.stderr
    assert len(calls) == 3
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    rates = [one["rate"] for one in log if "rate" in one]
    assert [rate / rates[0] for rate in rates] == [1, 1, 1, 1, 1, 1, 0.5, 0.5, 0.5]


def test_without_validation_a_network_that_has_diverged_goes_back_too(data, tmp_path, monkeypatch):
    real, calls = loop.is_sound, []

    def unsound(*words):
        calls.append(words)
        return real(*words) and len(calls) != 1

    monkeypatch.setattr(loop, "is_sound", unsound)
    more = ["data.validation=0"]
    done = train("--out-dir", tmp_path, "--json", data=data, more=more)
    assert done.exit_code == 0, done.output
    assert (len(calls), json.loads(done.stdout)["validated"]) == (3, False)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [one["loss"] for one in log if "loss" in one]
    # The first epoch is repeated from the start, so its first loss is the same.
    assert losses[0] == losses[3]
    assert [one["rate"] / log[0]["rate"] for one in log if "rate" in one] == [1] * 3 + [0.5] * 6


def test_a_return_is_saved(data, tmp_path, monkeypatch):
    words = ["--out-dir", tmp_path / "run", "--json"]
    with monkeypatch.context() as patch:
        patch.setattr(loop, "is_sound", lambda network, seen, epoch, device: epoch == 0)
        patch.setattr(loop.Saves, "are_due", lambda saves: False)
        done = train(*words, data=data)
    assert done.exit_code == 5
    state = checkpoint.load(tmp_path / "run" / "last.pt")
    assert (state["returns"], state["epoch"], state["position"]) == (MOST_RETURNS, 1, 0)
    weights = checkpoint.load(tmp_path / "run" / "epoch.pt")["parts"]["network"]
    for name, value in state["parts"]["network"].items():
        assert torch.equal(value, weights[name])
    # A cause that is gone does not matter any more.
    assert train(*words, data=data).exit_code == 0


def test_a_validation_scan_that_cannot_be_read_is_left_out_and_named(data, tmp_path):
    folder = shutil.copytree(data, tmp_path / "store")
    options = ["--out-dir", tmp_path / "run", "--quiet"]
    dry = json.loads(train(*options, "--dry-run", "--json", data=folder).stdout)
    assert dry["scans"]["validation"] == 1
    training, validation = entries.split(entries.read_entries(folder), 0.15, 42)
    path = folder / validation[0]["path"]
    path.write_bytes(path.read_bytes()[:1000])
    done = train(*options, "--json", data=folder)
    assert done.exit_code == 0, done.output
    assert "are left out" in done.stderr
    assert validation[0]["path"] in done.stderr
    assert json.loads(done.stdout)["validated"] is False
    assert (tmp_path / "run" / "best.safetensors").exists()
    assert training[0]["path"] not in done.stderr


def test_images_of_a_validation_that_are_not_finite_are_a_divergence(data, tmp_path, monkeypatch):
    def validated(*words, **named):
        return replace(given_to(*words, **named), image=torch.full((1, 36, 48), math.nan))

    given_to = Batch.given_to
    monkeypatch.setattr(Batch, "given_to", validated)
    monkeypatch.setattr(loop, "take_step", lambda run, *words, **named: skipped(run))
    done = train("--out-dir", tmp_path, "--json", data=data)
    assert done.exit_code == 5
    assert json.loads(done.stdout)["error"]["code"] == "gradients-not-finite"


def skipped(run):
    run.step, run.position = run.step + 1, run.position + 1
    return {"step": run.step, "epoch": run.epoch, "windows": 1, "loss": 0.0, "gradient": 0.0}
