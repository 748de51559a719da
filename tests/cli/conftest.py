"""A small simulated scan and the program, run in this process or as its own."""

import json
import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cmrrecon.cli.app import app


class Program:
    """Runs the command line in this process.

    `records` are the JSON lines that it printed, `codes` its error codes.
    """

    def __init__(self, *words, env=None, stdin=None):
        done = CliRunner().invoke(app, [str(word) for word in words], env=env, input=stdin)
        self.code, self.out, self.err, self.exception = (
            done.exit_code,
            done.stdout,
            done.stderr,
            done.exception,
        )
        self.raw = done.stdout_bytes

    @property
    def records(self):
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def codes(self):
        return re.findall(r"^(?:\d+/\d+ )?error\[([a-z0-9-]+)\]: ", self.err, re.MULTILINE)


@pytest.fixture(scope="session")
def run():
    return Program


PROBE = """
import sys, time
from cmrrecon.cli import running
from cmrrecon.cli.app import app, main
from cmrrecon.cli.console import Console
from cmrrecon.tools.atomic import atomic

@app.command()
def probe(text: str):
    console = Console(as_json={as_json})
    with running.command(console):
        {body}

main()
"""


@pytest.fixture(scope="session")
def probe():
    """The words of a process of its own: the program with one more command, which has this body.

    It loads no PyTorch.
    """

    def words(body, text, as_json=False):
        return [sys.executable, "-c", PROBE.format(body=body, as_json=as_json), "probe", str(text)]

    return words


@pytest.fixture(scope="session")
def simulated(tmp_path_factory) -> Path:
    """Folder with a simulated cine in the official layout: 3 frames, 2 slices, 4 coils, 64 x 96."""
    folder = tmp_path_factory.mktemp("simulated")
    done = Program(
        "simulate",
        "--frames",
        3,
        "--slices",
        2,
        "--coils",
        4,
        "--size",
        "64x96",
        "--out-dir",
        folder,
        "--quiet",
    )
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
    done = Program(
        "undersample",
        full,
        "--pattern",
        "kt-gaussian",
        "-R",
        4,
        "--seed",
        7,
        "--out-dir",
        folder,
        "--quiet",
    )
    assert done.code == 0, done.err
    return folder / "cine_sax_kus_ktGaussian4.mat"
