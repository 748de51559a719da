"""The training loop: read top to bottom.

A run is a folder: `last.pt` (all it needs to go on), `epoch.pt` (the same at the end of the last epoch), `best.safetensors` (the weights
with the best validation), `log.jsonl` (a line a batch, and one a validation), `pictures` of the same few validation windows after every
epoch, and `run.json` (recipe, plan and data). What is drawn follows from the seed and the step alone (see `dataset`), so a run that is
stopped and started again takes the same steps as one that is not.
"""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cmrrecon.networks.base import WindowNetwork
from cmrrecon.networks.checkpoints import weights
from cmrrecon.tools import provenance
from cmrrecon.tools.atomic import atomic
from cmrrecon.tools.machine import peak_memory_mb
from cmrrecon.tools.prefetch import ahead
from cmrrecon.training import checkpoint
from cmrrecon.training.dataset import Place, Sample, Source, Windows, batches, collate, samples
from cmrrecon.training.distributed import ALONE, Group
from cmrrecon.training.entries import Entry
from cmrrecon.training.labels import notes
from cmrrecon.training.log import Log, forget_later
from cmrrecon.training.plan import Plan
from cmrrecon.training.recipe import Recipe
from cmrrecon.training.scenes import Scenes
from cmrrecon.training.state import Run
from cmrrecon.training.validation import PROTOCOL, Diverged, validate

LAST, EPOCH, BEST, LOG, PICTURES, EVENTS = (
    "last.pt",
    "epoch.pt",
    "best.safetensors",
    "log.jsonl",
    "pictures",
    "tensorboard",
)
# What is chosen by, and what is only told, in records and in names of pictures.
VALIDATION, UNSEEN = "validation", "unseen"


@dataclass(frozen=True)
class Hooks:
    """How a run talks with whoever started it.

    Attributes
    ----------
    say : is told sentences
    on_begin : is told how many batches there are in all, and how many of them are done
    on_step : is called after every batch and validation with what was logged
    should_stop : asked after every batch; then the state is saved and the run ends
    """

    say: Callable[[str], None]
    on_begin: Callable[[int, int], None]
    on_step: Callable[[Mapping[str, Any]], None]
    should_stop: Callable[[], bool]


# Long on purpose: the order of the steps, and where a run may stop, is what a reader comes for.
def train(
    recipe: Recipe,
    store: Path | None,
    training: Sequence[Entry],
    validation: Sequence[Entry],
    unseen: Sequence[Entry],
    out: Path,
    device: torch.device,
    plan: Plan,
    hooks: Hooks,
    group: Group = ALONE,
    *,
    most_steps: int | None = None,
    tensorboard: bool = False,
) -> Run:
    """Train, or go on training, in the folder `out`.

    Parameters
    ----------
    store : folder that the paths of the entries are relative to; None if the recipe learns from random scans
    training, validation : entries of its scans; none where the recipe learns from random scans
    unseen : of scans of domains that are held out: told beside the validation, by which nothing is chosen
    plan : of these scans on this device
    group : the processes that train together, each called alike with its own device
    most_steps : stop when so many steps were taken in all, as if asked to
    tensorboard : write events for it too
    """
    run = Run(recipe, device, group, plan)
    resume(run, out, hooks)
    for note in [*run.objective.notes, *notes(recipe.losses, recipe.data.classes, training)]:
        hooks.say(note)
    if run.is_over(most_steps):
        hooks.say(f"nothing is left to do: {run.step} steps and {run.epoch} epochs were taken")
        return run
    seen, held = sources(run, store, training, {VALIDATION: validation, UNSEEN: unseen})
    every = len(share(batches(seen, 0, plan.batch, recipe.schedule.windows), group))
    hooks.on_begin(batches_in_all(recipe, every, most_steps), every * run.epoch + run.position)

    saves, clock, writes = Saves(run, out), Clock(), group.rank == 0
    with Log(out / LOG if writes else None, out / EVENTS if tensorboard else None, run.step) as log:
        while not run.is_over(most_steps):
            order = share(batches(seen, run.epoch, plan.batch, recipe.schedule.windows), group)
            making = partial(samples, seen, run.epoch)
            clock.restart()
            for batch in ahead(making, order[run.position :], plan.workers):
                clock.batch_came()
                last = run.position + 1 == len(order)
                record = take_step(run, batch, last=last, device=device, epoch_end=out / EPOCH)
                record |= clock.read() | {"memory_mb": memory_mb(device)}
                log.write(record)
                hooks.on_step(record)
                # Between the batches of an accumulation there are gradients that the state does not hold.
                if "gradient" in record:
                    # All processes stop together, at the same step.
                    asked = any(group.gather(hooks.should_stop()))
                    enough = most_steps is not None and run.step >= most_steps
                    # An epoch that the last step completes is validated like every other.
                    stop = asked or (enough and not last)
                    if stop or saves.are_due():
                        saves.save()
                    if stop:
                        keep_first_weights(run, out)
                        return run
                clock.restart()

            try:
                validated = finish_epoch(run, held, out, device, log, hooks)
            except Diverged:
                run.go_back(out / EPOCH)
                run.position = 0
                hooks.say(f"epoch {run.epoch + 1} diverged: it is repeated with half the rate")
                continue
            saves.save(keep=validated)
            group.gather(None)
            if not validated:
                keep_first_weights(run, out)
                return run
            if recipe.schedule.patience and run.stale >= recipe.schedule.patience:
                hooks.say(f"no better validation for {run.stale} epochs: training ends")
    return run


