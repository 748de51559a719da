"""What the shell offers."""

import os
import subprocess
import sys

from cmrrecon.cli import choices
from cmrrecon.cli.comparison_settings import complete_scored
from cmrrecon.evaluation.protocols import PROTOCOLS, SERIES_PROTOCOLS


def test_the_protocols_are_those_of_the_program():
    assert choices.PROTOCOLS == PROTOCOLS
    assert complete_scored("") == list(SERIES_PROTOCOLS)


def test_completion_loads_nothing_heavy():
    code = (
        "import sys; import cmrrecon.cli.app; "
        "heavy = {'torch', 'numpy', 'scipy', 'matplotlib'} & set(sys.modules); sys.exit(len(heavy))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_shell_is_offered_the_names():
    code = "import sys; from cmrrecon.cli.app import app; sys.argv = ['x']; app(prog_name='x')"
    for words, expected in (
        ("x evaluate --protocol b", ["body"]),
        ("x compare --method sense,zero", ["sense,zero-filled"]),
        ("x compare --protocol ", ["fullfov", "body"]),
        ("x evaluate --format c", ["csv"]),
    ):
        asked = {"COMP_WORDS": words, "COMP_CWORD": "3", "_X_COMPLETE": "complete_bash"}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | asked)
        assert done.stdout.split() == expected
