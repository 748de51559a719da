"""Compare our methods with SigPy's and BART's on the same undersampled cine.

The output has time, memory and scores by protocol `fullfov`.

Usage: python benchmarks/reconstruction.py [TOOL] [--work FOLDER] [--data FOLDER] [--cases NAME ...]
[--engines NAME ...] [--repeats N] and one of

- (nothing): the table of all engines on the reported cases
- `--targets`: the target ratios
- `--methods`: the methods of the package on the semi-real cine
- `--tune`: choose the parameters of the peers on the tuning cases (results are in peers.py)
- `--oracle`: choose BART's weights on each case itself, by PSNR and by SSIM (results are in
  peers.py)

TOOL is make_semireal.py, which makes the semi-real cine from the pictures in the data folder;
without TOOL or pictures, only simulated cases run. Results are kept in the work folder: an
interrupted run continues where it stopped, and our methods are measured again if their code has
changed. Every reconstruction has its own process with two threads (engines.py describes what is
measured). The engines take turns, A B A B; engines that take more than 10 s run once. Figures are
medians.
"""

import argparse
import os
import shutil
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cases
import peers
import targets
import tuning
from records import Record, Records

from cmrrecon.methods.registry import METHODS

# The default method and the methods that have a peer; `--methods` measures the others.
OURS = ("auto", "sense", "l1-wavelet", "temporal-tv", "llr")
ENGINES = (*(f"cmrrecon:{method}" for method in OURS), *peers.PEERS)
METHOD_CASES = ("P003/kt-gaussian-8", "P003/uniform-8", "P003/kt-radial-16")
SLOW_SECONDS = 10
# These take about a minute each, so they run only on some of the cases.
SLOWEST = ("sigpy:l1-wavelet", "sigpy:tv", "sigpy:temporal-tv")
SLOWEST_ON = ("P003/kt-gaussian-8", "rat/kt-gaussian-8")
COLUMNS = (
    "engine | weight | iterations | PSNR | heart | SSIM | NMSE | PSNR unsat. | heart unsat. | s | "
    "of it choosing | CPU s | memory | runs"
)


def options_of(engine: str) -> dict[str, Any]:
    """Return the options: our methods choose settings per scan, peers use the tuned settings."""
    return dict(peers.PEERS.get(engine, {}))


def main() -> None:
    words = arguments()
    records = Records(words.work)
    if words.tune:
        cases.ensure(cases.TUNING, words.work, words.tool, words.data)
        return print_tuning(records, [engine for engine in words.engines if engine in peers.PEERS])
    if words.oracle:
        names = words.cases or targets.SEMI_REAL
        cases.ensure(names, words.work, words.tool, words.data)
        return print_oracle(records, names)
    if words.targets:
        names = [name for name in targets.CASES if cases.available(name, words.tool, words.data)]
        cases.ensure(names, words.work, words.tool, words.data)
        return print("\n".join(targets.table(targets.measure(records, names, words.repeats))))
    listed = METHOD_CASES if words.methods else cases.REPORTED
    names = words.cases or [
        name for name in listed if cases.available(name, words.tool, words.data)
    ]
    cases.ensure(names, words.work, words.tool, words.data)
    if words.methods:
        return print_methods(records, names)
    for name in names:
        engines = [
            e for e in words.engines if e not in SLOWEST or name in SLOWEST_ON or words.cases
        ]
        print_case(records, name, engines, words.repeats)
    return None


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tool", type=Path, nargs="?", help="make_semireal.py")
    parser.add_argument("--work", type=Path, default=cases.WORK)
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("CMRRECON_TEST_DATA"),
        help="the real data (CMRRECON_TEST_DATA)",
    )
    parser.add_argument(
        "--cases",
        nargs="+",
        help=f"cases, such as {', '.join(cases.REPORTED)}, or another source, pattern and R",
    )
    parser.add_argument(
        "--engines", nargs="+", default=list(ENGINES), help=f"some of {', '.join(ENGINES)}"
    )
    parser.add_argument("--repeats", type=int, default=3)
    modes = parser.add_mutually_exclusive_group()
    for mode in ("targets", "methods", "tune", "oracle"):
        modes.add_argument(f"--{mode}", action="store_true")
    words = parser.parse_args()
    if shutil.which("bart") is None:
        print("BART is not installed and is skipped", file=sys.stderr)
        words.engines = [engine for engine in words.engines if not engine.startswith("bart:")]
    return words


