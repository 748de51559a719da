"""A small simulated scan and the program, run in this process or as its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cmrrecon.cli.app import app


class Program:
    """Runs the command line; `records` are the JSON lines it printed."""

    def __init__(self, *words, env=None):
        done = CliRunner().invoke(app, [str(word) for word in words], env=env)
        self.code, self.out, self.err, self.exception = done.exit_code, done.stdout, done.stderr, done.exception

    @property
    def records(self):
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture(scope="session")
def run():
    return Program


@pytest.fixture(scope="session")
def spawn():
    """Runs the program as its own process: (words, input bytes, env) -> CompletedProcess with bytes."""

    def call(*words, input=None, env=None, cwd=None):
        command = [sys.executable, "-m", "cmrrecon", *map(str, words)]
        return subprocess.run(command, input=input, capture_output=True, env={**os.environ, **(env or {})}, cwd=cwd, timeout=120)

    return call


@pytest.fixture(scope="session")
def simulated(tmp_path_factory) -> Path:
    """Folder with one simulated cine scan in the official layout: 3 frames, 2 slices, 4 coils, 64 x 96."""
    folder = tmp_path_factory.mktemp("simulated")
    done = Program("simulate", "--frames", 3, "--slices", 2, "--coils", 4, "--size", "64x96", "--out-dir", folder, "--quiet")
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="session")
def full(simulated) -> Path:
    return next(simulated.rglob("cine_sax.mat"))


@pytest.fixture(scope="session")
def truth(simulated) -> Path:
    return next(simulated.rglob("cine_sax_truth.npz"))


@pytest.fixture(scope="session")
def undersampled(full, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undersampled")
    done = Program("undersample", full, "--pattern", "kt-gaussian", "-R", 4, "--seed", 7, "--out-dir", folder, "--quiet")
    assert done.code == 0, done.err
    return folder / "cine_sax_kus_ktGaussian4.mat"
