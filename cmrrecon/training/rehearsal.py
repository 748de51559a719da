"""What a run would cost, from one or two real steps; nothing is written."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from cmrrecon.training import checkpoint
from cmrrecon.training.dataset import batches, samples
from cmrrecon.training.distributed import Group
from cmrrecon.training.entries import Entry
from cmrrecon.training.loop import memory_mb, share, sources, take_step
from cmrrecon.training.plan import Plan, batches_in_all
from cmrrecon.training.recipe import Recipe
from cmrrecon.training.saving import LAST
from cmrrecon.training.state import Run

# The first batch also pays for memory and libraries. Where it takes no longer than this, in
# seconds, a second one is timed in its place.
QUICK = 10.0


@dataclass(frozen=True)
class Rehearsal:
    """The length of a run and the time of a batch.

    Attributes
    ----------
    windows : int
        Windows of an epoch, all processes together.
    batches : int
        Batches of an epoch that each process works through.
    steps : int
        Steps of the optimiser in an epoch.
    done, left : int
        Batches that are done, and that are left to do.
    seconds : float
        Seconds a batch, reading included; NaN if nothing is left to do.
    measured : int
        Which batch was timed: 1 or 2, 0 if none.
    memory_mb : int
        Peak memory of the process so far.
    """

    windows: int
    batches: int
    steps: int
    done: int
    left: int
    seconds: float
    measured: int
    memory_mb: int


def rehearse(
    recipe: Recipe,
    store: Path | None,
    training: Sequence[Entry],
    out: Path,
    device: torch.device,
    plan: Plan,
    group: Group,
    *,
    most_steps: int | None = None,
) -> Rehearsal:
    """Time the next batches of the run in the folder `out`, which is left as it is.

    Parameters
    ----------
    recipe, store, training, out, device, plan, group, most_steps : as for `loop.train`
        See there.

    Returns
    -------
    Rehearsal
        The time covers training alone, without validation.

    Raises
    ------
    InputError
        If the saved state cannot be read (`checkpoint-damaged`, `checkpoint-format`).
    CmrreconError
        If another process of the run has ended (`process-lost`).
    """
    run = Run(recipe, device, group, plan)
    if (out / LAST).exists():
        run.restore(checkpoint.load(out / LAST))
    seen, _ = sources(run, store, training, {})
    order = batches(seen, run.epoch, plan.batch, recipe.schedule.windows)
    mine = share(order, group)
    total = batches_in_all(recipe, len(mine), most_steps)
    done = len(mine) * run.epoch + run.position

    seconds, measured = float("nan"), 0
    if not run.is_over(most_steps):
        for places in (mine[run.position :] or mine)[:2]:
            start = time.perf_counter()
            take_step(run, samples(seen, run.epoch, places), last=True, device=device)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds, measured = time.perf_counter() - start, measured + 1
            if group.gather(seconds)[0] > QUICK:
                break

    return Rehearsal(
        windows=sum(map(len, order)),
        batches=len(mine),
        steps=-(-len(mine) // recipe.optimiser.accumulate),
        done=done,
        left=max(0, total - done),
        seconds=seconds,
        measured=measured,
        memory_mb=memory_mb(device),
    )
