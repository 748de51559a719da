"""Compare what training costs with another checkout, and with a plain step of PromptMR.

Two questions:

1. How many CPU seconds does this build need for the validation score that the other checkout, such
   as a git worktree of commit 4ac376b, reaches after 240 windows? Both train with `cmrrecon train`
   on the scans, sizes and settings of docs/experiments/trial.py, this build with its cheaper
   settings (CHEAP). For every network and seed the other build trains first and sets the score:
   SSIM over the full field of view, which also selects weights in training. This build then trains
   with more and more windows (BUDGETS) until it reaches that score. Each run has a schedule of its
   own. Costs of failed budgets are printed too, but not added.
2. How many windows does a CPU second hold at the published size, compared with a step of
   naive_promptmr.py? Steps take turns on the same windows.

CPU time is the user and system time of a whole process with one thread. Scores are computed by this
build on whole scans of held-out subjects. Results are kept in the work folder, so an interrupted
run continues where it stopped, and only a build that has changed is measured again.

Usage: python benchmarks/training.py builds OTHER_CHECKOUT --tool make_semireal.py --data DATA
--work FOLDER [--networks NAME ...] [--seeds N ...] [--only builds|steps]
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from builds import Build, Usage, say
from records import HERE, source_digest

sys.path.append(str(HERE.parent / "docs" / "experiments"))
from trial import BUDGET, OPTIMISER, SIZES, UNSEEN, make_data

OTHER_WINDOWS = 240
BUDGETS = (180, 240, 300, 360, 480, 600)
SEEDS = (0, 1, 2)
# The last quarter is on whole scans. Weights are averaged; PLAIN has a smaller rate at the end.
STRIPS = ["data.columns=64", "data.whole_from=9"]
AVERAGED = ["schedule.epochs=12", "optimiser.step=12", "schedule.average=0.95"]
CHEAP: dict[str, list[str]] = {
    "promptmr": [*STRIPS, *AVERAGED, "schedule.maps=middle"],
    "promptmr-plus": [*STRIPS, *AVERAGED],
    "genre-cmr": [*STRIPS, *AVERAGED, "schedule.maps=middle"],
}
PLAIN = ["schedule.epochs=6", "optimiser.step=5", "optimiser.factor=0.1"]
# Epochs of the schedules of CHEAP and of PLAIN.
EPOCHS = {"this": 12, "other": 6}
TARGET, TARGET_STEP = 3.0, 1.5
# Frames of each test scan that are scored, of four.
SCORED = (1, 2)
# Coils, y and x of the steps at the published size, and steps after the first.
PUBLISHED, STEPS, ACS = (4, 64, 96), 3, 16
WAYS: dict[str, list[str]] = {
    "whole window": [],
    "maps of the middle frame": ["schedule.maps=middle"],
    "and bf16": ["schedule.maps=middle", "schedule.precision=bf16"],
    "and strips of 48 columns": [
        "schedule.maps=middle", "schedule.precision=bf16", "data.columns=48",
    ],
}  # fmt: skip


class Runs:
    """Trains with each build in its own processes, and keeps the results."""

    def __init__(self, builds: dict[str, Build], folder: Path) -> None:
        self.builds, self.folder = builds, folder
        self.path = folder / "training.jsonl"
        self.digests = {name: source_digest(build.checkout) for name, build in builds.items()}
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.known: dict[str, Any] = {line["key"]: line for line in map(json.loads, lines)}

    def train(self, build: str, network: str, seed: int, windows: int) -> Any:
        """Return cost and scores of one run; a run that is already known is not repeated."""
        budget = [f"schedule.windows={windows // EPOCHS[build]}", f"schedule.seed={seed}"]
        schedule = CHEAP[network] if build == "this" else PLAIN
        words = [*BUDGET, *SIZES[network], *OPTIMISER, *schedule, *budget]
        key = " ".join([self.digests[build], network, *words])
        if key in self.known:
            return self.known[key]

        say(f"{network} seed {seed}: {build} build, {windows} windows")
        with tempfile.TemporaryDirectory(dir=self.folder) as run:
            places = ("--data", str(self.folder / "train-store"), "--out", run)
            sets = [word for text in words for word in ("--set", text)]
            one = ("--recipe", network, "--device", "cpu", "--workers", "1")
            used = self.builds[build].cmrrecon("train", *one, *places, *sets)
            scores = self._score(Path(run) / "best.safetensors")

        self.known[key] = {"key": key, "usage": asdict(used), **scores}
        with self.path.open("a") as file:
            file.write(json.dumps(self.known[key]) + "\n")
        return self.known[key]

    def _score(self, weights: Path) -> dict[str, float]:
        """Score in a separate process, because this process must stay small."""
        this = self.builds["this"]
        this.run(__file__, "--score", str(weights), "--work", str(self.folder))
        found: dict[str, float] = json.loads(this.log.read_text().splitlines()[-1])
        return found

    def compare(self, network: str, seed: int) -> tuple[list[str], float | None]:
        """Return rows of the table, and the ratio of the costs; None if no budget reaches it."""
        other = self.train("other", network, seed, OTHER_WINDOWS)
        rows = [row([network, seed, "other", OTHER_WINDOWS, *cells(other), ""])]
        for windows in BUDGETS:
            this = self.train("this", network, seed, windows)
            ratio = Usage(**other["usage"]).cpu / Usage(**this["usage"]).cpu
            reached = this["ssim"] >= other["ssim"]
            shown = f"{ratio:.2f}" if reached else f"({ratio:.2f})"
            rows.append(row([network, seed, "this", windows, *cells(this), shown]))
            if reached:
                return rows, ratio
        return rows, None


def cells(run: dict[str, Any]) -> list[str]:
    return [f"{run['usage']['cpu']:.1f}", f"{run['ssim']:.4f}", f"{run['psnr']:.2f}"]


def row(values: list[Any]) -> str:
    return f"| {' | '.join(map(str, values))} |"


def heading(columns: str) -> str:
    return f"| {columns} |\n" + "|---" * (columns.count("|") + 1) + "|"


def print_builds(runs: Runs, networks: list[str], seeds: list[int]) -> None:
    print(heading("network | seed | build | windows | CPU s | SSIM | PSNR dB | times as cheap"))
    found: dict[str, list[float | None]] = defaultdict(list)
    for network in networks:
        for seed in seeds:
            rows, ratio = runs.compare(network, seed)
            found[network].append(ratio)
            print("\n".join(rows), flush=True)

    print()
    for network, ratios in found.items():
        reached = [ratio for ratio in ratios if ratio is not None]
        middle = f"{statistics.median(reached):.2f}" if reached else "-"
        missed = len(reached) < len(ratios) or min(reached) < TARGET
        print(
            f"- {network}: {middle} times as cheap (median of {len(reached)} of {len(ratios)} "
            f"seeds){', missed' if missed else ''}"
        )


def score(weights: Path, work: Path) -> dict[str, float]:
    """Return the validation scores of a network on whole scans of subjects not trained on."""
    import torch

    from cmrrecon.networks.checkpoints.weights import load
    from cmrrecon.training import recipe as recipes
    from cmrrecon.training.dataset import Windows
    from cmrrecon.training.entries import read_entries
    from cmrrecon.training.validation import validate

    store = work / "test-store"
    entries = [entry for entry in read_entries(store) if UNSEEN not in entry["path"]]
    recipe = recipes.load("promptmr", BUDGET)
    held = Windows(store, entries, 5, recipe.sampling, recipe.data, 0, fixed=True)
    held.places = [place for place in held.places if place.frame in SCORED]
    found = validate(load(weights).network, held, torch.device("cpu"), lambda: False)
    assert found is not None
    return found


def print_steps() -> None:
    """Compare steps at the published size with naive ones, in turn on windows of random k-space."""
    import torch
    from naive_promptmr import NaivePromptMR

    from cmrrecon.losses.ssim import ssim_loss
    from cmrrecon.operators.coils import rss
    from cmrrecon.operators.fourier import ifft2c
    from cmrrecon.sampling.make import make_mask
    from cmrrecon.training import recipe as recipes
    from cmrrecon.training.batch import Sample, collate
    from cmrrecon.training.distributed import ALONE
    from cmrrecon.training.loop import take_step
    from cmrrecon.training.plan import Plan
    from cmrrecon.training.state import Run

    device, (coils, y, x) = torch.device("cpu"), PUBLISHED
    torch.set_num_threads(1)
    mask = make_mask("uniform", frames=1, y=y, x=x, acceleration=4, acs=ACS, seed=0)

    def sample(columns: int) -> Sample:
        full = torch.randn(5, coils, y, columns, dtype=torch.complex64)
        target, nothing = rss(ifft2c(full[2])), torch.zeros(y, columns, dtype=torch.bool)
        limit = float(target.amax())
        return Sample(
            full * mask, mask, ACS, target, full[2], limit, "", "", torch.zeros(0), nothing
        )

    naive = NaivePromptMR()
    optimiser = torch.optim.AdamW([p for p in naive.parameters() if p.requires_grad], lr=2e-4)

    def naive_step(found: Sample) -> None:
        batch = collate([found], device)
        image = naive(batch.kspace.mT.contiguous(), batch.mask.mT[:, :, None]).mT
        optimiser.zero_grad()
        ssim_loss(image, batch.target, batch.limit).backward()
        torch.nn.utils.clip_grad_norm_(naive.parameters(), 0.01)
        optimiser.step()

    # All ways train the same network, which is large.
    chosen = {way: recipes.load("promptmr", settings) for way, settings in WAYS.items()}
    run = Run(chosen["whole window"], device, ALONE, Plan())

    seconds: dict[str, list[float]] = defaultdict(list)
    for number in range(STEPS + 1):
        torch.manual_seed(number)
        start = time.process_time()
        naive_step(sample(x))
        times = {"naive": time.process_time() - start}
        for way, recipe in chosen.items():
            precision = "bf16" if recipe.schedule.precision == "bf16" else "fp32"
            run.recipe, run.plan = recipe, Plan(precision=precision)
            start = time.process_time()
            given = sample(recipe.data.columns or x)
            take_step(run, [given], last=True, device=device)
            times[way] = time.process_time() - start
        # The first step also pays for memory and libraries.
        for way, spent in times.items() if number else ():
            seconds[way].append(spent)

    print("\n" + heading("step of PromptMR at its published size | windows per CPU s | / naive"))
    for way, spent in seconds.items():
        pairs = zip(seconds["naive"], spent, strict=True)
        ratio = statistics.median(base / this for base, this in pairs)
        print(row([way, f"{1 / statistics.median(spent):.3f}", f"{ratio:.2f}"]))
    print(f"\nThe target is {TARGET_STEP} times the naive step.", flush=True)


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    shown = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=shown)
    parser.add_argument("other", type=Path, nargs="?", help="checkout of the other build")
    parser.add_argument("--tool", type=Path, help="make_semireal.py")
    parser.add_argument("--data", type=Path, default=os.environ.get("CMRRECON_TEST_DATA"))
    parser.add_argument("--work", type=Path, help="where scans and results are kept")
    parser.add_argument("--networks", nargs="+", choices=list(CHEAP), default=list(CHEAP))
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--only", choices=("builds", "steps"))
    parser.add_argument("--score", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    words = arguments(given)
    if words.score:
        print(json.dumps(score(words.score, words.work)))
        return

    if words.only != "steps":
        work, python = words.work.resolve(), Path(sys.executable)
        work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as name:
            builds = {
                "this": Build(HERE.parent.resolve(), python, Path(name) / "this.log"),
                "other": Build(words.other.resolve(), python, Path(name) / "other.log"),
            }
            for build in builds.values():
                build.prepare()
            commits = " against ".join(build.commit() for build in builds.values())
            print(f"Build {commits}\n", flush=True)

            make_data(words.tool.resolve(), words.data.resolve(), work)
            print_builds(Runs(builds, work), words.networks, words.seeds)

    if words.only != "builds":
        print_steps()


if __name__ == "__main__":
    main()
