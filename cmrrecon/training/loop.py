"""The training loop, to be read from top to bottom.

A run is a folder with `last.pt` (all it needs to continue), `epoch.pt` (the same at the end of the
last epoch), `best.safetensors` (the weights with the best validation), `log.jsonl` (one line per
batch and per validation), `pictures` of the same few validation windows after every epoch, and
`run.json` (recipe, plan and data). Draws depend on the seed and the step alone (see `dataset`), so
a run that is stopped and continued takes the same steps as one that is not.
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
from cmrrecon.training.batch import Sample, collate
from cmrrecon.training.dataset import Place, Source, Windows, batches, samples
from cmrrecon.training.distributed import ALONE, Group
from cmrrecon.training.entries import Entry
from cmrrecon.training.labels import notes
from cmrrecon.training.log import Clock, Log, forget_later
from cmrrecon.training.plan import Plan, batches_in_all
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
# Names used in records and pictures: the scans that select the best weights, and the scans whose
# scores are only reported.
VALIDATION, UNSEEN = "validation", "unseen"


@dataclass(frozen=True)
class Hooks:
    """Callbacks of a run.

    Attributes
    ----------
    say : callable
        Receives messages for the user.
    on_begin : callable
        Receives the total number of batches and the number of batches already done.
    on_step : callable
        Receives the logged record after every batch and every validation.
    should_stop : callable
        Called after every batch; if it returns True, the state is saved and the run ends.
    """

    say: Callable[[str], None]
    on_begin: Callable[[int, int], None]
    on_step: Callable[[Mapping[str, Any]], None]
    should_stop: Callable[[], bool]


# Long on purpose: readers look here for the order of the steps and for where a run may stop.
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
    """Train, or continue training, in the folder `out`.

    Parameters
    ----------
    recipe : Recipe
        The checked recipe.
    store : Path or None
        The folder to which the paths of the entries are relative; None to learn from random scans.
    training, validation : sequence of Entry
        The scans; empty to learn from random scans.
    unseen : sequence of Entry
        Scans of held-out domains. Their scores are reported but not used to select weights.
    out : Path
        The folder of the run.
    device : torch.device
        The device of this process.
    plan : Plan
        The plan for these scans and this device.
    hooks : Hooks
        Callbacks that report progress and can stop the run.
    group : Group
        The processes that train together; each of them makes this call with its own device.
    most_steps : int or None
        The total number of steps after which the run stops as if the user had asked for it.
    tensorboard : bool
        Whether to write events for TensorBoard too.

    Returns
    -------
    Run
        The run at its end, or where it stopped; its state has been saved in the folder.

    Raises
    ------
    InputError
        If the saved state cannot be read (`checkpoint-damaged`, `checkpoint-format`).
    NumericalError
        If training keeps diverging (`gradients-not-finite`).
    CmrreconError
        If another process of the run has ended (`process-lost`).
    """
    run = Run(recipe, device, group, plan)
    resume(run, out, hooks)

    for note in [*run.objective.notes, *notes(recipe.losses, recipe.data.classes, training)]:
        hooks.say(note)

    if run.is_over(most_steps):
        hooks.say(f"nothing is left to do: {run.step} steps and {run.epoch} epochs are done")
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
                # While gradients accumulate, the state would be incomplete without them.
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


class Saves:
    """Saves the state of a run in its folder, in the first process only."""

    def __init__(self, run: Run, out: Path) -> None:
        self.run, self.out = run, out
        self.saved = time.monotonic()

    def are_due(self) -> bool:
        """Return whether a run killed now would lose more than the recipe allows."""
        return time.monotonic() - self.saved >= self.run.recipe.schedule.save_every

    def save(self, *, keep: bool = False) -> None:
        """Save the state; with `keep` also as the state at the end of an epoch."""
        if self.run.group.rank > 0:
            return
        checkpoint.save(self.out / LAST, self.run.state())
        self.saved = time.monotonic()
        if keep:
            keep_epoch(self.out / LAST, self.out / EPOCH)


def resume(run: Run, out: Path, hooks: Hooks) -> None:
    """Continue the run in a folder; a new run removes the files of an earlier one."""
    last, first = out / LAST, run.group.rank == 0
    if last.exists():
        run.restore(checkpoint.load(last))
        if first and run.position == 0:
            keep_epoch(last, out / EPOCH)
        run.group.gather(None)
        hooks.say(f"continuing after step {run.step}, in epoch {run.epoch}")
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
    """Return the sources of training samples and, by name, of samples that are not trained on."""
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
    """Train on one batch, and step after the last of an accumulation; return what is logged."""
    recipe = run.recipe
    batch = collate(found, device)
    rate = run.set_rate()

    # Only convolutions use lower precision. Fourier transforms and data consistency are complex,
    # which autocast leaves alone, and the losses are computed outside.
    with torch.autocast(device.type, torch.bfloat16, enabled=run.plan.precision == "bf16"):
        output = batch.given_to(run.network, middle_maps=recipe.schedule.maps == "middle")

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
    """Validate, keep the best weights and go to the next epoch; False if validation was stopped."""
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
            f"epoch {run.epoch}, {name}: PSNR {results[name]['psnr']:.2f} dB, "
            f"SSIM {results[name]['ssim']:.4f} "
            f"({PROTOCOL} against fully sampled RSS, {len(windows)} windows)"
        )
    return True


def save_weights(run: Run, out: Path, results: Mapping[str, Mapping[str, float]]) -> None:
    """Write weights for `reconstruct --checkpoint`, with the scores of their validation."""
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


def keep_epoch(last: Path, kept: Path) -> None:
    """Copy the state at the end of an epoch to where the next epoch does not replace it."""
    with atomic(kept) as temporary:
        shutil.copyfile(last, temporary)


def share(order: list[list[Place]], group: Group) -> list[list[Place]]:
    """Return the batches of this process; some are repeated so that all get the same number."""
    turns = -(-len(order) // group.size)
    filled = [order[number % len(order)] for number in range(turns * group.size)]
    return filled[group.rank :: group.size]


def memory_mb(device: torch.device) -> int:
    """Return the peak memory in MiB of this process, or of the GPU that it trains on."""
    return (
        torch.cuda.max_memory_allocated(device) >> 20 if device.type == "cuda" else peak_memory_mb()
    )
