"""Signals leave old or new outputs, and workers end with the main process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BODY = """
        with atomic(text) as temporary:
            temporary.write_text("half")
            print("ready", flush=True)
            time.sleep(30)
"""
PARENT = """
import sys
from functools import partial
from pathlib import Path
import worker_jobs
from cmrrecon.cli.console import Console
from cmrrecon.cli.inputs import Job
from cmrrecon.cli.workers import run_in_parallel

if __name__ == "__main__":
    names = ["stuck_0", "stuck_1"]
    run_in_parallel(
        [Job(name, Path(name), Path()) for name in names],
        partial(worker_jobs.begin, Path(sys.argv[1])),
        2,
        Console(),
        cost=lambda job: 1.0,
        memory=lambda job: 0,
    )
"""


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP, signal.SIGINT])
def test_every_signal_ends_with_130_and_leaves_the_old_output(probe, tmp_path, number):
    target = tmp_path / "a.txt"
    target.write_text("old")
    process = subprocess.Popen(
        probe(BODY, target), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err.startswith("warning")
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_nohup_keeps_its_meaning(probe, tmp_path):
    body = """
        import signal
        print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)
"""
    done = subprocess.run(
        ["nohup", *probe(body, tmp_path / "a")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"


def test_workers_end_with_a_killed_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    tests = Path(__file__).parents[1]
    path = os.pathsep.join([str(tests), *sys.path])
    parent = subprocess.Popen(
        [sys.executable, script, tmp_path], env={**os.environ, "PYTHONPATH": path}
    )
    end = time.monotonic() + 60
    while len(found := list(tmp_path.glob("stuck_*"))) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    workers = [int(path.name.partition("-")[2]) for path in found]
    assert len(workers) == 2
    parent.kill()
    parent.wait()
    while any(map(alive, workers)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(alive, workers))


def alive(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
