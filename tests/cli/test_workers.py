"""Scans side by side: same results, failures one by one, no process left behind."""

import re
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import typer
from worker_jobs import begin, refuse, wait_for

from cmrrecon import formats
from cmrrecon.cli import workers
from cmrrecon.cli.console import Console
from cmrrecon.cli.inputs import Job
from cmrrecon.cli.workers import memory_of, run_in_parallel


@pytest.fixture
def tree(full, tmp_path):
    """Three scans in a tree, one of them damaged."""
    for i in range(3):
        (tmp_path / f"tree/P00{i}").mkdir(parents=True)
        shutil.copy(full, tmp_path / f"tree/P00{i}")
    (tmp_path / "tree/P001/cine_sax.mat").write_bytes(b"not a scan")
    return tmp_path / "tree"


def untimed(text):
    return re.sub(r"\d+\.\d s", "TIME", text)


def test_workers_make_and_print_what_one_process_does(run, tree, tmp_path):
    words = ("reconstruct", tree, "-m", "llr", "--set", "iterations=1", "--out-dir")
    serial = run(*words, tmp_path / "one")
    side = run(*words, tmp_path / "two", "--workers", 2)
    assert (serial.code, side.code) == (1, 1)
    assert side.out.replace(str(tmp_path / "two"), str(tmp_path / "one")) == serial.out
    assert untimed(side.err) == untimed(serial.err)
    assert side.codes == ["file-format"]
    found = sorted(tmp_path.glob("two/*/*.h5"))
    assert len(found) == 2
    for path in found:
        expected = formats.read_images(tmp_path / "one" / path.relative_to(tmp_path / "two"))
        np.testing.assert_array_equal(formats.read_images(path).numpy(), expected.numpy())


def test_undersampling_side_by_side(run, tree, tmp_path):
    words = ("undersample", tree, "-R", 4, "--json", "--out-dir", tmp_path / "u")
    side = run(*words, "--workers", 2)
    assert [record["status"] for record in side.records] == ["done", "failed", "done"]
    again = run(*words)
    assert [record["status"] for record in again.records] == ["skipped", "failed", "skipped"]


def side_by_side(names, folder, *, start=None, memory=lambda job: 0, fail_fast=False):
    jobs = [Job(name, Path(name), Path()) for name in names]
    try:
        run_in_parallel(
            jobs,
            start or partial(begin, folder),
            2,
            Console(),
            fail_fast=fail_fast,
            cost=lambda job: 1.0,
            memory=memory,
        )
    except typer.Exit as end:
        return end.exit_code
    return 0


def test_results_come_in_the_order_of_the_inputs_and_failures_one_by_one(tmp_path, capfd):
    names = ["slow", "a", "fail", "die", "fault", "exit", "b"]
    assert side_by_side(names, tmp_path) == 1
    shown = capfd.readouterr()
    assert shown.out.split() == ["slow", "a", "b"]
    errors = re.findall(r"^error\[([a-z-]+)\]: (\d)/7 ", shown.err, re.MULTILINE)
    assert errors == [("file-empty", "3"), ("memory-shortage", "4"), ("fault", "5"), ("fault", "6")]
    assert "ZeroDivisionError" in shown.err
    assert "warning: 1/7 warned of slow" in shown.err


def test_a_worker_terminated_from_outside_fails_its_input_alone(tmp_path, capfd):
    assert side_by_side(["a", "terminated", "unready", "b", "c"], tmp_path) == 1
    shown = capfd.readouterr()
    assert shown.out.split() == ["a", "b", "c"]
    errors = re.findall(r"^error\[([a-z-]+)\]: (\d)/5 ", shown.err, re.MULTILINE)
    assert errors == [("worker-terminated", "2"), ("worker-terminated", "3")]
    assert "warning: 2/5 warned of terminated" in shown.err


def test_finished_jobs_are_reported_after_the_first_failure(tmp_path, capfd):
    # The first job fails while the last one runs.
    names = ["last", "a", "fail", "b", "stuck"]
    assert side_by_side(names, tmp_path, fail_fast=True) == 1
    shown = capfd.readouterr()
    assert shown.out.split() == ["a", "b"]
    errors = re.findall(r"^error\[([a-z-]+)\]: (\d)/5 ", shown.err, re.MULTILINE)
    assert errors == [("file-empty", "1"), ("file-empty", "3")]
    assert "warning: 4/5 warned of b" in shown.err
    assert "last, fail" in shown.err.splitlines()[-1]


def test_finished_jobs_are_reported_when_interrupted(tmp_path, capfd):
    def memory(job):
        if job.stem == "c":
            raise KeyboardInterrupt
        return 0

    with pytest.raises(KeyboardInterrupt):
        side_by_side(["stuck", "a", "b", "c"], tmp_path, memory=memory)
    shown = capfd.readouterr()
    assert shown.out.split() == ["a", "b"]
    assert "warning: 3/4 warned of b" in shown.err


