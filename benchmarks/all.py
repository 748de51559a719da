"""Run every benchmark and write docs/benchmarks.md from the results.

Usage: python benchmarks/all.py [TOOL] [--work FOLDER] [--data FOLDER] [--other CHECKOUT]

See reconstruction.py for the options, and builds.py and auto.py for --other. A run takes about an
hour on two cores, and longer with --other.

Peers that are not installed (BART, pygrappa, mat73) are skipped, and their targets are listed as
not measured.
"""

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import cases
from records import ENVIRONMENT, HERE, THREADS
from targets import Target, read_table, reasons, table

PAGE = HERE.parent / "docs" / "benchmarks.md"
PEER_PACKAGES = ("torch", "numpy", "scipy", "sigpy", "pygrappa", "h5py", "mat73", "finufft")
INTRODUCTION = """# Benchmarks

Made by `python benchmarks/all.py make_semireal.py`, {runs} on one machine. {machine}

**How it is measured.** Every reconstruction runs in its own process with {threads} threads; engines
take turns on the same input. For the targets each engine runs three times (the slowest once), and
the figures are medians; the tables of reconstructions show one run each. Times are measured for the
reconstruction only, with libraries loaded; for BART they include the whole process, which reads and
writes in memory. For the targets all engines get the coil maps and fixed settings. In the tables
our methods estimate their own maps and choose their settings; peers get the maps. Memory is the
peak in excess of the libraries and the input, in multiples of the input. CPU time is more reliable
than wall time on shared cores.

**Inputs.** *Simulated*: `cmrrecon simulate`. *Semi-real*: real magnitude pictures with modelled
phase, coils, k-space and noise (CMRxRecon2025 Center005 P003; a rat heart of HGGM-LIM). The
pictures, and the script that makes k-space from them, are not part of this project.

**Scores** follow protocol `fullfov` against the noise-free truth: one scale per series, PSNR and
NMSE over the series, SSIM per frame. *heart*: PSNR in the named box. *unsat.*: without pixels of at
least 0.99 times the truth's maximum, which are also excluded from the scale: saturated pictures are
flat there, which favours temporal methods.

**Peers** use the weight, iterations and ADMM penalty in `peers.py`. BART's values were chosen by
`python benchmarks/reconstruction.py make_semireal.py --tune` (mean PSNR over another simulated
subject and pictures of Center001 and Center002); SigPy's were set by hand, guided by BART's.
*Oracle*: the best weight on the reported case itself, which no user can know (`--oracle`).
"""


BUILDS = """## Against another build

Shows whether a change made the command line slower, larger or different. It needs a checkout of
the build to compare with, such as a git worktree:

```
git worktree add ../before COMMIT
python benchmarks/builds.py ../before --suite
```

- The two builds take turns. Each run is a separate process with one thread, both with the same
  Python and libraries, and both read the same scans.
- `reconstruct` runs with `sense`, `llr`, `auto` and `kt-unrolled` on small simulated scans (lines,
  samples, uniform lines) and, with `--data` or `CMRRECON_TEST_DATA`, on the semi-real cases.
  Limits: 1.03 times the CPU time and the peak memory of the other build, and images that differ by
  at most 1e-5 of the largest magnitude.
- CPU time alone is compared for `import cmrrecon`, `cmrrecon --help` and, with `--suite`, each
  build's own test suite, which runs once.
- The table shows medians, which are compared with the limits, and next to them the CPU ratio of
  the fastest runs and its range over single turns. If other processes share the cores, single turns
  scatter by more than the limit. In this case, use more `--repeats`, and compare a checkout with
  itself to see what the machine can resolve.
"""
DEFAULTS = """## The default against another build

Shows whether the default method became cheaper without losing quality, on whole scans. It needs a
checkout of the build to compare with, the real data, and the script that makes k-space from it:

```
git worktree add ../before COMMIT
python benchmarks/auto.py ../before --tool make_semireal.py --data DATA
```

- The scans are semi-real P003 with 20 calibration lines: kt-gaussian 8 (14 slices), uniform 8 and
  kt-radial 16 (4 slices each), and slice 6 alone with each pattern. They are made once.
- `cmrrecon reconstruct` runs with the default method. The two builds take turns, and each run is a
  separate process with one thread. CPU times and peak memory are medians over three turns.
- This build scores the images of both: `fullfov` against the noise-free truth, `body` and
  `cmrxrecon2025` against the root-sum-of-squares of the fully sampled k-space.
- Targets: a whole scan costs at most a third of the CPU time of the other build (aim: a fifth), a
  slice alone at most half. Peak memory is not larger, except for a scatter of 3 %. No score falls
  by more than 0.05 dB of PSNR or 0.002 of SSIM.
- Results are kept. If one of the builds changes, only its own runs are repeated. If the speed of
  the machine has changed since, delete `auto/results.jsonl` in the work folder.
"""
TARGET_COMMANDS = (
    "`python benchmarks/reconstruction.py make_semireal.py --targets`, and `calibration.py` and "
    "`reading.py` below"
)


@dataclass(frozen=True)
class Section:
    """A benchmark: its title, its script with arguments, and whether it prints Markdown."""

    title: str
    words: tuple[str, ...]
    markdown: bool = True


def sections(places: list[str], cases: list[str]) -> list[Section]:
    return [
        Section("Targets", ("reconstruction.py", *places, "--targets")),
        Section("Calibration: ESPIRiT and GRAPPA", ("calibration.py",)),
        Section("Reading", ("reading.py",), markdown=False),
        Section("Radial sampling", ("noncartesian.py",), markdown=False),
        Section(
            "Peak memory of the command line",
            ("memory.py", "auto", "sense", "temporal-tv"),
            markdown=False,
        ),
        Section("Start of the command line", ("startup.py",), markdown=False),
        Section("Report", ("report.py",), markdown=False),
        Section("Networks", ("networks.py",)),
        Section(
            "Reconstruction",
            (
                "reconstruction.py",
                *places,
                *(["--cases", *cases] if cases else []),
                "--repeats",
                "1",
            ),
        ),
    ]


