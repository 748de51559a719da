"""Progress over several inputs: the number of each line, and the time left in total."""

import os
import pty
import re
import subprocess
import sys
import time

import pytest

from cmrrecon.cli.console import Console
from cmrrecon.cli.display import time_left
from cmrrecon.cli.progress import Batch

# What a command does with three inputs, one of them twice as costly. Every step waits until the
# display has shown it.
SCRIPT = """
import sys, time
from pathlib import Path
from cmrrecon.cli import display, running
from cmrrecon.cli.console import Console
from cmrrecon.cli.inputs import Job

class Recorded:
    def __init__(self, stream):
        self.stream, self.text = stream, ""
    def write(self, text):
        self.text += text
        return self.stream.write(text)
    def __getattr__(self, name):
        return getattr(self.stream, name)

display.HEARTBEAT_SECONDS = 0.05
sys.stderr = Recorded(sys.stderr)
console = Console()

def show(text):
    for _ in range(6000):
        if text in sys.stderr.text:
            return
        time.sleep(0.01)
    raise TimeoutError(text)

def work(job):
    with console.progress(job.name, 2, "slice") as steps:
        for i in (1, 2):
            steps.advance()
            show(f"{job.name}, slice {i}/2")
    console.say(f"{job.name}: done")
    console.result({"status": "done"}, f"{job.name}.h5")

jobs = [Job(name, Path(name), Path()) for name in ("a", "b", "c")]
running.run_jobs(jobs, work, console, cost=lambda job: 2.0 if job.name == "c" else 1.0)
"""


class Clock:
    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr("cmrrecon.cli.progress.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_the_time_left_follows_the_costs(clock):
    with Batch(Console(quiet=True), ["a", "b", "c"], [1, 1, 4]) as batch:
        batch.begin(0)
        assert batch.seconds_left() is None
        clock.now = 10
        batch.end(0, worked=True)
        assert batch.seconds_left() == pytest.approx(50)
        batch.begin(1)
        clock.now = 15
        batch.reached(1, 0.5, "slice 1/2", 0.0)
        assert batch.seconds_left() == pytest.approx(45)
        batch.end(1, worked=True)
        batch.end(2, worked=True)
        assert batch.seconds_left() == 0


def test_skipped_inputs_and_slices_of_earlier_runs_say_nothing_of_the_pace(clock):
    with Batch(Console(quiet=True), ["a", "b", "c"], [5, 4, 2]) as batch:
        batch.end(0, worked=False)
        assert batch.seconds_left() is None
        batch.begin(1)
        batch.reached(1, 0.5, "slice 1/2", 0.5)
        assert batch.seconds_left() is None
        clock.now = 10
        batch.reached(1, 0.75, "slice 2/2", 0.0)
        assert batch.seconds_left() == pytest.approx(30)


def test_time_left_in_words():
    assert time_left(125) == "2:05 left"
    assert time_left(3725) == "1:02:05 left"
    assert time_left(125.4, short=False) == "125 s left"
    assert time_left(3000, short=False) == "50 min left"
    assert time_left(90_000, short=False) == "25 h left"
    assert time_left(None) == "time left unknown"


def test_a_log_shows_the_number_of_the_input_and_the_time_left():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["a.h5", "b.h5", "c.h5"]
    lines = done.stderr.splitlines()
    assert [line for line in lines if line.endswith("done")] == [
        "1/3 a: done",
        "2/3 b: done",
        "3/3 c: done",
    ]
    beats = [line for line in lines if not line.endswith("done")]
    assert all(re.match(r"[123]/3 [abc]", line) for line in beats)
    for i, name in enumerate("abc", 1):
        step = rf"^{i}/3 {name}, slice 1/2, \d+ s so far, \d+ s left in total, peak memory"
        assert any(re.match(step, line) for line in beats)


def on_a_terminal(words, stdout=None, seconds=120):
    """What a program shows on a terminal of 100 columns: stderr, and stdout if it is not given."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        words,
        stdin=follower,
        stdout=follower if stdout is None else stdout,
        stderr=follower,
        env={**os.environ, "COLUMNS": "100", "TERM": "xterm"},
    )
    os.close(follower)
    shown, ends = b"", time.monotonic() + seconds
    while time.monotonic() < ends:
        try:
            piece = os.read(leader, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(leader)
    assert process.wait(10) == 0, shown
    return shown.decode()


def test_a_terminal_shows_one_bar_over_all_inputs(tmp_path):
    shown = on_a_terminal([sys.executable, "-c", SCRIPT])
    assert "slice 1/2" in shown
    assert re.search(r"2/3 b.*left in total", shown)
    # Results are whole lines of their own.
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert {"a.h5", "b.h5", "c.h5"} <= {line.strip("\r") for line in plain.split("\n")}


def test_results_go_to_stdout_while_a_bar_is_on_the_terminal(tmp_path):
    with open(tmp_path / "out.txt", "wb") as out:
        shown = on_a_terminal([sys.executable, "-c", SCRIPT], stdout=out)
    assert (tmp_path / "out.txt").read_text() == "a.h5\nb.h5\nc.h5\n"
    assert ".h5" not in shown
