"""Requests to stop a run of `train`."""

import os
import signal
import subprocess
import sys

import pytest

from cmrrecon.cli.stop_requests import LAUNCHED, stop_requests

# Starts a process and prints its number; ends itself at SIGUSR1, as torchrun does.
LAUNCHER = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True)
time.sleep(30)
"""
WORKER = """
import time
from cmrrecon.cli.stop_requests import stop_requests
with stop_requests() as stopped:
    print("ready", stopped(), flush=True)
    end = time.monotonic() + 10
    while not stopped() and time.monotonic() < end:
        time.sleep(0.01)
    print("stopped", stopped(), flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT])
def test_a_signal_is_a_request(number):
    before = signal.getsignal(number)
    with stop_requests() as stopped:
        assert not stopped()
        os.kill(os.getpid(), number)
        assert stopped()
    assert signal.getsignal(number) == before


def test_a_second_interrupt_ends_the_program():
    with stop_requests() as stopped:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert stopped.signals == [signal.SIGINT, signal.SIGTERM]


def test_the_end_of_torchrun_is_a_request():
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, WORKER],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, LAUNCHED: "none"},
    )
    assert launcher.stdout is not None
    assert launcher.stdout.readline() == "ready False\n"
    launcher.send_signal(signal.SIGUSR1)
    assert launcher.wait() == -signal.SIGUSR1
    assert launcher.stdout.readline() == "stopped True\n"
    launcher.stdout.close()


def test_the_end_of_a_shell_is_no_request(monkeypatch):
    monkeypatch.delenv(LAUNCHED, raising=False)
    with stop_requests() as stopped:
        monkeypatch.setattr(os, "getppid", lambda: 1)
        assert not stopped()
    monkeypatch.setenv(LAUNCHED, "none")
    with stop_requests() as stopped:
        assert not stopped()
        monkeypatch.setattr(os, "getppid", lambda: 2)
        assert stopped()
