"""A run stopped or killed anywhere continues to the same bits, with every batch logged once."""

import functools
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from cmrrecon.cli.app import app
from cmrrecon.training import checkpoint, log, loop, saving, validation

# All tests here share the same runs, made once instead of by every worker.
pytestmark = pytest.mark.xdist_group("resume")

UNET = "{features=4, dims=[4,4,4], prompt_dims=[2,2,2], prompt_lengths=[2,2,2], prompt_sizes=[4,4,4], encoder_blocks=[1,1,1], decoder_blocks=[1,1,1], skip_blocks=[1,1,1], bottleneck_blocks=1}"  # noqa: E501
VARNET = [
    "network.channels=2",
    "network.pools=1",
    "network.sensitivity_channels=2",
    "network.sensitivity_pools=1",
]
# All parts with a state: discriminator, banks of distribution alignment, weights by variation,
# running average; and all that is drawn for a sample.
FULL = [
    "data.columns=32",
    "data.whole_from=1",
    "schedule.maps=middle",
    f"network.unet={UNET}",
    f"network.sensitivity_unet={UNET}",
    "schedule.average=0.9",
    "discriminator.channels=4",
]
RUNS = {
    "genre-cmr": [*FULL, "network.cascades=1", "schedule.epochs=2"],
    "e2e-varnet": [*VARNET, "network.cascades=1", "optimiser.accumulate=2", "schedule.epochs=4"],
}
# Points where successive processes, each continuing the run, kill themselves (see dying.py).
KILLS = {
    "genre-cmr": [
        "take_step:after:1",  # nothing was ever saved
        "save:during:1",
        "synchronise:before:1:last.pt",
        "replace:before:1:last.pt",
        "replace:after:1:last.pt",
        "judge:before:1",
        "save:during:2",  # there is an older state
        "replace:before:2:last.pt",
        "update:after:2",
        "replace:before:1:log.jsonl",
        "replace:after:2:last.pt",
        "validate:after:1",
        "save_weights:before:1",  # the validation is in the log
        "save_weights:after:1",
        "replace:before:2:last.pt",  # the first follows the last step, the second ends the epoch
        "replace:before:1:epoch.pt",  # a copy of the last state
        "take_step:after:1",
    ],
    "e2e-varnet": [
        "update:before:2",
        "take_step:before:4",  # half an accumulation is in the log
        "take_step:before:5",
        "validate:after:1",
        "replace:after:1:last.pt",
    ],
}
# Points in a run that rarely saves, in the first epoch and in the second.
SELDOM = ["take_step:before:5", "take_step:before:10"]
# Steps to stop after. With the full state: at the start, inside an epoch, around its end, and
# before the last step. Otherwise: every step.
STOPS = {"genre-cmr": (1, 2, 5, 6, 7, 11), "e2e-varnet": tuple(range(1, 13))}


def words(name: str, data: Path, out: Path, *more: str) -> list[str]:
    settings = [*RUNS[name], "sampling.acs=12", "schedule.batch=1", *more]
    return [
        "train",
        "--recipe",
        name,
        "--data",
        str(data),
        "--device",
        "cpu",
        "--out",
        str(out),
        *(f"--set={text}" for text in settings),
    ]


def run(*words: str) -> None:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, done.output


def check_same_run(found: Path, expected: Path) -> None:
    """States and best weights are equal to the last bit; so are the logs, except for times."""
    check_same(checkpoint.load(found / saving.LAST), checkpoint.load(expected / saving.LAST))
    check_same(load_file(found / saving.BEST), load_file(expected / saving.BEST))
    assert log_of(found) == log_of(expected)


def check_same(a: object, b: object) -> None:
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            check_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            check_same(x, y)
    else:
        assert a == b


def log_of(folder: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (folder / saving.LOG).read_text().splitlines()]
    return [
        {
            key: value
            for key, value in line.items()
            if key not in ("seconds", "waiting", "memory_mb")
        }
        for line in lines
    ]


