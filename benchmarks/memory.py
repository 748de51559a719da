"""Measure the peak memory of `cmrrecon reconstruct` for each method.

The memory of the interpreter with its libraries and of one input series is subtracted. A simulated
cine (12 frames, 10 coils, 204 x 448) is reconstructed with 1 and with 3 slices, each in its own
process. The goal is less than the size of one series plus 300 MB, for any number of slices.

This process stays small on purpose, because Linux includes a parent's memory in the peak of a
forked child.

Usage: python benchmarks/memory.py [METHOD ...]
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

SERIES_MB = 12 * 10 * 204 * 448 * 8 / 2**20
LIBRARIES = [sys.executable, "-c", "import torch, h5py, scipy.io, sigpy.mri.app"]
PROGRAM = [sys.executable, "-m", "cmrrecon"]


def peak_mb(words: list[str]) -> float:
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"failed: {' '.join(words)}")
    return usage.ru_maxrss / 1024


def main() -> None:
    listed = subprocess.run(
        [*PROGRAM, "reconstruct", "--list-methods"], capture_output=True, text=True, check=True
    ).stdout
    methods = sys.argv[1:] or [line.split()[0] for line in listed.splitlines()]
    with tempfile.TemporaryDirectory() as folder:
        scans = [Path(folder) / f"cine{slices}.h5" for slices in (1, 3)]
        for slices, scan in zip((1, 3), scans, strict=True):
            full = Path(folder) / f"full{slices}.h5"
            peak_mb([*PROGRAM, "simulate", "--slices", str(slices), "-o", str(full), "--quiet"])
            peak_mb([*PROGRAM, "undersample", str(full), "-R", "8", "-o", str(scan), "--quiet"])
        libraries = peak_mb(LIBRARIES)
        print(f"one series {SERIES_MB:.0f} MB; interpreter with libraries {libraries:.0f} MB")
        print(f"{'method':18} {'1 slice':>9} {'3 slices':>9}   MB beyond libraries and one series")
        for method in methods:
            fixed = ["--quiet", "--overwrite", "-o", str(Path(folder) / "out.h5"), "-m", method]
            few = (
                ["--set", "iterations=3"]
                if any(
                    line.split()[0] == method and "iterations=" in line
                    for line in listed.splitlines()
                )
                else []
            )
            peaks = [
                peak_mb([*PROGRAM, "reconstruct", str(scan), *fixed, *few]) - libraries - SERIES_MB
                for scan in scans
            ]
            print(f"{method:18} {peaks[0]:9.0f} {peaks[1]:9.0f}", flush=True)


if __name__ == "__main__":
    main()