class Clock:
    """How long a step takes, and how much of that is spent waiting for its batch."""

    def restart(self) -> None:
        """Begin a step, which first waits for its batch."""
        self.started = time.perf_counter()

    def batch_came(self) -> None:
        """The wait is over."""
        self.waited = time.perf_counter() - self.started

    def read(self) -> dict[str, float]:
        """Seconds since the step began, and the part of them spent waiting."""
        spent = time.perf_counter() - self.started
        return {"seconds": round(spent, 4), "waiting": round(self.waited / spent, 3)}


class Saves:
    """The state of a run in its folder, which the first process saves."""

    def __init__(self, run: Run, out: Path) -> None:
        self.run, self.out = run, out
        self.saved = time.monotonic()

    def are_due(self) -> bool:
        """Whether a killed run would lose more than the recipe allows."""
        return time.monotonic() - self.saved >= self.run.recipe.schedule.save_every

    def save(self, *, keep: bool = False) -> None:
        """Save the state; `keep` it too as that of an epoch's end."""
        if self.run.group.rank > 0:
            return
        checkpoint.save(self.out / LAST, self.run.state())
        self.saved = time.monotonic()
        if keep:
            keep_epoch(self.out / LAST, self.out / EPOCH)


def resume(run: Run, out: Path, hooks: Hooks) -> None:
    """Go on where the run in a folder has stopped; a new run clears away what an earlier one has left."""
    last, first = out / LAST, run.group.rank == 0
    if last.exists():
        run.restore(checkpoint.load(last))
        if first and run.position == 0:
            keep_epoch(last, out / EPOCH)
        run.group.gather(None)
        hooks.say(f"going on after step {run.step}, in epoch {run.epoch}")
    elif first:
        for name in (EPOCH, LOG):
            (out / name).unlink(missing_ok=True)
    if first:
        forget_later(out / LOG, run.epoch, run.position)


def sources(
    run: Run,
    store: Path | None,
    training: Sequence[Entry],
    held: Mapping[str, Sequence[Entry]],
) -> tuple[Source, dict[str, Source]]:
    """What is trained on and, by name, what is held out: windows of a store, or random scans without one."""
    recipe, seed = run.recipe, run.recipe.schedule.seed
    if store is None:
        return Scenes(recipe.data, seed), {VALIDATION: Scenes(recipe.data, seed, fixed=True)}
    width = run.network.frames if isinstance(run.network, WindowNetwork) else 0
    seen = Windows(store, training, width, recipe.sampling, recipe.data, seed)
    return seen, {
        name: Windows(store, entries, width, recipe.sampling, recipe.data, seed, fixed=True)
        for name, entries in held.items()
        if entries
    }


