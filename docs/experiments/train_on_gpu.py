"""Train kt-unrolled further, on a GPU if there is one.

The run starts from the shipped weights (or from scratch) and draws new random scans. It stops after
a time limit or on SIGTERM; the same command goes on. At the end it prints the pace and the learning
curve. With --ship it also writes the best weights as the package contains them.

python docs/experiments/train_on_gpu.py RUN --minutes 60 [--ship NEW.safetensors]
    [--scratch --set network.channels=96 ...]
"""

import argparse
import json
import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ship import ship

from cmrrecon.networks.checkpoints import weights
from cmrrecon.tools.devices import choose_device
from cmrrecon.training import checkpoint
from cmrrecon.training.checks import check
from cmrrecon.training.distributed import ALONE
from cmrrecon.training.identity import agreed_plan, only_run
from cmrrecon.training.loop import VALIDATION, Hooks, train
from cmrrecon.training.plan import Plan
from cmrrecon.training.recipe import Recipe, load
from cmrrecon.training.saving import BEST, LAST, LOG, save_weights
from cmrrecon.training.scenes import Scenes
from cmrrecon.training.state import Run
from cmrrecon.training.validation import PROTOCOL, validate

NETWORK, START = "kt-unrolled", "start.safetensors"
# The settings of the shipped weights, whose steps used two scans each, with a seed of their own so
# that every scan is new.
OPTIMISER = ("optimiser.lr=0.0005", "optimiser.factor=0.85", "optimiser.accumulate=2")
SETTINGS = (*OPTIMISER, "data.scenes=200", "schedule.epochs=40", "schedule.seed=48")


class Progress:
    """Counts scans and seconds, prints the pace, and stops the run when its time is over."""

    def __init__(self, minutes: float) -> None:
        self.end = time.monotonic() + 60 * minutes
        self.scans, self.seconds, self.waited = 0, 0.0, 0.0

    def begin(self, batches: int, done: int) -> None:
        """Print what is left to do."""
        print(f"{done} of {batches} scans are done", flush=True)

    def step(self, record: Mapping[str, Any]) -> None:
        """Count a scan, and print the pace once in a while."""
        if "seconds" not in record:
            return
        self.scans += record["windows"]
        self.seconds += record["seconds"]
        self.waited += record["seconds"] * record["waiting"]
        if self.scans % 100 == 0:
            print(self.pace(), flush=True)

    def pace(self) -> str:
        """Return the scans per second, and the fraction of the time spent waiting for them."""
        if not self.scans:
            return "no scan in this call"
        rate, waited = self.scans / self.seconds, self.waited / self.seconds
        return f"{self.scans} scans, {rate:.2f} per second, {waited:.0%} spent waiting for data"

    def is_over(self) -> bool:
        """Return whether the run must save its state and stop."""
        return time.monotonic() >= self.end

    def stop(self, *_: Any) -> None:
        """Stop after the current scan."""
        self.end = time.monotonic()


def begin_with_shipped(recipe: Recipe, device: torch.device, plan: Plan, out: Path) -> None:
    """Make a run whose first, already validated state has the shipped weights."""
    run = Run(recipe, device, ALONE, plan)
    state = weights.load(weights.installed_file(NETWORK)).network.state_dict()
    for network in (run.network, run.shipped()):
        network.load_state_dict(state)

    held = Scenes(recipe.data, recipe.schedule.seed, fixed=True)
    found = validate(run.shipped(), held, device, lambda: False)
    assert found is not None
    run.best = found["ssim"]

    save_weights(run, out, {VALIDATION: found})
    shutil.copyfile(out / BEST, out / START)
    record = {VALIDATION: found, "protocol": PROTOCOL, "step": 0, "epoch": 0}
    (out / LOG).write_text(json.dumps(record) + "\n")
    checkpoint.save(out / LAST, run.state())


def print_curve(log: Path) -> None:
    """Print the validation after every epoch as a table."""
    print("| epochs | scans | PSNR dB | SSIM |\n|---|---|---|---|")
    scans = 0
    for record in map(json.loads, log.read_text().splitlines()):
        scans += record.get("windows", 0)
        if found := record.get(VALIDATION):
            print(f"| {record['epoch']} | {scans} | {found['psnr']:.2f} | {found['ssim']:.4f} |")


def main() -> None:
    """Train until the end or the time limit, and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, help="threads that make scans")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--scratch", action="store_true", help="do not start from shipped weights")
    parser.add_argument("--ship", type=Path, metavar="FILE")
    asked = parser.parse_args()

    recipe, device = check(load(NETWORK, [*SETTINGS, *asked.set])), choose_device(asked.device)
    progress = Progress(asked.minutes)
    signal.signal(signal.SIGTERM, progress.stop)
    hooks = Hooks(print, print, progress.begin, progress.step, progress.is_over)

    with only_run(asked.run):
        plan = agreed_plan(asked.run, recipe, [], [], [], device, ALONE, workers=asked.workers)
        if not (asked.run / LAST).exists() and not asked.scratch:
            begin_with_shipped(recipe, device, plan, asked.run)
        run = train(recipe, None, [], [], [], asked.run, device, plan, hooks)
        # A run that stops in its first epoch writes weights that were not validated.
        if run.epoch == 0 and not asked.scratch:
            shutil.copyfile(asked.run / START, asked.run / BEST)

    print(f"{device}: {progress.pace()}")
    print_curve(asked.run / LOG)
    if asked.ship and run.epoch:
        ship(asked.run / BEST, asked.ship)


if __name__ == "__main__":
    main()
