"""Help and completion: examples to copy, nothing cut off, and names without loading PyTorch."""

import os
import subprocess
import sys

import pytest

from cmrrecon.cli import completion
from cmrrecon.cli.help import WIDTH, examples
from cmrrecon.methods.registry import METHODS
from cmrrecon.networks.checkpoints import weights
from cmrrecon.sampling.make import PATTERNS

NARROW = {"COLUMNS": "80", "TERMINAL_WIDTH": "80"}
COMMANDS = ["reconstruct", "undersample", "preprocess"]


def test_long_examples_are_continued_as_in_a_shell():
    long = "cmrrecon reconstruct " + " ".join(f"scan_number_{i}.mat" for i in range(9))
    head, short, first = examples("cmrrecon info a.mat", long).split("\n\n")
    assert (head, short) == ("Examples:", "cmrrecon info a.mat")
    rows = first.split("\n")
    assert len(rows) > 1
    assert all(len(row) <= WIDTH for row in rows)
    assert all(row.endswith(" \\") for row in rows[:-1])
    assert "".join(row.removesuffix("\\") for row in rows) == long


def test_square_brackets_are_no_markup():
    assert r"\[1-8]" in examples("bsub -J 'a[1-8]' cmrrecon info a.mat")


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_cut_off_in_a_narrow_terminal(run, command):
    text = run(command, "-h", env=NARROW).out
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    lines = [line.strip() for line in text.partition("Examples:")[2].splitlines()]
    shown = [line for line in lines if line]
    assert len(shown) >= 2
    assert all(line.startswith("cmrrecon ") for line in shown)


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_are_commands_that_are_understood(run, command):
    """The options of every example exist."""
    text = run(command, "-h", env=NARROW).out
    for line in text.partition("Examples:")[2].splitlines():
        for part in line.partition("#")[0].split("|"):
            words = part.split()[1:]
            done = run(*words, "--help") if words else None
            assert done is None or done.code == 0, done.err


def test_completed_names_are_those_of_the_registries():
    assert tuple(METHODS) == completion.METHODS
    assert tuple(PATTERNS) == completion.PATTERNS
    shipped = [path.stem for path in weights.installed()]
    assert set(completion.methods("")) == {*METHODS, *shipped}
    assert completion.methods("temporal") == ["temporal-tv", "temporal-fourier"]
    assert completion.patterns("kt-r") == ["kt-radial"]


def test_the_shell_completes_methods_without_heavy_libraries():
    code = (
        "import sys\n"
        "from cmrrecon.cli.app import app\n"
        "try:\n"
        "    app(prog_name='cmrrecon')\n"
        "finally:\n"
        "    heavy = {'torch', 'numpy', 'h5py'} & set(sys.modules)\n"
        "    print('HEAVY', sorted(heavy), file=sys.stderr)\n"
    )
    asked = {"_CMRRECON_COMPLETE": "complete_bash", "COMP_CWORD": "3"}
    asked["COMP_WORDS"] = "cmrrecon reconstruct --method temporal"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **asked}
    )
    assert done.stdout.split() == ["temporal-tv", "temporal-fourier"]
    assert "HEAVY []" in done.stderr
