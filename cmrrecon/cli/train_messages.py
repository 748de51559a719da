"""What `cmrrecon train` tells: its plan, how fast it goes, and how far it came."""

import json as json_text
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmrrecon.cli.console import Console, Progress

if TYPE_CHECKING:
    import torch

    from cmrrecon.cli.train import Scans
    from cmrrecon.training.distributed import Group
    from cmrrecon.training.plan import Plan
    from cmrrecon.training.recipe import Recipe
    from cmrrecon.training.state import Run


def print_recipe(recipe: "Recipe") -> None:
    """The recipe as JSON, on standard output."""
    from cmrrecon.tools import provenance

    print(json_text.dumps(provenance.plain(recipe.as_dict()), indent=1))


def tell_start(
    name: str, recipe: "Recipe", scans: "Scans", device: "torch.device", console: Console
) -> None:
    """What is trained by which recipe, where, and on how many scans."""
    shares = (
        f"{recipe.data.scenes} random scans an epoch"
        if recipe.data.scenes
        else f"{len(scans.training)} scans to train on, {len(scans.validation)} to validate with, "
        f"{len(scans.unseen)} held out"
    )
    console.say(f"{name}: {recipe.network['name']} on {device}; {shares}")
    if not recipe.data.scenes and not scans.validation:
        console.warn(
            "no scan to validate with: best.safetensors will hold the weights of the last epoch"
        )


def tell_plan(plan: "Plan", recipe: "Recipe", group: "Group", console: Console) -> None:
    """The plan, and how many windows make a step."""
    if not plan.batches:
        console.say(
            f"plan: one series at a time, {plan.precision}, {plan.workers} threads that read; its memory is not estimated"
        )
        return
    sizes = sorted({*plan.batches.values()})
    matrices = f"{len(plan.batches)} {'kinds' if len(plan.batches) > 1 else 'kind'} of scans (coils x y x x)"
    saving = "activations computed again" if plan.checkpointing else "activations kept"
    console.say(
        f"plan: batches of {' to '.join(map(str, {sizes[0]: 0, sizes[-1]: 0}))} for {matrices}, {plan.precision}, {saving}, {plan.workers} "
        f"threads that read; about {plan.step_mb / 1024:.1f} GB of {plan.device_mb / 1024:.1f} GB"
    )
    if len(sizes) > 1:
        console.table(
            "windows that make a batch",
            ["coils x y x x", "windows"],
            [[name, str(size)] for name, size in plan.batches.items()],
        )
    accumulated = recipe.optimiser.accumulate
    windows = " to ".join(
        str(size * accumulated * group.size) for size in {sizes[0]: 0, sizes[-1]: 0}
    )
    console.say(
        f"{windows} windows make a step (batches accumulated: {accumulated}, processes: {group.size})"
    )


class Pace:
    """How fast a run goes: advances its bar, and adds up what `train` logs of every step."""

    def __init__(self, bar: Progress, processes: int) -> None:
        self.bar, self.processes = bar, processes
        self.seconds = self.waited = self.windows = 0.0

    def on_step(self, record: Mapping[str, Any]) -> None:
        """Count a step; records of validations have no seconds and are passed over."""
        if "seconds" in record:
            self.seconds += record["seconds"]
            self.waited += record["seconds"] * record["waiting"]
            self.windows += record["windows"] * self.processes
            self.bar.advance(f"epoch {record['epoch'] + 1}, loss {record['loss']:.4f}")

    def tell(self, console: Console) -> None:
        """Say how fast it went, if a step was taken."""
        if self.windows:
            waited = self.waited / self.seconds
            console.say(
                f"{self.windows / self.seconds:.2f} windows a second, {waited:.0%} of the time spent waiting for data"
            )


def report(recipe: str, run: "Run", out: Path, max_steps: int | None, console: Console) -> None:
    """Tell how far the run came, and where its weights are."""
    from cmrrecon.training.loop import BEST, LAST

    finished = run.is_over(max_steps)
    record: dict[str, Any] = {
        "status": "done" if finished else "stopped",
        "recipe": recipe,
        "steps": run.step,
        "epochs": run.epoch,
    }
    record |= {
        "last": str(out / LAST),
        "weights": str(out / BEST) if (out / BEST).exists() else None,
    }
    if not finished:
        console.say(f"stopped after step {run.step}: the same command goes on from there")
    console.result(record, str(record["weights"] or record["last"]))
