"""Jobs for tests of worker processes. They load no PyTorch, so that a process starts quickly."""

import os
import signal
import time
from functools import partial

from cmrrecon.tools.errors import InputError, UsageError


def echo(job, console, folder):
    """Work on a job whose stem says what happens."""
    word = job.stem.split("_")[0]
    (folder / f"{job.stem}-{os.getpid()}").touch()
    if word == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "exit":
        os._exit(3)
    if word == "terminated":
        console.warn(f"warned of {job.stem}")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(100)
    if word == "unready":
        # As if the signal came before the process handles it.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    if word == "last":
        wait_for(lambda: list(folder.glob("stuck-*")))
    if word in ("fail", "last"):
        raise InputError("file-empty", "Found", "Expected", "Remedy")
    if word == "fault":
        raise ZeroDivisionError
    if word == "slow":
        time.sleep(1)
    if word == "stuck":
        time.sleep(100)
    console.warn(f"warned of {job.stem}")
    console.result({"status": "done", "input": job.stem}, job.stem)


def begin(folder):
    return partial(echo, folder=folder)


def refuse():
    raise UsageError("unknown-method", "Found", "Expected", "Remedy")


def wait_for(condition, seconds=90):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.05)
