"""Measure training: windows per second, memory, and time spent waiting for data.

Usage: python benchmarks/training.py
       python benchmarks/training.py builds OTHER_CHECKOUT ... (see training_builds.py)

A run takes about ten minutes on one processor and writes docs/experiments/training-speed.md.

Everything is measured with the step function of the training loop, on stores made by `cmrrecon
simulate` and `cmrrecon preprocess`. Losses and the sizes of the reduced networks are the same as in
docs/experiments/trial.py.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import training_builds
from all import machine
from engines import peak_mb, restart_peak
from records import ENVIRONMENT, HERE

sys.path.append(str(HERE.parent / "docs" / "experiments"))
from trial import BUDGET, OPTIMISER, SIZES

if TYPE_CHECKING:
    from cmrrecon.training.dataset import Windows
    from cmrrecon.training.recipe import Recipe
    from cmrrecon.training.state import Run

PAGE = HERE.parent / "docs" / "experiments" / "training-speed.md"
COILS, FRAMES, SUBJECTS = 4, 8, 2
WINDOW = 5
BASE, COMPILED = "fp32", "compiled"
# Modes that are keys of a recipe, and others.
KEYS = {
    "middle maps": ["schedule.maps=middle"],
    "strips": ["data.columns=64"],
    "both": ["schedule.maps=middle", "data.columns=64"],
}
MODES = (BASE, *KEYS, "bf16", "checkpointing", "plain layout")
THREADS_THAT_READ = (1, 2, 4)
# Number of batches in the real loop, and how many at its start are ignored because they wait for
# the disk.
LOOP_STEPS, LOOP_START = 20, 2


@dataclass(frozen=True)
class Case:
    """A network to train.

    Attributes
    ----------
    recipe, settings : str
        Arguments of `cmrrecon train`.
    matrix : tuple of int
        y and x of the simulated scans.
    rounds : int
        Steps measured in every mode, after a warm-up step.
    thorough : bool
        Whether to also measure compiling, and waiting in the real loop.
    """

    recipe: str
    settings: tuple[str, ...]
    matrix: tuple[int, int]
    rounds: int
    thorough: bool = False


def reduced(name: str, *, thorough: bool = False) -> Case:
    settings = (*BUDGET, *SIZES[name], *OPTIMISER, "data.domain=['subject']")
    return Case(name, settings, (104, 224), 6, thorough)


CASES = {
    "genre-cmr, reduced": reduced("genre-cmr", thorough=True),
    "promptmr, reduced": reduced("promptmr"),
    "promptmr-plus, reduced": reduced("promptmr-plus"),
    "promptmr, the paper's size": Case("promptmr", ("data.validation=0",), (64, 96), 3),
}
COLUMNS = (
    "network", "coils x y x x", "mode", "windows per CPU second", "speed / fp32",
    "memory MB", "memory / fp32", "plan MB", "plan / memory",
    f"waiting, {', '.join(map(str, THREADS_THAT_READ))} threads",
)  # fmt: skip

HEAD = """# How fast training is, and what it needs

Made by `python benchmarks/training.py`. {machine}

**Time** is the CPU time of one thread for the steps of the training loop: forward, losses,
backward, discriminator, optimisers. A batch is one window of five frames, prepared in advance.
Modes take turns in one process, one step each on the same window. Speeds refer to the median step;
ratios are medians over pairs of steps. Other work shared the cores during the measurement, so wall
times are not given.

**Modes** are compared with `fp32` one by one. `fp32` is what `cmrrecon train` does by default on a
CPU: activations are kept, and convolutions use the channels-last layout. `middle maps` is `--set
schedule.maps=middle`, `strips` is `--set data.columns=64`, and `both` is the two together; a strip
counts as a window. `bf16` is `--set schedule.precision=bf16`, `checkpointing` is `--checkpointing`,
and `plain layout` undoes channels last. `compiled` is `torch.compile` of the U-Nets; `cmrrecon
train` does not offer it, and it was measured for only one network because it takes minutes.

**Memory** is the peak of the resident memory of a process in its first steps, in addition to its
memory before the first step (libraries, weights, windows). *plan*: the prediction of `cmrrecon
train`, without weights and without the slices that it keeps in memory.

**Waiting** is the fraction of the wall time that `cmrrecon train` waited for windows, from its
`log.jsonl`, in {counted} steps with 1, 2 and 4 reading threads. The store stays in memory once its
slices have been read.

