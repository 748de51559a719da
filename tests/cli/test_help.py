"""Help at 80 columns, examples that can be copied, completion, and how light all of it is."""

import re
import subprocess
import sys

import pytest
import typer

from cmrrecon.cli import (
    choices,
    compare,
    doctor,
    evaluate,
    fit,
    info,
    models,
    preprocess,
    readers,
    reconstruct,
    simulate,
    submit,
    train,
    undersample,
)
from cmrrecon.cli.app import app
from cmrrecon.cli.help import WIDTH, examples
from cmrrecon.evaluation.parametric_map import SUFFIXES
from cmrrecon.evaluation.protocols import PROTOCOLS
from cmrrecon.methods.registry import METHODS
from cmrrecon.networks.checkpoints import weights
from cmrrecon.relaxometry.models import MODELS
from cmrrecon.sampling import PATTERNS
from cmrrecon.simulation.scans import KINDS
from cmrrecon.training import recipe

NARROW = {"COLUMNS": "80", "TERMINAL_WIDTH": "80"}
HEAVY = {"torch", "sigpy", "matplotlib", "h5py", "numpy", "scipy", "safetensors", "rich"}


def commands(command, words=()):
    """All commands with the words that call them, groups among them."""
    yield words, command
    for name, part in getattr(command, "commands", {}).items():
        yield from commands(part, (*words, name))


COMMANDS = list(commands(typer.main.get_command(app)))


@pytest.mark.parametrize(("words", "command"), COMMANDS, ids=lambda v: None)
def test_help_names_every_option_whole_at_80_columns(run, words, command):
    done = run(*words, "--help", env=NARROW)
    assert done.code == 0, done.err
    flags = [flag for one in command.params for flag in (*one.opts, *one.secondary_opts)]
    for flag in (flag for flag in flags if flag.startswith("-")):
        assert re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", done.out), flag
    assert "…" not in done.out
    examples_at = done.out.find("Examples:")
    lines = done.out[: None if examples_at < 0 else examples_at].splitlines()
    assert max(map(len, lines)) <= 80


def test_the_list_of_commands_is_not_cut_off(run):
    assert "..." not in run("--help", env=NARROW).out.replace("[ARGS]...", "")


MODULES = [
    compare,
    doctor,
    evaluate,
    fit,
    info,
    models,
    preprocess,
    readers,
    reconstruct,
    simulate,
    submit,
    train,
    undersample,
]


@pytest.mark.parametrize("module", MODULES)
def test_examples_stand_one_a_line(run, module):
    name = module.__name__.rpartition(".")[2]
    shown = run(name, "--help", env=NARROW).out
    lines = [line.strip() for line in module.EXAMPLE.splitlines()[2:]]
    assert lines
    for before, line in zip(["", *lines], lines, strict=False):
        assert line.startswith("cmrrecon ") or before.endswith(" \\")
        assert f"\n    {line}\n" in shown


@pytest.mark.parametrize("module", MODULES)
def test_examples_are_commands_that_are_understood(run, module):
    """The options of every example exist."""
    text = "\n".join(module.EXAMPLE.splitlines()[2:]).replace("\\\n", "")
    for line in text.splitlines():
        for part in line.partition("  #")[0].split("|"):
            program, *words = part.partition(">")[0].split()
            if program != "cmrrecon":  # such as jq
                continue
            done = run(*words, "--help")
            assert done.code == 0, done.err


def test_long_examples_are_continued_as_in_a_shell():
    long = "cmrrecon reconstruct " + " ".join(f"scan_number_{i}.mat" for i in range(9))
    rows = examples("cmrrecon info a.mat", long).split("\n")[3:]
    assert len(rows) > 1
    assert all(len(row) <= WIDTH + 2 for row in rows)
    assert all(row.endswith(" \\") for row in rows[:-1])
    assert "".join(row.removeprefix("  ").removesuffix("\\") for row in rows) == long


def test_examples_keep_their_lines():
    assert examples("cmrrecon a", "cmrrecon b").endswith("\n  cmrrecon a\n  cmrrecon b")


def test_names_for_completion_are_those_of_the_registries():
    assert tuple(METHODS) == choices.METHODS
    assert tuple(PATTERNS) == choices.PATTERNS
    assert tuple(PROTOCOLS) == choices.PROTOCOLS
    assert tuple(KINDS) == choices.KINDS
    assert tuple(MODELS) == choices.MODELS
    assert tuple(suffix[1:] for suffix in SUFFIXES) == choices.MAP_FORMATS
    assert recipe.names() == choices.recipes()
    assert [path.stem for path in weights.installed()] == choices.installed_weights()
    for facts in choices.recipe_facts():
        loaded = recipe.load(facts.name)
        assert (loaded.network["name"], loaded.paper) == (facts.network, facts.paper)


def completed(line):
    """What the shell is offered for the last word of a line, and the heavy libraries loaded."""
    code = (
        "import os, sys\n"
        f"os.environ.update(_CMRRECON_COMPLETE='complete_bash', COMP_WORDS={line!r},"
        f" COMP_CWORD='{len(line.split(' ')) - 1}')\n"
        "sys.argv = ['cmrrecon']\n"
        "from cmrrecon.cli.app import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        f"    print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return done.stdout.split(), done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("cmrrecon rec", ["reconstruct"]),
        ("cmrrecon reconstruct --method kt-", ["kt-wavelet", "kt-unrolled"]),
        ("cmrrecon train --recipe genre", ["genre-cmr", "genre-cmr-paper"]),
        ("cmrrecon undersample --pattern kt-g", ["kt-gaussian"]),
        (
            "cmrrecon evaluate --protocol cmrxrecon202",
            ["cmrxrecon2023", "cmrxrecon2024", "cmrxrecon2025"],
        ),
        ("cmrrecon simulate --kind t", ["t1map", "t2map"]),
        ("cmrrecon train --max-s", ["--max-steps"]),
    ],
)
def test_the_shell_is_offered_names(line, offered):
    assert completed(line) == (offered, "[]")


def test_methods_are_completed_in_a_list():
    assert choices.complete_methods("sense,kt-w") == ["sense,kt-wavelet"]


def test_the_list_of_models_loads_no_torch():
    code = (
        "import sys\n"
        "from cmrrecon.cli.app import main\n"
        "sys.argv = ['cmrrecon', 'models']\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        f"    print(sorted({HEAVY - {'rich'}!r} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"
