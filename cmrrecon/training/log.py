"""The log of training: JSON lines per batch and per validation, TensorBoard events, step times."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cmrrecon.tools import provenance
from cmrrecon.tools.atomic import atomic
from cmrrecon.tools.errors import UsageError

COUNTERS = ("step", "epoch", "position")


class Log:
    """A context manager that writes each record at once, on a line of its own.

    Parameters
    ----------
    path : Path or None
        The file to which JSON lines are appended; None writes nothing.
    tensorboard : Path or None
        The folder for TensorBoard's events.
    step : int
        The step from which the run continues; TensorBoard drops events of later steps.

    Raises
    ------
    UsageError
        If TensorBoard is requested but not installed (`package-missing`).
    """

    def __init__(self, path: Path | None, tensorboard: Path | None = None, step: int = 0) -> None:
        self._events: Any = None
        if path is not None and tensorboard is not None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise UsageError(
                    "package-missing",
                    "TensorBoard is not installed",
                    "--tensorboard needs it to write events",
                    "Install it: pip install 'cmrrecon[tensorboard]'",
                ) from error
            self._events = SummaryWriter(str(tensorboard), purge_step=step + 1)

        place = os.devnull if path is None else path
        self._lines = open(place, "a", encoding="utf-8", buffering=1)  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lines.close()
        if self._events is not None:
            self._events.close()

    def write(self, record: Mapping[str, Any]) -> None:
        """Add a record; in a validation record the scores are nested in a mapping."""
        self._lines.write(json.dumps(provenance.plain(record)) + "\n")
        if self._events is not None:
            numbers = {
                f"train/{key}": value for key, value in record.items() if key not in COUNTERS
            }

            scores = {name: value for name, value in record.items() if isinstance(value, Mapping)}
            numbers |= {
                f"{name}/{key}": value
                for name, found in scores.items()
                for key, value in found.items()
            }

            for name, value in numbers.items():
                if isinstance(value, int | float):
                    self._events.add_scalar(name, value, record["step"])


def forget_later(log: Path, epoch: int, position: int) -> None:
    """Remove what a killed run logged after its last saved state; those steps are repeated."""
    if log.exists():
        # The last line of a killed run may be incomplete.
        whole = log.read_text(errors="replace").rpartition("\n")[0].splitlines()
        # A validation takes place between two epochs and therefore has no position.
        kept = [line for line in whole if _is_before(line, epoch, position)]

        with atomic(log) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept))


def _is_before(line: str, epoch: int, position: int) -> bool:
    """Return whether a line is whole and not later than a place in the training."""
    try:
        record = json.loads(line)
        return bool((record["epoch"], record.get("position", 0)) <= (epoch, position))
    except (ValueError, LookupError, TypeError, AttributeError):
        return False


class Clock:
    """Measures the time of a step and the part of it spent waiting for its batch."""

    def restart(self) -> None:
        """Start the time of a step, which begins by waiting for its batch."""
        self.started = time.perf_counter()

    def batch_came(self) -> None:
        """Record that the batch has arrived."""
        self.waited = time.perf_counter() - self.started

    def read(self) -> dict[str, float]:
        """Return the seconds since the step began and the fraction of them spent waiting."""
        spent = time.perf_counter() - self.started
        return {"seconds": round(spent, 4), "waiting": round(self.waited / spent, 3)}
