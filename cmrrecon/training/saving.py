"""What a run keeps in its folder: its state, the state at an epoch's end, and its weights."""

import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from cmrrecon.networks.checkpoints import weights
from cmrrecon.tools import provenance
from cmrrecon.tools.atomic import atomic
from cmrrecon.training import checkpoint
from cmrrecon.training.state import Run
from cmrrecon.training.validation import PROTOCOL

LAST, EPOCH, BEST, LOG, PICTURES, EVENTS = (
    "last.pt",
    "epoch.pt",
    "best.safetensors",
    "log.jsonl",
    "pictures",
    "tensorboard",
)


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