def against(other: Path, tool: Path | None, places: list[str]) -> Section:
    """Return the comparison with another build; `places` begins with the tool if there is one."""
    marked = ["--tool", *places] if tool else places
    return Section("Against another build", ("builds.py", str(other), *marked))


def defaults_against(other: Path, places: list[str]) -> Section:
    """Return the comparison of the default methods; `places` begins with the tool."""
    words = ("auto.py", str(other), "--tool", *places)
    return Section("The default against another build", words)


def main() -> None:
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
    parser.add_argument("--other", type=Path, help="checkout of another build, to compare with")
    parser.add_argument(
        "--resume", action="store_true", help="reuse the results of an interrupted run"
    )
    parser.add_argument(
        "--cases",
        nargs="+",
        default=[],
        help="cases for the tables of reconstructions; see reconstruction.py",
    )
    words = parser.parse_args()
    if not words.resume:
        (words.work / "results.jsonl").unlink(missing_ok=True)
    places = [
        *([str(words.tool)] if words.tool else []),
        "--work",
        str(words.work),
        *(["--data", str(words.data)] if words.data else []),
    ]
    done = {
        section.title: (section, kept(section, words.work / "sections", words.resume))
        for section in sections(places, words.cases)
    }
    outputs = {title: output for title, (_, output) in done.items()}
    goals = [
        *read_table(outputs["Targets"]),
        *calibration_targets(outputs),
        *reading_targets(outputs),
    ]
    text = [
        INTRODUCTION.format(
            machine=machine(),
            threads=THREADS,
            runs="in several runs (`--resume`)" if words.resume else "all in one run",
        ),
        "## Targets",
        "",
        *table(goals),
        "",
        *reasons(goals),
        "",
        TARGET_COMMANDS,
        "",
    ]
    text += [
        shown(section, output) for title, (section, output) in done.items() if title != "Targets"
    ]
    text += [BUILDS, *([run(against(words.other, words.tool, places))] if words.other else [])]
    real = words.other and words.tool and words.data
    text += [DEFAULTS, *([run(defaults_against(words.other, places))] if real else [])]
    PAGE.write_text("\n".join(text))
    print(PAGE)


def kept(section: Section, folder: Path, resume: bool) -> str:
    """Return the output of a benchmark, reusing the output of an interrupted run."""
    file = folder / f"{re.sub(r'[^a-z]+', '-', section.title.lower())}.txt"
    if not (resume and file.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(run(section))
    return file.read_text()


def run(section: Section) -> str:
    print(section.title, file=sys.stderr, flush=True)
    script, *rest = section.words
    done = subprocess.run(
        [sys.executable, str(HERE / script), *rest],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )
    return (
        done.stdout.strip()
        if done.returncode == 0
        else f"This benchmark ended with code {done.returncode}."
    )


def shown(section: Section, output: str) -> str:
    """Format a section of the page; the command shows no folders of this machine."""
    body = output if section.markdown else f"```\n{output}\n```"
    script, *words = section.words
    if script == "reconstruction.py":
        words = ["make_semireal.py"] * words[0].endswith(".py") + words[-2:]
    return f"## {section.title}\n\n{body}\n\n`python benchmarks/{' '.join([script, *words])}`\n"


def machine() -> str:
    """Describe processor, cores and versions."""
    names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    found = [f"Python {platform.python_version()}"]
    for package in PEER_PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    if shutil.which("bart"):
        bart = subprocess.run(["bart", "version"], capture_output=True, text=True, check=True)
        found.append(f"BART {bart.stdout.strip()}")
    processor = names[0] if names else platform.machine()
    return f"Machine: {processor}, {os.cpu_count()} cores; {', '.join(found)}."


def calibration_targets(outputs: dict[str, str]) -> list[Target]:
    """Check ESPIRiT against SigPy and GRAPPA against pygrappa.

    The ratios are read from the peers' rows in the output of calibration.py.
    """
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in outputs["Calibration: ESPIRiT and GRAPPA"].splitlines()
    ]
    found = []
    for title, peer, goal, aim in (
        ("ESPIRiT against SigPy", "SigPy", 10, 25),
        ("GRAPPA against pygrappa", "pygrappa.mdgrappa", 10, 30),
    ):
        row = next((row for row in rows if row[0] == peer), None)
        figure = f"{row[3]}x wall, {row[4]}x CPU" if row else ""
        found.append(
            Target(title, f"{goal}x", f"{aim}x", figure, float(row[3]) >= goal if row else None)
        )
    return found


def reading_targets(outputs: dict[str, str]) -> list[Target]:
    """Check the wall times in the output of reading.py for the whole file in the first layout."""
    block = outputs["Reading"].partition("whole file")[2].partition("\n\n")[0]
    wall = {
        name.strip(): float(seconds)
        for name, seconds in re.findall(r"^ +(\S.*?)\s{2,}(\d+\.\d+)", block, re.MULTILINE)
    }
    ours = min((wall[name] for name in wall if name.startswith("ours")), default=0.0)
    found = []
    for peer, goal, aim in (("h5py", 2, 3), ("mat73", 3, 4)):
        ratio = wall[peer] / ours if ours and peer in wall else None
        figure = f"{ratio:.1f}x wall" if ratio else ""
        found.append(
            Target(
                f"full v7.3 read against {peer}",
                f"{goal}x",
                f"{aim}x",
                figure,
                ratio >= goal if ratio else None,
            )
        )
    return found


if __name__ == "__main__":
    main()