def take_step(
    run: Run,
    found: list[Sample],
    *,
    last: bool,
    device: torch.device,
    epoch_end: Path | None = None,
) -> dict[str, Any]:
    """One batch: gradients, and with the last batch of an accumulation the steps of all optimisers; what is to be logged."""
    recipe = run.recipe
    batch = collate(found, device)
    rate = run.set_rate()
    # Convolutions alone are lowered: Fourier transforms and data consistency are complex, which is never cast, and losses stand outside.
    with torch.autocast(device.type, torch.bfloat16, enabled=run.plan.precision == "bf16"):
        output = batch.given_to(run.network)
    loss, record = run.objective(output, batch, run.discriminator)
    (loss / recipe.optimiser.accumulate).backward()  # type: ignore[no-untyped-call]
    if run.discriminator is not None:
        judged = run.objective.judge(run.discriminator, output, batch)
        (judged / recipe.optimiser.accumulate).backward()  # type: ignore[no-untyped-call]
        record["discriminator"] = float(judged.detach())
    run.position += 1
    if run.position % recipe.optimiser.accumulate == 0 or last:
        record["gradient"] = run.update(epoch_end)
    counters = {"step": run.step, "epoch": run.epoch, "position": run.position}
    return {**counters, "rate": rate, "windows": len(found), **record}


def finish_epoch(
    run: Run, held: Mapping[str, Source], out: Path, device: torch.device, log: Log, hooks: Hooks
) -> bool:
    """Validate, keep the best weights, and turn to the next epoch; false if asked to stop before the end of the validation."""
    network = run.shipped()
    results: dict[str, dict[str, float]] = {VALIDATION: {}}
    for name, windows in held.items():
        picture = out / PICTURES / f"{name}-{run.epoch + 1:03}.png"
        scores = validate(network, windows, device, hooks.should_stop, picture, run.group)
        if scores is None:
            return False
        results[name] = scores
    run.epoch, run.position = run.epoch + 1, 0
    record = {**results, "protocol": PROTOCOL, "step": run.step, "epoch": run.epoch}
    log.write(record)
    hooks.on_step(record)
    result = results[VALIDATION]
    better = not result or result["ssim"] > run.best
    run.stale = 0 if better else run.stale + 1
    if better:
        run.best = result.get("ssim", run.best)
        save_weights(run, out, results)
    for name, windows in held.items():
        hooks.say(
            f"epoch {run.epoch}, {name}: PSNR {results[name]['psnr']:.2f} dB, SSIM {results[name]['ssim']:.4f} "
            f"({PROTOCOL} against fully sampled RSS, {len(windows)} windows)"
        )
    return True


def save_weights(run: Run, out: Path, results: Mapping[str, Mapping[str, float]]) -> None:
    """Write the weights that `reconstruct --checkpoint` reads, with the scores of their validation."""
    if run.group.rank > 0:
        return
    facts = {
        "recipe": run.recipe.as_dict(),
        "metrics": {**results, "protocol": PROTOCOL} if results else {},
        "steps": run.step,
        "epochs": run.epoch,
    }
    more = {"normalisation": "scale of the scan, networks are equivariant"}
    weights.save(out / BEST, run.shipped(), {**provenance.plain(facts), **more})


def keep_first_weights(run: Run, out: Path) -> None:
    """Write the weights of a run that stops before its first epoch has ended and been validated."""
    if run.epoch == 0:
        save_weights(run, out, {})


def batches_in_all(recipe: Recipe, every: int, most_steps: int | None) -> int:
    """How many batches a process works through, if an epoch has `every` of them."""
    total = every * recipe.schedule.epochs
    if most_steps is None:
        return total
    accumulate = recipe.optimiser.accumulate
    epochs, steps = divmod(most_steps, -(-every // accumulate))
    return min(total, epochs * every + steps * accumulate)


def keep_epoch(last: Path, kept: Path) -> None:
    """Keep the state of an epoch's end where the saves of the next epoch do not replace it."""
    with atomic(kept) as temporary:
        shutil.copyfile(last, temporary)


def share(order: list[list[Place]], group: Group) -> list[list[Place]]:
    """Every process's batches, as many for each: the last turn is filled up with the first batches."""
    turns = -(-len(order) // group.size)
    filled = [order[number % len(order)] for number in range(turns * group.size)]
    return filled[group.rank :: group.size]


def memory_mb(device: torch.device) -> int:
    """Peak memory of this process, of the GPU if it trains on one."""
    return (
        torch.cuda.max_memory_allocated(device) >> 20 if device.type == "cuda" else peak_memory_mb()
    )
