"""Compare this build with another checkout: cost of the command line and agreement of images.

The other checkout is any folder with the package, such as a git worktree of an earlier commit. Only
its command line is used, so its modules may have other names. Both builds read the same scans. Each
run is a separate process with one thread, and the builds take turns: A B, B A, A B. Costs are
medians over the turns; ratios are this build's cost divided by the other's. Two figures show how
much other processes disturbed the runs: `fastest`, the CPU ratio of the fastest runs, and `turns`,
the range of the ratio over single turns. Comparing a checkout with itself shows the noise.

CPU time is the user and system time of a process and all its children. Memory is the peak resident
set size, including libraries. The difference of images is max |a - b| / max |b|. `missed` lists
what exceeds its limit.

Usage: python benchmarks/builds.py OTHER_CHECKOUT [--methods NAME ...] [--scans NAME ...]
[--repeats N] [--suite] [--json] [--other-python FILE] [--work FOLDER] [--tool FILE] [--data FOLDER]

A scan is PATTERN-R, which is simulated and small, or a case of cases.py, such as rat/kt-gaussian-8.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cases
import numpy as np
from records import ENVIRONMENT, HERE

METHODS = ("sense", "llr", "auto", "kt-unrolled")
SIMULATED = ("kt-gaussian-8", "kt-radial-8", "uniform-4")
REAL = ("rat/kt-gaussian-8", "P003/kt-gaussian-8")
SIZE = ("--size", "128x256", "--coils", "8", "--frames", "12", "--slices", "1")
SEED = "1"
COST_LIMIT = 1.03
DIFFERENCE_LIMIT = 1e-5
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
STARTS = {
    "import cmrrecon": ("-c", "import cmrrecon"),
    "cmrrecon --help": ("-m", "cmrrecon", "--help"),
}
# These take a fraction of a second each: cheap to repeat, and easily disturbed.
START_REPEATS = 11
SUITE = ("-m", "pytest", "-p", "no:cacheprovider", "-m", "not slow")
IN_PARALLEL = ("-n", "2", "--dist", "loadgroup")
TESTS_FAILED = 1
COSTS = "CPU s | other | ratio | fastest | turns | MB | other | ratio"
COLUMNS = f"what | scan | {COSTS} | images differ | missed"

Words = Sequence[str]


@dataclass(frozen=True)
class Usage:
    """Resources used by a process and its children: CPU time in s, peak memory in MB."""

    cpu: float
    peak_mb: float


@dataclass(frozen=True)
class Build:
    """A checkout of the package and the interpreter that runs it.

    Attributes
    ----------
    log : Path
        File with the output of the last process.
    """

    checkout: Path
    python: Path
    log: Path

    def run(self, *words: str, tolerated: int = 0) -> Usage:
        """Run Python in the checkout; stop unless its exit code is 0 or `tolerated`.

        This process must stay small, because Linux includes a parent's memory in the peak of its
        child.
        """
        environment = {
            **ENVIRONMENT,
            **dict.fromkeys(THREADS, "1"),
            "PYTHONPATH": str(self.checkout),
        }
        with self.log.open("w") as log:
            process = subprocess.Popen(
                [str(self.python), *words],
                cwd=self.checkout,
                env=environment,
                stdout=log,
                stderr=log,
            )
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)

        if process.returncode not in (0, tolerated):
            raise SystemExit(f"{self.checkout}: {' '.join(words)} failed.\n{self.log.read_text()}")
        return Usage(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)

    def cmrrecon(self, *words: str) -> Usage:
        """Run a command of the package."""
        return self.run("-m", "cmrrecon", *words, "--quiet")

    def prepare(self) -> None:
        """Compile the package before any run, and check that Python finds it in the checkout."""
        self.run("-m", "compileall", "-q", "cmrrecon")
        self.run("-c", "import cmrrecon; print(cmrrecon.__file__)")
        found = Path(self.log.read_text().strip())
        if self.checkout not in found.parents:
            raise SystemExit(f"{self.checkout} contains no package: Python finds {found}.")

    def commit(self) -> str:
        """Return the commit, with `-dirty` if files differ from it; empty outside git."""
        words = ["git", "-C", str(self.checkout), "describe", "--always", "--dirty"]
        return subprocess.run(words, capture_output=True, text=True).stdout.strip()


@dataclass(frozen=True)
class Comparison:
    """The same work done by both builds.

    Attributes
    ----------
    turns : list of pairs of Usage
        What this build and the other build used in each turn.
    difference : float or None
        Difference of the images, relative to the largest magnitude; None without images.
    """

    what: str
    scan: str
    turns: list[tuple[Usage, Usage]]
    difference: float | None = None

    def cpu(self) -> tuple[float, float, float]:
        """Return the median CPU time in s of this build and of the other, and their ratio."""
        return with_ratio([(this.cpu, other.cpu) for this, other in self.turns])

    def peak(self) -> tuple[float, float, float]:
        """Return the median peak memory in MB of this build and of the other, and their ratio."""
        return with_ratio([(this.peak_mb, other.peak_mb) for this, other in self.turns])

    def fastest(self) -> float:
        """Return the CPU ratio of the fastest runs."""
        return min(this.cpu for this, _ in self.turns) / min(other.cpu for _, other in self.turns)

    def cpu_ratios(self) -> list[float]:
        """Return the CPU ratio of each turn."""
        return [this.cpu / other.cpu for this, other in self.turns]

    def missed(self) -> list[str]:
        """List the exceeded limits; limits on memory and images apply only to reconstructions."""
        found = ["CPU"] * (self.cpu()[2] > COST_LIMIT)
        if self.difference is not None:
            found += ["memory"] * (self.peak()[2] > COST_LIMIT)
            found += ["images"] * (self.difference > DIFFERENCE_LIMIT)
        return found

    def row(self) -> str:
        """Return the comparison as a row of the table."""
        this, other, ratio = self.cpu()
        turns = self.cpu_ratios()
        cells = [self.what, self.scan, f"{this:.3f}", f"{other:.3f}", f"{ratio:.3f}"]
        cells += [f"{self.fastest():.3f}", f"{min(turns):.3f} to {max(turns):.3f}"]
        if self.difference is None:
            cells += [""] * 4
        else:
            this, other, ratio = self.peak()
            cells += [f"{this:.0f}", f"{other:.0f}", f"{ratio:.3f}", f"{self.difference:.0e}"]
        return f"| {' | '.join(cells)} | {', '.join(self.missed())} |"

    def record(self) -> str:
        """Return the comparison as a line of JSON."""
        names = ("this", "other", "ratio")
        peak = None if self.difference is None else dict(zip(names, self.peak(), strict=True))
        values = {
            "what": self.what,
            "scan": self.scan,
            "cpu_s": dict(zip(names, self.cpu(), strict=True)),
            "fastest_ratio": self.fastest(),
            "turn_ratios": self.cpu_ratios(),
            "peak_mb": peak,
            "difference": self.difference,
            "missed": self.missed(),
        }
        return json.dumps(values)


@dataclass(frozen=True)
class Pair:
    """This build, the other build, and the folder for their scans and images."""

    this: Build
    other: Build
    folder: Path

    def reconstruct(self, scan: str, path: Path, method: str, repeats: int) -> Comparison:
        """Compare cost and images of a method."""
        outputs = [self.folder / f"{name}.npy" for name in ("this", "other")]
        words = ("-m", "cmrrecon", "reconstruct", str(path), "-m", method, "--quiet", "--overwrite")
        ours, theirs = ((*words, "-o", str(output)) for output in outputs)
        turns = [self._turn(ours, theirs, repeat) for repeat in range(repeats)]
        return Comparison(method, scan, turns, difference(*outputs))

    def start(self, what: str) -> Comparison:
        """Compare the time to start."""
        words = STARTS[what]
        turns = [self._turn(words, words, repeat) for repeat in range(START_REPEATS)]
        return Comparison(what, "", turns)

    def suite(self) -> Comparison:
        """Compare one run of each build's own tests; tests may fail."""
        used = []
        for build in (self.this, self.other):
            build.run(*SUITE, "--collect-only")  # compiles the tests
            used.append(build.run(*SUITE, *IN_PARALLEL, tolerated=TESTS_FAILED))
            say(f"{build.checkout}: {build.log.read_text().splitlines()[-1]}")
        return Comparison("test suite", "", [(used[0], used[1])])

    def _turn(self, ours: Words, theirs: Words, repeat: int) -> tuple[Usage, Usage]:
        """Run both builds; in every second turn the other build runs first."""
        if repeat % 2 == 0:
            this = self.this.run(*ours)
            return this, self.other.run(*theirs)
        other = self.other.run(*theirs)
        return self.this.run(*ours), other


