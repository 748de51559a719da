"""What the command line sets up in its process."""

import platform
import subprocess
import sys

import pytest

from cmrrecon.cli import environment

LOOP = """
import resource
import numpy
from cmrrecon.cli.environment import reuse_freed_memory
{call}
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
numpy.ones(2**24)
before = faults()
for _ in range(4): numpy.ones(2**24)
print(faults() - before)
"""


def page_faults(call):
    command = [sys.executable, "-c", LOOP.format(call=call)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def accepted():
    """Whether the C library has `mallopt` and takes the threshold; asked in another process."""
    ask = (
        "import ctypes, sys; from cmrrecon.cli.environment import LARGEST, M_MMAP_THRESHOLD; "
        "sys.exit(not ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGEST))"
    )
    return subprocess.run([sys.executable, "-c", ask], check=False).returncode == 0


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not accepted(), reason="the C library keeps no memory"
)
def test_freed_memory_is_used_again():
    assert page_faults("reuse_freed_memory()") < page_faults("") / 4


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(environment.ctypes, "CDLL", lambda name: object())
    environment.reuse_freed_memory()
