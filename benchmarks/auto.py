"""Compare the default method with that of another checkout: cost of whole scans, and their scores.

The other checkout is any folder with the package, such as a git worktree of an earlier commit. Only
`cmrrecon reconstruct INPUT -o OUTPUT` is used of it, so its modules may have other names. Both
builds read the same semi-real scans of P003, which are made once and kept in the work folder. Each
run is a separate process with one thread, and the builds take turns: A B, B A, A B. Costs are
medians over the turns. Results are kept too, so an interrupted run continues where it stopped, and
only a build that has changed is measured again.

CPU time is the user and system time of a process and all its children. Memory is the peak resident
set size, including libraries. This build scores the images of both: `fullfov` against the
noise-free truth, `body` and `cmrxrecon2025` against the root-sum-of-squares of the fully sampled
k-space. `missed` lists the targets that were not met.

Usage: python benchmarks/auto.py OTHER_CHECKOUT --tool make_semireal.py --data DATA [--work FOLDER]
[--scans NAME ...] [--repeats N] [--json]

A scan is PATTERN-RxSLICES, such as kt-gaussian-8x14; SLICES is 14, 4 or 1 (the choice alone).
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cases
from builds import COST_LIMIT, Build, Usage, say, with_ratio
from records import HERE, source_digest

SCANS = (
    "kt-gaussian-8x14",
    "uniform-8x4",
    "kt-radial-16x4",
    "kt-gaussian-8x1",
    "uniform-8x1",
    "kt-radial-16x1",
)
# Slices of P003 by their number, counted from 1.
SLICES = {14: range(1, 15), 4: range(5, 9), 1: range(6, 7)}
CALIBRATION = ("--acs", "20", "--seed", str(cases.PATTERN_SEED))
# Whether a protocol scores against the noise-free truth, or against fully sampled k-space.
PROTOCOLS = {"fullfov": True, "body": False, "cmrxrecon2025": False}

# A slice alone bears the whole cost of the choice.
CHEAPER, CHEAPER_AIM, CHEAPER_ALONE = 3.0, 5.0, 2.0
PSNR_LOSS, SSIM_LOSS = 0.05, 0.002

COSTS = "CPU s | other | times as cheap | s a slice | other | MB | other | ratio"
COST_COLUMNS = f"scan | slices | {COSTS} | missed"
SCORE_COLUMNS = "scan | protocol | PSNR | other | gain | SSIM | other | gain | missed"


@dataclass(frozen=True)
class Material:
    """The files of a scan.

    Attributes
    ----------
    scan : Path
        The undersampled scan.
    full, truth : Path
        The fully sampled k-space and the noise-free images.
    """

    scan: Path
    full: Path
    truth: Path


@dataclass(frozen=True)
class Score:
    """The scores of both builds by one protocol: PSNR in dB and SSIM, of this and the other."""

    psnr: tuple[float, float]
    ssim: tuple[float, float]

    def missed(self) -> list[str]:
        """List the scores that fell by more than their limit."""
        losses = {
            "PSNR": self.psnr[1] - self.psnr[0] > PSNR_LOSS,
            "SSIM": self.ssim[1] - self.ssim[0] > SSIM_LOSS,
        }
        return [name for name, lost in losses.items() if lost]

    def cells(self) -> list[str]:
        """Return both scores of both builds, each with its gain, as cells of the table."""
        (psnr, other_psnr), (ssim, other_ssim) = self.psnr, self.ssim
        return [
            *(f"{psnr:.2f}", f"{other_psnr:.2f}", f"{psnr - other_psnr:+.2f}"),
            *(f"{ssim:.4f}", f"{other_ssim:.4f}", f"{ssim - other_ssim:+.4f}"),
        ]


@dataclass(frozen=True)
class Found:
    """The costs and scores of a scan.

    Attributes
    ----------
    turns : list of pairs of Usage
        What this build and the other build used in each turn.
    scores : dict of str to Score
        By protocol.
    """

    scan: str
    turns: list[tuple[Usage, Usage]]
    scores: dict[str, Score]

    @property
    def slices(self) -> int:
        """Number of slices."""
        return slices_of(self.scan)

    def cpu(self) -> tuple[float, float, float]:
        """Return the median CPU times in s, and how many times as cheap this build is."""
        this, other, ratio = with_ratio([(this.cpu, other.cpu) for this, other in self.turns])
        return this, other, 1 / ratio

    def peak(self) -> tuple[float, float, float]:
        """Return the median peak memory in MB of this build and of the other, and their ratio."""
        return with_ratio([(this.peak_mb, other.peak_mb) for this, other in self.turns])

    def missed(self) -> list[str]:
        """List the missed targets of the costs; `aim` is the more ambitious one for CPU time."""
        cheaper = self.cpu()[2]
        found = ["CPU"] * (cheaper < (CHEAPER_ALONE if self.slices == 1 else CHEAPER))
        if not found and self.slices > 1:
            found = ["aim"] * (cheaper < CHEAPER_AIM)
        # The limit allows for the scatter of the peak.
        return found + ["memory"] * (self.peak()[2] > COST_LIMIT)

    def cost_row(self) -> str:
        """Return the costs as a row of their table."""
        this, other, cheaper = self.cpu()
        mb, other_mb, ratio = self.peak()
        cells = [self.scan, str(self.slices), f"{this:.1f}", f"{other:.1f}", f"{cheaper:.2f}"]
        cells += [f"{this / self.slices:.1f}", f"{other / self.slices:.1f}"]
        cells += [f"{mb:.0f}", f"{other_mb:.0f}", f"{ratio:.3f}", ", ".join(self.missed())]
        return row(cells)

    def score_rows(self) -> list[str]:
        """Return the scores as rows of their table, one for each protocol."""
        return [
            row([self.scan, protocol, *score.cells(), ", ".join(score.missed())])
            for protocol, score in self.scores.items()
        ]

    def record(self) -> str:
        """Return everything as a line of JSON."""
        this, other, cheaper = self.cpu()
        mb, other_mb, ratio = self.peak()
        values = {
            "scan": self.scan,
            "slices": self.slices,
            "cpu_s": {"this": this, "other": other, "times_as_cheap": cheaper},
            "peak_mb": {"this": mb, "other": other_mb, "ratio": ratio},
            "scores": {
                name: asdict(score) | {"missed": score.missed()}
                for name, score in self.scores.items()
            },
            "missed": self.missed(),
        }
        return json.dumps(values)


class Runs:
    """Reconstructs and scores with each build in its own processes, and keeps the results.

    Attributes
    ----------
    builds : dict of str to Build
        "this" and "other".
    folder : Path
        Folder of the scans, images and `results.jsonl`.
    """

    def __init__(self, builds: dict[str, Build], folder: Path) -> None:
        self.builds = builds
        self.folder = folder
        self.path = folder / "results.jsonl"
        self.digests = {name: source_digest(build.checkout) for name, build in builds.items()}
        (folder / "images").mkdir(parents=True, exist_ok=True)
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.known: dict[str, Any] = {line["key"]: line for line in map(json.loads, lines)}

    def compare(self, scan: str, material: Material, repeats: int) -> Found:
        """Run both builds in turns; in every second turn the other build runs first."""
        runs: dict[str, list[Any]] = {"this": [], "other": []}
        for repeat in range(repeats):
            for name in ("this", "other")[:: 1 if repeat % 2 == 0 else -1]:
                runs[name].append(self._run(scan, material, name, repeat))

        turns = [
            (Usage(**this["usage"]), Usage(**other["usage"]))
            for this, other in zip(runs["this"], runs["other"], strict=True)
        ]
        this, other = (runs[name][0]["scores"] for name in ("this", "other"))
        scores = {
            protocol: Score(
                (this[protocol]["psnr"], other[protocol]["psnr"]),
                (this[protocol]["ssim"], other[protocol]["ssim"]),
            )
            for protocol in PROTOCOLS
        }
        return Found(scan, turns, scores)

    def _run(self, scan: str, material: Material, name: str, repeat: int) -> Any:
        """Return the costs and scores of one run; a run that is already known is not repeated."""
        key = " ".join([scan, name, self.digests[name], str(repeat)])
        if key in self.known:
            return self.known[key]

        say(f"{scan} {name} {repeat + 1}")
        image = self.folder / "images" / f"{scan}-{name}.h5"
        used = self.builds[name].cmrrecon(
            "reconstruct", str(material.scan), "-o", str(image), "--overwrite"
        )
        scores = {protocol: self._score(image, material, protocol) for protocol in PROTOCOLS}
        self.known[key] = {"key": key, "usage": asdict(used), "scores": scores}
        with self.path.open("a") as file:
            file.write(json.dumps(self.known[key]) + "\n")
        return self.known[key]

    def _score(self, image: Path, material: Material, protocol: str) -> dict[str, float]:
        """Score images in a separate process, because this process must stay small."""
        reference = material.truth if PROTOCOLS[protocol] else material.full
        this = self.builds["this"]
        words = ("--truth", str(reference), "--protocol", protocol, "--json")
        this.cmrrecon("evaluate", str(image), *words)
        lines = [line for line in this.log.read_text().splitlines() if line.startswith("{")]
        values = json.loads(lines[0])
        return {name: float(values[name]) for name in ("psnr", "ssim")}


def slices_of(scan: str) -> int:
    return int(scan.rpartition("x")[2])


def make(scan: str, build: Build, folder: Path, words: argparse.Namespace) -> Material:
    """Return the files of a scan; make those that are missing."""
    full = full_scan(slices_of(scan), build, folder, words)
    path = folder / f"{scan}.h5"
    if not path.exists():
        pattern, _, acceleration = scan.rpartition("x")[0].rpartition("-")
        sampling = ("-p", pattern, "-R", acceleration, *CALIBRATION)
        build.cmrrecon("undersample", str(full), *sampling, "-o", str(path))
    return Material(path, full, full.with_name(f"{full.stem}_truth.npz"))


def full_scan(count: int, build: Build, folder: Path, words: argparse.Namespace) -> Path:
    """Return the fully sampled scan with this number of slices; its truth lies beside it."""
    place = folder / f"full-{count}"
    if not place.exists():
        unfinished = Path(f"{place}.part")
        shutil.rmtree(unfinished, ignore_errors=True)
        numbers = map(str, SLICES[count])
        data = str(words.data.resolve())
        build.run(str(words.tool.resolve()), str(unfinished), "--data", data, "--slices", *numbers)
        unfinished.rename(place)
    return next(place.rglob("*.mat"))


def row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def heading(columns: str) -> str:
    return f"| {columns} |\n" + "|---" * (columns.count("|") + 1) + "|"


def arguments() -> argparse.Namespace:
    shown = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=shown)
    parser.add_argument("other", type=Path, help="checkout of the other build")
    parser.add_argument("--tool", type=Path, required=True, help="make_semireal.py")
    data = os.environ.get("CMRRECON_TEST_DATA")
    parser.add_argument("--data", type=Path, default=data, required=data is None)
    parser.add_argument("--work", type=Path, default=cases.WORK, help="where scans are kept")
    parser.add_argument("--scans", nargs="+", default=SCANS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON line per scan")
    return parser.parse_args()


def main() -> None:
    words = arguments()
    python = Path(sys.executable)
    with tempfile.TemporaryDirectory() as name:
        logs = Path(name)
        this = Build(HERE.parent.resolve(), python, logs / "this.log")
        other = Build(words.other.resolve(), python, logs / "other.log")
        for build in (this, other):
            build.prepare()

        runs = Runs({"this": this, "other": other}, words.work.resolve() / "auto")
        if not words.json:
            commits = f"This build: {this.commit()}, the other: {other.commit()}"
            print(f"{commits}\n\n{heading(COST_COLUMNS)}", flush=True)
        scores = []
        for scan in words.scans:
            found = runs.compare(scan, make(scan, this, runs.folder, words), words.repeats)
            print(found.record() if words.json else found.cost_row(), flush=True)
            scores += found.score_rows()
        if not words.json:
            print("\n".join(["", heading(SCORE_COLUMNS), *scores]))


if __name__ == "__main__":
    main()