def with_ratio(turns: list[tuple[float, float]]) -> tuple[float, float, float]:
    """Return the medians of both builds over the turns, and their ratio."""
    this, other = (statistics.median(values) for values in zip(*turns, strict=True))
    return this, other, this / other


def difference(path: Path, reference: Path) -> float:
    """Return the relative largest deviation; infinite for other shapes or NaN."""
    image, expected = np.load(path), np.load(reference)
    if image.shape != expected.shape:
        return math.inf
    found = float(np.abs(image - expected).max() / np.abs(expected).max())
    return found if math.isfinite(found) else math.inf


def make_scan(name: str, build: Build, folder: Path, words: argparse.Namespace) -> Path:
    """Make a scan and return its file: simulated in `folder`, or a case of cases.py."""
    if "/" in name:
        return case_scan(name, build, folder, words)
    full, scan = folder / "full.h5", folder / f"{name}.h5"
    if not full.exists():
        build.cmrrecon("simulate", *SIZE, "-o", str(full))
    pattern, _, acceleration = name.rpartition("-")
    sampling = ("-p", pattern, "-R", acceleration, "--seed", SEED)
    build.cmrrecon("undersample", str(full), *sampling, "-o", str(scan))
    return scan


def case_scan(name: str, build: Build, folder: Path, words: argparse.Namespace) -> Path:
    """Write a case of cases.py as a file for the command line; make the case first if needed."""
    place = cases.folder_of(words.work, name)
    if not (place / "case.json").exists():
        build.run(str(HERE / "cases.py"), name, *place_words(words))
    scan = folder / f"{place.name}.npz"
    kspace = np.memmap(place / "kspace.cfl", np.complex64, "r", shape=cases.load(place).shape)
    np.savez(scan, kspace=kspace[:, None], mask=np.load(place / "mask.npy"))
    return scan