**Networks**: `reduced` is as in [trial.py](trial.py), four cascades of 8 features; the
paper's size is the size in `--recipe promptmr`, on a small matrix. Scans are simulated cine with
{coils} virtual coils.
"""


def main() -> None:
    if sys.argv[1:2] == ["builds"]:
        training_builds.main(sys.argv[2:])
        return
    words = arguments()
    if words.measure:
        print(json.dumps(MEASURES[words.measure](CASES[words.case], words.store, words.mode)))
        return
    lines, notes = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"], []
    print("\n".join(lines))
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for matrix in {case.matrix: None for case in CASES.values()}:
            make_store(matrix, work)
        for name, case in CASES.items():
            rows, said = measured(name, case, work)
            print("\n".join(rows), flush=True)
            lines, notes = lines + rows, notes + said
    head = HEAD.format(machine=machine(), counted=LOOP_STEPS - LOOP_START, coils=COILS)
    PAGE.write_text("\n".join([head, *lines, "", *(f"- {note}" for note in notes)]) + "\n")
    print(PAGE)


def measured(name: str, case: Case, work: Path) -> tuple[list[str], list[str]]:
    """Return the table rows of a network, and notes."""
    store = store_of(case.matrix, work)
    speeds = child("speed", name, store, work)
    memory = {mode: child("memory", name, store, work, mode) for mode in MODES}
    steps: dict[str, list[float]] = speeds["seconds"]
    shares = (
        ", ".join(f"{waiting(case, store, work, threads):.1%}" for threads in THREADS_THAT_READ)
        if case.thorough
        else "-"
    )
    rows = []
    for mode in (*MODES, COMPILED) if case.thorough else MODES:
        cells = [name, "x".join(map(str, (COILS, *case.matrix))), mode]
        if mode in steps:
            ratio = statistics.median(
                base / this for base, this in zip(steps[BASE], steps[mode], strict=True)
            )
            cells += [f"{1 / statistics.median(steps[mode]):.2f}", f"{ratio:.2f}"]
        else:
            cells += [f"not measured: {speeds['not compiled']}", "-"]
        if mode in memory:
            peak, plan = memory[mode]["peak"], memory[mode]["plan"]
            cells += [
                f"{peak:.0f}",
                f"{peak / memory[BASE]['peak']:.2f}",
                f"{plan:.0f}",
                f"{plan / peak:.2f}",
            ]
        else:
            cells += ["-"] * 4
        rows.append(f"| {' | '.join([*cells, shares if mode == BASE else '-'])} |")
    notes = [
        f"{name}: {speeds['parameters'] / 1e6:.2g} million parameters; "
        f"a window is made in {speeds['making']}."
    ]
    if COMPILED in steps:
        notes.append(
            f"{name}: the first compiled step took {speeds['compiling']:.0f} s of CPU time, "
            "compilers included."
        )
    return rows, notes


def make_store(matrix: tuple[int, int], work: Path) -> None:
    raw, (y, x) = work / f"raw-{matrix[0]}", matrix
    sizes = ["--size", f"{y}x{x}", "--frames", FRAMES, "--slices", 1, "--coils", 2 * COILS]
    for seed in range(SUBJECTS):
        cmrrecon("simulate", *sizes, "--seed", seed, "--out-dir", raw)
    cmrrecon("preprocess", raw, "--coils", COILS, "--out-dir", store_of(matrix, work))


def store_of(matrix: tuple[int, int], work: Path) -> Path:
    return work / f"store-{matrix[0]}"


def waiting(case: Case, store: Path, work: Path, threads: int) -> float:
    """Return the share of time that the real loop waits for data."""
    out = work / f"run-{threads}"
    settings = [word for text in case.settings for word in ("--set", text)]
    run = [
        "--recipe",
        case.recipe,
        "--data",
        store,
        "--out",
        out,
        "--device",
        "cpu",
        "--workers",
        threads,
        "--max-steps",
        LOOP_STEPS,
    ]
    cmrrecon("train", *run, *settings)
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    counted = [record for record in records if "waiting" in record][LOOP_START:]
    return sum(record["waiting"] * record["seconds"] for record in counted) / sum(
        record["seconds"] for record in counted
    )


def cmrrecon(*words: object) -> None:
    command = [sys.executable, "-m", "cmrrecon", *map(str, words), "--quiet"]
    subprocess.run(command, env=one_thread(), stdout=subprocess.DEVNULL, check=True)


def child(measure: str, case: str, store: Path, work: Path, mode: str = BASE) -> dict[str, Any]:
    """Run a measurement in a separate process."""
    command = [
        sys.executable,
        __file__,
        "--measure",
        measure,
        "--case",
        case,
        "--store",
        str(store),
        "--mode",
        mode,
    ]
    # Earlier compilations are ignored, and only one compiler runs at a time.
    compiling = {
        "TORCHINDUCTOR_CACHE_DIR": str(work / "compiled"),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
    }
    done = subprocess.run(
        command, env=one_thread() | compiling, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def one_thread() -> dict[str, str]:
    return {**ENVIRONMENT, "OMP_NUM_THREADS": "1"}


def measure_speed(case: Case, store: Path, _: str) -> dict[str, Any]:
    """Return the CPU seconds of the steps in every mode, and of making the windows."""
    from cmrrecon import SamplingMask
    from cmrrecon.training.batch import Sample

    windows = prepared(case, store)[1]
    places = [
        windows.places[number * len(windows) // (case.rounds + 1)]
        for number in range(case.rounds + 1)
    ]
    samples: list[Sample] = []
    making: dict[str, list[float]] = defaultdict(list)
    for epoch in range(3):
        for place in places:
            start = time.process_time()
            samples.append(windows.sample(place, epoch))
            spent = time.process_time() - start
            making[SamplingMask.of(samples[-1].mask).KIND].append(spent)
    facts: dict[str, Any] = {
        "making": " and ".join(
            f"{1e3 * statistics.median(times):.0f} ms ({kind})" for kind, times in making.items()
        )
    }
    given = {mode: prepared(case, store, mode) for mode in MODES}
    runs = {mode: run_of(recipe, mode) for mode, (recipe, _) in given.items()}
    facts["parameters"] = sum(parameter.numel() for parameter in runs[BASE].network.parameters())
    if case.thorough:
        given[COMPILED] = given[BASE]
        compiled, start = run_of(given[BASE][0], COMPILED), cpu_seconds()
        try:
            step(compiled, samples[0])
            runs[COMPILED] = compiled
            facts["compiling"] = cpu_seconds() - start
        except Exception as error:  # there is no working compiler: the record states the reason
            facts["not compiled"] = str(error).splitlines()[0]
    seconds: dict[str, list[float]] = defaultdict(list)
    for place in places:
        for mode, run in runs.items():
            sample = given[mode][1].sample(place, 0)
            start = time.process_time()
            step(run, sample)
            seconds[mode].append(time.process_time() - start)
    return {**facts, "seconds": {mode: times[1:] for mode, times in seconds.items()}}


def measure_memory(case: Case, store: Path, mode: str) -> dict[str, Any]:
    """Return the peak memory in MB of the first steps, and the prediction of the plan."""
    from cmrrecon.training.dataset import KEPT_BYTES
    from cmrrecon.training.plan import make_plan

    recipe, windows = prepared(case, store, mode)
    run = run_of(recipe, mode)
    samples = [windows.sample(place, 0) for place in windows.places[: case.rounds]]
    whole = make_plan(recipe, windows.entries, cpu(), checkpointing=mode == "checkpointing").step_mb
    weights = sum(parameter.nbytes for parameter in run.network.parameters())
    held = restart_peak()
    for sample in samples:
        step(run, sample)
    return {"peak": peak_mb() - held, "plan": whole - (weights + KEPT_BYTES) / 2**20}


MEASURES = {"speed": measure_speed, "memory": measure_memory}


def prepared(case: Case, store: Path, mode: str = BASE) -> tuple["Recipe", "Windows"]:
    """Return the recipe in this mode, and its windows."""
    from cmrrecon.training import recipe as recipes
    from cmrrecon.training.dataset import Windows
    from cmrrecon.training.entries import read_entries

    recipe = recipes.load(case.recipe, [*case.settings, *KEYS.get(mode, [])])
    return recipe, Windows(
        store, read_entries(store), WINDOW, recipe.sampling, recipe.data, recipe.schedule.seed
    )


def run_of(recipe: "Recipe", mode: str) -> "Run":
    """Return the run that trains in this mode."""
    import torch

    from cmrrecon.training.loop import ALONE
    from cmrrecon.training.plan import Plan
    from cmrrecon.training.state import Run

    plan = Plan(
        checkpointing=mode == "checkpointing", precision="bf16" if mode == "bf16" else "fp32"
    )
    run = Run(recipe, cpu(), ALONE, plan)
    if mode == "plain layout":
        for part in run.trained():
            part.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    if mode == COMPILED:
        for part in run.network.convolutions():
            part.compile()
    return run


def step(run: "Run", sample: Any) -> None:
    from cmrrecon.training.loop import take_step

    take_step(run, [sample], last=True, device=cpu())


def cpu() -> Any:
    import torch

    return torch.device("cpu")


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its finished children."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in spent)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--mode", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