def runs_of(
    records: Records, name: str, engines: Iterable[str], repeats: int
) -> dict[str, list[Record]]:
    """Measure every engine on a case, in turn, and return the records.

    Engines that are slow or fail run only once.
    """
    runs: dict[str, list[Record]] = {engine: [] for engine in engines}
    for repeat in range(repeats):
        for engine, done in runs.items():
            if repeat == 0 or (
                repeat == len(done) and done[-1].get("seconds", SLOW_SECONDS) < SLOW_SECONDS
            ):
                print(f"{name} {engine} {repeat + 1}", file=sys.stderr, flush=True)
                done.append(records.measure(name, engine, options_of(engine), repeat))
    return runs


def print_case(records: Records, name: str, engines: list[str], repeats: int) -> None:
    case = cases.load(cases.folder_of(records.work, name))
    y0, y1, x0, x1 = case.heart
    print(
        f"\n**{name}**: {case.kind}, (frame, coil, y, x) = {case.shape}, "
        f"effective R {case.effective:.2f}, ",
        end="",
    )
    print(
        f"heart box y {y0}:{y1}, x {x0}:{x1}\n\n| {COLUMNS} |\n{'|---' * (COLUMNS.count('|') + 1)}|"
    )
    for engine, runs in runs_of(records, name, engines, repeats).items():
        print(row(engine, options_of(engine), runs, case.input_mb))
    for engine, chosen in peers.ORACLE.get(name, {}).items():
        for score, weight in chosen.items():
            options = {**peers.ORACLE_CHOICE[engine], "weight": weight}
            print(
                row(
                    f"{engine}, oracle {score.upper()}",
                    options,
                    [records.measure(name, engine, options)],
                    case.input_mb,
                )
            )
    sys.stdout.flush()


def row(label: str, options: dict[str, Any], runs: list[Record], input_mb: float) -> str:
    first = runs[0]
    if "failed" in first:
        return f"| {label} | | | refused {'|' * (COLUMNS.count('|') - 2)}"

    def middle(key: str) -> float:
        return float(statistics.median(run[key] for run in runs))

    settings = {**options, **first}
    if first.get("method", label) not in label:
        label += f": {first['method']}"
    setting = [
        f"{settings[key]:.3g}" if key in settings else "" for key in ("weight", "iterations")
    ]
    scores = [
        f"{first[key]:.{digits}f}"
        for key, digits in (("psnr", 2), ("heart_psnr", 2), ("ssim", 4), ("nmse", 4))
    ]
    rest = [f"{first[key]:.2f}" for key in ("psnr_unsaturated", "heart_psnr_unsaturated")]
    choosing = f"{middle('choosing'):.2f}" if "choosing" in first else ""
    costs = [
        f"{middle('seconds'):.2f}",
        choosing,
        f"{middle('cpu'):.2f}",
        f"{middle('extra_mb') / input_mb:.1f}x",
        str(len(runs)),
    ]
    return f"| {' | '.join([label, *setting, *scores, *rest, *costs])} |"


def print_methods(records: Records, names: list[str]) -> None:
    engines = [f"cmrrecon:{method}" for method in METHODS]
    print(
        "| pattern | nominal R | effective R | method | PSNR dB | heart PSNR dB "
        "| SSIM | NMSE | s |\n" + "|---" * 9 + "|"
    )
    for name in names:
        case = cases.load(cases.folder_of(records.work, name))
        pattern, _, acceleration = name.partition("/")[2].rpartition("-")
        for engine, (run, *_) in runs_of(records, name, engines, 1).items():
            method = engine.partition(":")[2]
            label = f"| {pattern} | {acceleration} | {case.effective:.2f} | {method} | "
            if "failed" in run:
                print(f"{label}refused | | | | |", flush=True)
            else:
                print(
                    f"{label}{run['psnr']:.2f} | {run['heart_psnr']:.2f} | {run['ssim']:.3f} "
                    f"| {run['nmse']:.4f} | {run['seconds']:.1f} |"
                )


def print_tuning(records: Records, engines: list[str]) -> None:
    print(
        f"Mean PSNR over {', '.join(cases.TUNING)}\n\n"
        "| engine | found | PSNR | tried |\n|---|---|---|---|"
    )
    for engine in engines:
        options, psnr, tried = tuning.tune(records, cases.TUNING, engine)
        print(f"| {engine} | {options} | {psnr:.3f} | {tried} |", flush=True)


def print_oracle(records: Records, names: Iterable[str]) -> None:
    print(
        "| case | engine | best of | weight | PSNR | heart | SSIM |\n|---|---|---|---|---|---|---|"
    )
    for name in names:
        for engine in peers.ORACLE_CHOICE:
            for score in ("psnr", "ssim"):
                run = tuning.oracle(records, name, engine, score)
                scores = f"{run['psnr']:.2f} | {run['heart_psnr']:.2f} | {run['ssim']:.4f}"
                print(
                    f"| {name} | {engine} | {score.upper()} "
                    f"| {run['options']['weight']:g} | {scores} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
