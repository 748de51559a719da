"""Check that every script of the gallery runs and makes a figure."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

GALLERY = Path(__file__).parents[1] / "examples" / "gallery"
SCRIPTS = sorted(GALLERY.glob("*.py"))
# Runs a script and counts its figures, which the site shows.
COUNT = """
import runpy, sys
import matplotlib.pyplot as plt
runpy.run_path(sys.argv[1])
print("figures:", len(plt.get_fignums()))
"""


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_run_and_make_pictures(path, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", COUNT, path],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={
            **os.environ,
            "MPLBACKEND": "Agg",
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(tmp_path),
            "PYTHONPATH": str(GALLERY.parents[1]),
        },
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.rsplit("figures:", 1)[1]) >= 1


def test_there_are_scripts():
    assert len(SCRIPTS) >= 6
