"""Measure the CPU time of `cmrrecon --help` in seconds, as the median over several runs.

Usage: python benchmarks/startup.py [RUNS]
"""

import resource
import statistics
import subprocess
import sys


def cpu_seconds() -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "cmrrecon", "--help"], stdout=subprocess.DEVNULL, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 11
    times = [cpu_seconds() for _ in range(runs)]
    print(
        f"cmrrecon --help: {statistics.median(times):.3f} s CPU "
        f"(median of {runs}, {min(times):.3f} to {max(times):.3f})"
    )


if __name__ == "__main__":
    main()