def place_words(words: argparse.Namespace) -> list[str]:
    """List the folders and the tool that cases.py needs, as its arguments."""
    places = {"--work": words.work, "--tool": words.tool, "--data": words.data}
    return [word for key, path in places.items() if path for word in (key, str(path.resolve()))]


def compare(pair: Pair, words: argparse.Namespace) -> Iterator[Comparison]:
    """Yield all requested comparisons, the longest last."""
    for what in STARTS:
        yield pair.start(what)
    for name in words.scans:
        path = make_scan(name, pair.this, pair.folder, words)
        for method in words.methods:
            say(f"{name} {method}")
            yield pair.reconstruct(name, path, method, words.repeats)
    if words.suite:
        yield pair.suite()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    shown = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=shown)
    parser.add_argument("other", type=Path, help="checkout of the other build")
    parser.add_argument("--methods", nargs="*", default=METHODS)
    parser.add_argument("--scans", nargs="*", help="default: simulated and available real scans")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--suite", action="store_true", help="also compare the test suites")
    parser.add_argument("--json", action="store_true", help="print one JSON line per comparison")
    parser.add_argument("--other-python", type=Path, default=sys.executable)
    parser.add_argument("--work", type=Path, default=cases.WORK, help="where cases are kept")
    parser.add_argument("--tool", type=Path, help="make_semireal.py")
    parser.add_argument("--data", type=Path, default=os.environ.get("CMRRECON_TEST_DATA"))
    words = parser.parse_args()
    if words.scans is None:
        real = [name for name in REAL if cases.available(name, words.tool, words.data)]
        words.scans = [*SIMULATED, *real]
    return words


def main() -> None:
    words = arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        this = Build(HERE.parent.resolve(), Path(sys.executable), folder / "this.log")
        other = Build(words.other.resolve(), words.other_python, folder / "other.log")
        for build in (this, other):
            build.prepare()
        if not words.json:
            print(f"This build: {this.commit()}, the other: {other.commit()}\n\n| {COLUMNS} |")
            print("|---" * (COLUMNS.count("|") + 1) + "|", flush=True)
        for found in compare(Pair(this, other, folder), words):
            print(found.record() if words.json else found.row(), flush=True)


if __name__ == "__main__":
    main()
