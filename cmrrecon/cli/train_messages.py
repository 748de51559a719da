"""Messages of `cmrrecon train`: its plan, its pace and the state of the run."""

import json as json_text
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmrrecon.cli.console import Console, Progress

if TYPE_CHECKING:
    import torch

    from cmrrecon.cli.train_scans import Scans
    from cmrrecon.training.distributed import Group
    from cmrrecon.training.plan import Plan
    from cmrrecon.training.recipe import Recipe
    from cmrrecon.training.rehearsal import Rehearsal
    from cmrrecon.training.state import Run

# The recipe for a first run on a CPU, and the length of a run in seconds from which it is
# recommended.
QUICK, LONG = "quick", 2 * 3600.0


def print_recipe(recipe: "Recipe") -> None:
    """Print the recipe as JSON on standard output."""
    from cmrrecon.tools import provenance

    print(json_text.dumps(provenance.plain(recipe.as_dict()), indent=1))


def print_start(
    name: str, recipe: "Recipe", scans: "Scans", device: "torch.device", console: Console
) -> None:
    """Print the network, the device and the number of scans."""
    counts = (
        f"{recipe.data.scenes} random scans per epoch"
        if recipe.data.scenes
        else f"{len(scans.training)} scans for training, {len(scans.validation)} for validation, "
        f"{len(scans.unseen)} held out"
    )
    console.say(f"{name}: {recipe.network['name']} on {device}; {counts}")
    if not recipe.data.scenes and not scans.validation:
        console.warn(
            "there is no scan for validation, so best.safetensors will contain the weights of the "
            "last epoch"
        )


def print_plan(plan: "Plan", recipe: "Recipe", group: "Group", console: Console) -> None:
    """Print how the recipe is trained on this device, and the number of windows per step."""
    threads = "thread" if plan.workers == 1 else "threads"
    if not plan.batches:
        console.say(
            f"plan: one series at a time, {plan.precision}, {plan.workers} reading {threads}; "
            "memory use is not estimated"
        )
        return

    sizes = sorted({*plan.batches.values()})
    kinds = "kinds" if len(plan.batches) > 1 else "kind"
    saving = "activations recomputed" if plan.checkpointing else "activations stored"
    console.say(
        f"plan: batches of {_range(sizes, 1)} for {len(plan.batches)} {kinds} of scans "
        f"(coils × y × x), {plan.precision}, {saving}, {plan.workers} reading {threads}; "
        f"about {plan.step_mb / 1024:.1f} GB of {plan.device_mb / 1024:.1f} GB"
    )
    if len(sizes) > 1:
        console.table(
            "windows per batch",
            ["coils × y × x", "windows"],
            [[name, str(size)] for name, size in plan.batches.items()],
        )

    accumulated = recipe.optimiser.accumulate
    console.say(
        f"windows per step: {_range(sizes, accumulated * group.size)} "
        f"(accumulated batches: {accumulated}, processes: {group.size})"
    )


def _range(sizes: list[int], factor: int) -> str:
    """Format the range of sorted sizes times a factor, such as `2 to 8`."""
    low, high = sizes[0] * factor, sizes[-1] * factor
    return f"{low}" if low == high else f"{low} to {high}"


def report_rehearsal(
    name: str,
    recipe: "Recipe",
    found: "Rehearsal",
    plan: "Plan",
    scans: "Scans",
    device: "torch.device",
    out: Path,
    console: Console,
) -> None:
    """Print how long the run would take, and its plan as JSON with --json."""
    epochs = recipe.schedule.epochs
    console.say(
        f"{found.windows} windows, {found.batches} batches and {found.steps} steps per epoch; "
        f"{epochs} epochs; {found.done} batches done, {found.left} left"
    )
    step: float | None = None
    seconds: float | None = None
    if math.isfinite(found.seconds):
        step = found.seconds * recipe.optimiser.accumulate
        seconds = found.seconds * found.left
        which = "second" if found.measured > 1 else "first"
        console.say(
            f"{step:.3g} s per step (measured on the {which} real batch): "
            f"about {_duration(seconds)} in total, without validation; "
            f"peak memory {found.memory_mb} MB so far"
        )
        if device.type == "cpu" and seconds > LONG and name != QUICK:
            console.say(
                f"this is long for a CPU: --recipe {QUICK} trains a small network in about ten "
                "minutes"
            )
    console.say("nothing was written")

    record = {
        "status": "planned",
        "recipe": name,
        "network": recipe.network["name"],
        "device": str(device),
        "output": str(out),
        "scans": {
            "training": len(scans.training),
            "validation": len(scans.validation),
            "held_out": len(scans.unseen),
            "random_an_epoch": recipe.data.scenes,
        },
        "epochs": epochs,
        "windows_an_epoch": found.windows,
        "batches_an_epoch": found.batches,
        "steps_an_epoch": found.steps,
        "batches_done": found.done,
        "batches_left": found.left,
        "plan": plan.as_dict(),
        "seconds_a_batch": None if seconds is None else round(found.seconds, 4),
        "seconds_a_step": None if step is None else round(step, 4),
        "seconds_measured_on": found.measured,
        "seconds_left": None if seconds is None else round(seconds, 1),
        "peak_memory_mb": found.memory_mb,
    }
    console.result(record, str(out))


def _duration(seconds: float) -> str:
    """Format seconds in a suitable unit."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


class Pace:
    """Measures the pace of a run from the records of its batches, and advances the progress bar."""

    def __init__(self, bar: Progress, processes: int) -> None:
        self.bar, self.processes = bar, processes
        self.seconds = self.waited = self.windows = 0.0

    def on_step(self, record: Mapping[str, Any]) -> None:
        """Count a batch; validation records have no duration and are ignored."""
        if "seconds" in record:
            self.seconds += record["seconds"]
            self.waited += record["seconds"] * record["waiting"]
            self.windows += record["windows"] * self.processes
            self.bar.advance(f"epoch {record['epoch'] + 1}, loss {record['loss']:.4f}")

    def report(self, console: Console) -> None:
        """Print the pace of the run, if there was a batch."""
        if self.windows:
            waited = self.waited / self.seconds
            console.say(
                f"{self.windows / self.seconds:.2f} windows per second, {waited:.0%} of the time "
                "spent waiting for data"
            )


def report_run(recipe: str, run: "Run", out: Path, max_steps: int | None, console: Console) -> None:
    """Print whether the run is finished, and where its weights are."""
    from cmrrecon.training.saving import BEST, LAST

    finished = run.is_over(max_steps)
    record: dict[str, Any] = {
        "status": "done" if finished else "stopped",
        "recipe": recipe,
        "steps": run.step,
        "epochs": run.epoch,
        "last": str(out / LAST),
        "weights": str(out / BEST) if (out / BEST).exists() else None,
        "validated": math.isfinite(run.best),
    }
    if run.epoch == 0:
        console.warn(
            f"the run ended after step {run.step}, before the end of its first epoch, so the "
            f"weights in {BEST} have not been validated"
        )
    if not finished:
        console.say(f"stopped after step {run.step}; run the same command again to resume")
    console.result(record, str(record["weights"] or record["last"]))