@pytest.fixture(scope="module")
def straight(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of an undisturbed run of a recipe."""

    @functools.cache
    def folder_of(name: str) -> Path:
        folder = tmp_path_factory.mktemp("straight") / name
        run(*words(name, data, folder))
        return folder

    return folder_of


@pytest.mark.parametrize("name", RUNS)
def test_an_undisturbed_run_has_a_complete_state_and_log(straight, name):
    state = checkpoint.load(straight(name) / saving.LAST)
    assert state["step"] == 12
    lines = log_of(straight(name))
    places = [(line["epoch"], line.get("position", 0)) for line in lines]
    assert places == sorted(set(places))
    assert len(places) == 12 * (2 if name == "e2e-varnet" else 1) + state["epoch"]
    if name == "genre-cmr":
        assert set(state["parts"]) == {
            "network",
            "average",
            "discriminator",
            "objective",
            "optimiser 0",
            "optimiser 1",
        }
        assert all(len(bank) == 4 for bank in state["parts"]["objective"]["alignment"]["banks"])
        assert all(line["sda"] > 0 for line in lines[1:] if "loss" in line)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_stopped_after_any_step_continues_to_the_same_bits(data, tmp_path, straight, name):
    for steps in STOPS[name]:
        run(*words(name, data, tmp_path / "run"), f"--max-steps={steps}")
        assert checkpoint.load(tmp_path / "run" / saving.LAST)["step"] == steps
    run(*words(name, data, tmp_path / "run"))
    check_same_run(tmp_path / "run", straight(name))


@pytest.fixture(scope="module")
def killed(
    data: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, list[str]]]:
    """Folder and command of runs whose processes killed themselves at all points."""
    folder = tmp_path_factory.mktemp("killed")
    commands = {name: words(name, data, folder / name, "schedule.save_every=0") for name in KILLS}
    commands["seldom"] = words("e2e-varnet", data, folder / "seldom", "schedule.save_every=1000")
    points = {**KILLS, "seldom": SELDOM}
    jobs = json.dumps([(points[name], command) for name, command in commands.items()])
    program = [sys.executable, str(Path(__file__).with_name("dying.py")), jobs]
    done = subprocess.run(
        program,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    for (name, ends), line in zip(points.items(), done.stdout.splitlines(), strict=True):
        assert json.loads(line) == [-signal.SIGKILL] * len(ends), (name, done.stderr)
    return {name: (folder / name, command) for name, command in commands.items()}


@pytest.mark.parametrize("name", KILLS)
def test_a_killed_run_continues_to_the_same_bits(killed, straight, name):
    folder, command = killed[name]
    run(*command)
    check_same_run(folder, straight(name))


def test_a_run_that_rarely_saves_repeats_unsaved_steps(killed, straight):
    folder, command = killed["seldom"]
    assert checkpoint.load(folder / saving.LAST)["step"] == 3
    assert len(log_of(folder)) == 6 + 1 + 3
    run(*command)
    check_same_run(folder, straight("e2e-varnet"))


@pytest.mark.parametrize(
    ("number", "room", "where", "position"),
    [
        (signal.SIGINT, loop, "take_step", 2),
        (signal.SIGTERM, loop, "take_step", 2),
        (signal.SIGUSR1, loop, "take_step", 2),
        (signal.SIGTERM, validation, "score", 6),
    ],
)
def test_a_run_asked_to_stop_saves_its_state(
    data, tmp_path, straight, monkeypatch, number, room, where, position
):
    calls, function = itertools.count(1), getattr(room, where)

    def asked(*arguments: Any, **named: Any) -> Any:
        if next(calls) == 2:
            os.kill(os.getpid(), number)
        return function(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(room, where, asked)
        done = CliRunner().invoke(app, [*words("e2e-varnet", data, tmp_path / "run"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["status"] == "stopped"
    assert "stopped after step" in done.stderr
    state = checkpoint.load(tmp_path / "run" / saving.LAST)
    assert (state["epoch"], state["position"]) == (0, position)
    run(*words("e2e-varnet", data, tmp_path / "run"))
    check_same_run(tmp_path / "run", straight("e2e-varnet"))


def test_a_process_ends_by_itself_on_sigterm(data, tmp_path):
    program = [
        sys.executable,
        "-m",
        "cmrrecon",
        *words("e2e-varnet", data, tmp_path / "run", "schedule.epochs=5000"),
        "--json",
    ]
    running = subprocess.Popen(
        program, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    while running.poll() is None and not (tmp_path / "run" / saving.LOG).exists():
        time.sleep(0.05)
    running.terminate()
    out, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    assert json.loads(out)["status"] == "stopped"


def test_a_run_without_better_validation_ends_for_good(data, tmp_path):
    command = [
        *words("e2e-varnet", data, tmp_path / "run", "schedule.patience=1", "optimiser.lr=1e-12"),
        "--json",
    ]
    for _ in range(2):
        done = CliRunner().invoke(app, command)
        record = json.loads(done.stdout)
        assert (record["status"], record["epochs"]) == ("done", 2)


def test_an_incomplete_line_of_a_killed_run_is_removed(tmp_path):
    path = tmp_path / "log.jsonl"
    lines = [
        '{"epoch": 0, "position": 1}',
        '{"epoch": 0, "position": 2}',
        '{"validation": {}, "epoch": 1}',
        '{"epoch": 1, "position": 1}',
    ]
    path.write_text("\n".join([*lines, '{"epoch": 1, "pos']))
    for place, kept in [((1, 1), 4), ((1, 0), 3), ((0, 2), 2), ((0, 1), 1)]:
        log.forget_later(path, *place)
        assert path.read_text().splitlines() == lines[:kept]