def test_a_start_that_fails_is_reported_for_every_input(tmp_path, capfd):
    assert side_by_side(["a", "b"], tmp_path, start=refuse) == 1
    assert capfd.readouterr().err.count("error[unknown-method]") == 2


def processes(folder):
    return {path.name.rpartition("-")[2] for path in folder.iterdir()}


def test_no_more_run_at_once_than_memory_holds(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(workers, "available_memory", lambda: 3 * workers.LIBRARIES)
    names = ["a", "b", "c"]
    small, large = tmp_path / "small", tmp_path / "large"
    small.mkdir()
    large.mkdir()
    assert side_by_side(names, large, memory=lambda job: workers.LIBRARIES) == 0
    assert len(processes(large)) == 1
    assert "1.5 GB" in capfd.readouterr().err
    assert side_by_side(names, small) == 0
    assert len(processes(small)) == 2
    assert "GB" not in capfd.readouterr().err


def test_a_failed_prediction_of_memory_fails_no_input(tmp_path, capfd):
    def memory(job):
        return 1 // (job.stem != "c")

    assert side_by_side(["a", "b", "c", "d"], tmp_path, memory=memory) == 0
    assert capfd.readouterr().out.split() == ["a", "b", "c", "d"]


def test_memory_follows_the_size_of_a_series_and_the_format(full, tmp_path):
    series = 8 * 3 * 4 * 64 * 96
    job = Job(str(full), full, Path())
    assert memory_of(job, axes=None, dataset=None) == workers.SERIES_FACTOR * series
    np.savez(tmp_path / "a.npz", kspace=np.ones((3, 2, 4, 64, 96), np.complex64))
    whole = Job("a.npz", tmp_path / "a.npz", Path())
    assert memory_of(whole, axes=None, dataset=None) == (workers.SERIES_FACTOR + 2) * series


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def children(pid):
    found = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in found.read_text().split()]


# The program, which stops after one slice of every scan but the first.
STUCK = """
import sys, time
from cmrrecon.cli import reconstruct_job
from cmrrecon.cli.app import main

def begin(plan, plain=reconstruct_job.begin):
    from cmrrecon.reconstruction.resume import OnDisk
    save = OnDisk.save
    def save_and_wait(self, *given):
        save(self, *given)
        if self.images.folder.parent.name != "P000":
            time.sleep(1000)
    OnDisk.save = save_and_wait
    return plain(plan)

if __name__ == "__main__":
    from cmrrecon.cli import reconstruct
    reconstruct.begin = begin
    main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_a_stopped_command_leaves_no_process_and_goes_on_later(run, full, tmp_path, name):
    for i in range(3):
        (tmp_path / f"tree/P00{i}").mkdir(parents=True)
        shutil.copy(full, tmp_path / f"tree/P00{i}")
    (tmp_path / "stuck.py").write_text(STUCK)
    words = ["reconstruct", str(tmp_path / "tree"), "-m", "zero-filled"]
    words += ["--out-dir", str(tmp_path / "rec")]
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "stuck.py"), *words, "--workers", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    # The first scan is done, and the two others have a slice.
    wait_for(lambda: len(list(tmp_path.glob("rec/P00[12]/.*.parts/*.npy"))) == 2)
    started = children(process.pid)
    assert len(started) >= 2
    process.send_signal(getattr(signal, name))
    _, said = process.communicate(timeout=60)

    assert process.returncode == (-signal.SIGKILL if name == "SIGKILL" else 130), said
    wait_for(lambda: not any(map(alive, started)), 30)
    assert name == "SIGKILL" or "warning: " in said
    assert not list(tmp_path.rglob("*.tmp-*"))
    assert [path.parent.name for path in tmp_path.glob("rec/*/*.h5")] == ["P000"]

    again = run(*words, "--json")
    assert [record["status"] for record in again.records] == ["skipped", "done", "done"]
    assert again.err.count("1 of 2 slices") == 2
    assert not list(tmp_path.rglob("*.parts"))


def test_workers_on_a_gpu_are_one(run, undersampled, full, tmp_path, monkeypatch):
    import torch

    seen = []
    monkeypatch.setattr("cmrrecon.tools.devices.choose_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(
        "cmrrecon.cli.reconstruct.run_in_parallel",
        lambda jobs, begin, count, *words, **named: seen.append(count),
    )
    words = ("reconstruct", undersampled, full, "--workers", 2)
    done = run(*words, "-m", "zero-filled")
    assert seen == [1]
    assert "warning: " in done.err
    run(*words, "-m", "sigpy-sense")
    assert seen == [1, 2]
