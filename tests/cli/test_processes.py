"""What needs processes: signals, broken pipes, full disks, and equal runs at once."""

import os
import shlex
import shutil
import signal
import subprocess
import sys

import numpy as np

from cmrrecon import formats


def test_a_killed_run_goes_on_where_it_stopped(run, full, tmp_path):
    target = tmp_path / "out.h5"
    words = ["reconstruct", str(full), "-m", "zero-filled", "-o", str(target)]
    script = (
        "import sys, os, signal\n"
        "from cmrrecon.reconstruction import resume as parts\n"
        "save = parts.OnDisk.save\n"
        "def once(self, *given):\n"
        "    save(self, *given)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "parts.OnDisk.save = once\n"
        f"sys.argv = ['cmrrecon', *{words!r}]\n"
        "from cmrrecon.cli.app import main\n"
        "main()\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert not target.exists()
    done = run(*words)
    assert "1 of 2 slices" in done.err
    assert os.listdir(tmp_path) == ["out.h5"]
    other = tmp_path / "whole.h5"
    run("reconstruct", full, "-m", "zero-filled", "-o", other)
    np.testing.assert_array_equal(
        formats.read_images(target).numpy(), formats.read_images(other).numpy()
    )


def test_sigterm_ends_with_130_and_leaves_no_half_output(probe, tmp_path):
    body = (
        "with atomic(text) as half: "
        "half.write_text('half'); print('working', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        probe(body, tmp_path / "out.h5"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "working\n"
    assert len(os.listdir(tmp_path)) == 1
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said.count("\n")) == (130, 1)
    assert os.listdir(tmp_path) == []


def test_broken_pipe_is_quiet(probe):
    body = "for number in range(10_000): console.result({'number': number}, None)"
    command = f"{shlex.join(probe(body, '', as_json=True))} | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stdout == "{"
    assert done.stderr == ""


def test_standard_output_that_is_full_is_reported(probe):
    words = probe("console.result({'status': 'done'}, None)", "", as_json=True)
    with open("/dev/full", "w") as full_disk:
        done = subprocess.run(
            words, stdout=full_disk, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error[output-unwritable]: ")
    assert "Traceback" not in done.stderr


def test_names_beyond_the_terminals_encoding_are_shown_with_escapes(run, probe, full, tmp_path):
    folder = tmp_path / "Übung ß"
    folder.mkdir()
    shutil.copy(full, folder)
    assert run("info", folder, "--json").records[0]["input"] == str(folder / full.name)
    words = probe("console.say(text); console.result({}, text)", folder)
    done = subprocess.run(
        words, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(rb"\xdcbung \xdf" + b"\n")
    assert done.stdout == done.stderr


def test_two_equal_runs_at_once_both_succeed(run, full, tmp_path, monkeypatch):
    """A second run finishes and clears up while the first has one of its two slices."""
    from cmrrecon.reconstruction.resume import Parts

    words = ("reconstruct", full, "-m", "zero-filled", "-o", tmp_path / "a.h5", "--json")
    save, other = Parts.save, []

    def overtaken(self, index, *given):
        if index == 1:
            monkeypatch.setattr(Parts, "save", save)
            other.append(run(*words))
        save(self, index, *given)

    monkeypatch.setattr(Parts, "save", overtaken)
    first = run(*words)
    assert (first.code, other[0].code) == (0, 0), first.err + other[0].err
    assert (first.records[0]["status"], other[0].records[0]["status"]) == ("skipped", "done")
    assert os.listdir(tmp_path) == ["a.h5"]
