"""Run the commands of the tutorials in order, with small scans and networks."""

import glob
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_networks import SMALL
from typer.testing import CliRunner

from cmrrecon.cli.app import app
from cmrrecon.networks.catalog import build

ROOT = Path(__file__).parents[1]
TUTORIALS = ROOT / "docs" / "tutorials"
FENCE = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Options that make a run slow, with their replacements.
SMALLER = (
    (r"--size \d+x\d+", "--size 48x64"),
    (r"--frames \d+", "--frames 3"),
    (r"--coils \d+", "--coils 3"),
    (r"--kind t1map", "--kind t1map --frames 4"),
    (r"schedule\.epochs=\d+", "schedule.epochs=1"),
    (r"network\.channels=\d+", "network.channels=2"),
    (r"--recipe quick", "--recipe quick --max-steps 1 --set network.channels=8"),
)
LOOP = re.compile(r"for (\w+) in ([\w ]+); do\n(.*)\ndone", re.DOTALL)
WITH_SHELL = re.compile(r"[|>$;&]|^while |^for ")


def commands(name: str) -> list[str]:
    """Find the commands of a tutorial; backslashes and loops continue on the next line."""
    found: list[str] = []
    for block in FENCE.findall((TUTORIALS / f"{name}.md").read_text()):
        waiting: list[str] = []
        for line in block.rstrip("\n").split("\n"):
            waiting.append(line)
            whole = "\n".join(waiting)
            loops = len(re.findall(r"\bdo$", whole, re.MULTILINE))
            if not line.endswith("\\") and loops == len(re.findall(r"^done", whole, re.MULTILINE)):
                found.append(whole.replace("\\\n", " "))
                waiting = []
        assert not waiting, f"{waiting} is incomplete"
    return found


def smaller(command: str) -> str:
    for pattern, instead in SMALLER:
        command = re.sub(pattern, instead, command)
    return command


def expanded(words: list[str], command: str) -> list[str]:
    """Replace unquoted patterns with the matching file names, as a shell does."""
    return [
        name
        for word in words
        for name in (glob.glob(word) if "*" in word and f"'{word}'" not in command else [word])
    ]


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """Return a function that runs `cmrrecon` in this process, and other commands in bash."""
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "cmrrecon"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cmrrecon "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def run(command: str) -> None:
        loop = LOOP.fullmatch(command)
        if loop:
            variable, values, body = loop.groups()
            for value in values.split():
                for line in body.split("\n"):
                    run(line.strip().replace(f"${variable}", value))
            return

        words = shlex.split(command)
        if words[0] == "cd":
            monkeypatch.chdir(words[1])
        elif words[0] == "cmrrecon" and not WITH_SHELL.search(command):
            done = CliRunner().invoke(app, expanded(words[1:], command))
            assert done.exit_code == 0, f"{command}\n{done.stderr}"
        else:
            whole = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", command], capture_output=True, text=True
            )
            assert whole.returncode == 0, f"{command}\n{whole.stderr}"

    return run


@pytest.fixture
def downloaded(shell):
    """A file with the name and layout of a published one, and a small network."""
    network = build("promptmr", SMALL["promptmr"])
    state = {f"promptmr.{key}": value for key, value in network.state_dict().items()}
    content = {"state_dict": state, "hyper_parameters": {"num_cascades": 2}}
    torch.save(content, "promptmr-epoch=11-step=258576.ckpt")

    release = ROOT / "tests" / "golden" / "vsharp" / "tiny_release"
    shutil.copy(release / "uniform_vsharp.pt", "uniform_vsharp.pt")
    # The small configuration says nothing about k-space.
    described = "\nvalidation:\n  dataset:\n    transforms:\n      scale_percentile: 0.995\n"
    Path("uniform_cardiac.yaml").write_text(
        (release / "uniform_cardiac.yaml").read_text() + described
    )


@pytest.mark.usefixtures("downloaded")
@pytest.mark.parametrize(
    ("name", "leaves"),
    [
        ("first-reconstruction", ["comparison.png", "cine.gif", "varied_uncertainty.h5"]),
        ("challenge", ["scores.jsonl", "submission/**/T1map_kus_ktGaussian8.mat"]),
        (
            "train-your-own",
            ["quick.h5", "runs/small/best.safetensors", "comparison.png"],
        ),
        (
            "run-a-published-network",
            [
                "promptmr.safetensors",
                "vsharp.safetensors",
                "vsharp-preset.safetensors",
                "rec/**/*.h5",
            ],
        ),
        (
            "hand-in-results",
            [
                *("rec/report.html", "study.html", "nifti/**/*.nii.gz", "dicom/**/*.dcm/*"),
                *("maps/**/T1map*_T1.png", "Submission.zip"),
            ],
        ),
    ],
)
def test_tutorials_run(shell, name, leaves):
    for command in commands(name):
        shell(smaller(command))
    for pattern in leaves:
        assert glob.glob(pattern, recursive=True), pattern


def test_cluster_commands_are_valid_shell_and_name_existing_files():
    text = (TUTORIALS / "cluster.md").read_text()
    for command in commands("cluster"):
        done = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    named = set(re.findall(r"\b[a-z]+\.(?:sbatch|sh)\b", text))
    assert named
    assert {name for name in named if not (ROOT / "examples" / "slurm" / name).is_file()} == set()


def test_options_to_replace_are_still_in_the_tutorials():
    text = "".join(path.read_text() for path in TUTORIALS.glob("*.md"))
    assert not [pattern for pattern, _ in SMALLER if not re.search(pattern, text)]
