"""Track the progress of a command: the steps of one input, and the time left for all inputs."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Self

from cmrrecon.cli.display import Display, State

if TYPE_CHECKING:
    from cmrrecon.cli.console import Console


class Progress:
    """Counts steps of work without showing them; used as a context manager.

    Parameters
    ----------
    label : str
        Current activity.
    total : int
        Number of steps.
    unit : str
        Name of one step, such as `slice`.
    """

    def __init__(self, label: str, total: int, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = 0
        self.note = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Close nothing, because nothing is shown."""

    def expect(self, total: int, done: int) -> None:
        """Set the number of steps, and the number done by an earlier run."""
        self.total, self.done = total, done

    def advance(self, note: str = "") -> None:
        """Count one step; a note may describe it."""
        self.done += 1
        self.note = note


class ShownProgress(Progress):
    """Steps with their own display.

    Parameters
    ----------
    console : Console
        Where to show progress.
    label, total, unit : str, int, str
        See `Progress`.
    heartbeat : float or None
        See `Display`.
    """

    def __init__(
        self,
        console: "Console",
        label: str,
        total: int,
        unit: str,
        heartbeat: float | None = None,
    ) -> None:
        super().__init__(label, total, unit)
        self._before = 0
        self._start = time.monotonic()
        self._display = Display(console, self._state, heartbeat)

    def __enter__(self) -> Self:
        self._start = time.monotonic()
        self._display.open()
        return self

    def __exit__(self, *exception: object) -> None:
        self._display.close()

    def expect(self, total: int, done: int) -> None:
        """Set the number of steps, and the number done by an earlier run."""
        super().expect(total, done)
        self._before = done
        self._display.update()

    def advance(self, note: str = "") -> None:
        """Count one step; a note may describe it."""
        super().advance(note)
        self._display.update()

    def _state(self) -> State:
        elapsed, made = time.monotonic() - self._start, self.done - self._before
        pace = f"{elapsed / made:.1f} s/{self.unit}" if made else f"{elapsed:.0f} s so far"
        units = f"{self.unit}es" if self.unit.endswith("ch") else f"{self.unit}s"
        words = [f"{self.label}: {self.done}/{self.total} {units}", self.note, pace]

        return State(
            label=f"{self.label} {self.note}".rstrip(),
            done=self.done,
            total=self.total,
            count=f"{self.done}/{self.total}",
            left=elapsed / made * (self.total - self.done) if made else None,
            line=", ".join(filter(None, words)),
        )


class Batch:
    """Progress over all inputs of a command, with the time left for all of them.

    Parameters
    ----------
    console : Console
        Where to show progress.
    names : Sequence of str
        Names of the inputs.
    costs : Sequence of float
        Predicted costs of the inputs, in any unit.
    heartbeat : float or None
        See `Display`.
    """

    def __init__(
        self,
        console: "Console",
        names: Sequence[str],
        costs: Sequence[float],
        heartbeat: float | None = None,
    ) -> None:
        self.console, self.names, self.costs = console, names, costs
        # For each input, the fraction that is done, and the fraction that cost this run no time.
        self._done = [0.0] * len(names)
        self._free = [0.0] * len(names)
        self._ended: set[int] = set()
        self._running: dict[int, str] = {}
        self._start = time.monotonic()
        self._display = Display(console, self._state, heartbeat)

    def __enter__(self) -> Self:
        self._start = time.monotonic()
        self.console.batch = self
        self._display.open()
        return self

    def __exit__(self, *exception: object) -> None:
        self._display.close()
        self.console.batch = None

    def begin(self, index: int) -> None:
        """Mark input `index` as running."""
        if index not in self._ended:
            self._running.setdefault(index, "")
            self._display.update()

    def reached(self, index: int, fraction: float | None, note: str, free: float) -> None:
        """Note that a fraction of input `index` is done, `free` of it by an earlier run."""
        if fraction is not None:
            self._done[index] = fraction
        self._free[index] = max(self._free[index], free)
        self._running[index] = note
        self._display.update()

    def end(self, index: int, *, worked: bool) -> None:
        """Mark input `index` as done; if it needed no work, it does not count towards the pace."""
        if index in self._ended:
            return
        self._ended.add(index)
        self._running.pop(index, None)
        self._done[index] = 1.0
        if not worked:
            self._free[index] = 1.0
        self._display.update()

    def seconds_left(self) -> float | None:
        """Return the time left for all inputs at the pace so far; None before the first step."""
        pairs = list(zip(self.costs, self._done, self._free, strict=True))
        made = sum(cost * max(0.0, done - free) for cost, done, free in pairs)
        left = sum(cost * (1 - done) for cost, done, _ in pairs)
        return (time.monotonic() - self._start) / made * left if made > 0 else None

    def _state(self) -> State:
        label = self._label()
        elapsed = time.monotonic() - self._start
        return State(
            label=label,
            done=sum(c * d for c, d in zip(self.costs, self._done, strict=True)),
            total=max(sum(self.costs), 1e-9),
            count="",
            left=self.seconds_left(),
            line=f"{label}, {elapsed:.0f} s so far",
            scope=" in total",
        )

    def _label(self) -> str:
        """Return the running input with its number, or the number of running inputs."""
        running = list(self._running.items())
        if len(running) == 1:
            index, note = running[0]
            return f"{index + 1}/{len(self.names)} {self.names[index]}" + (note and f", {note}")
        return f"{len(self._ended)}/{len(self.names)} done, {len(running)} running"


Report = Callable[[float | None, str, float], None]


class PartProgress(Progress):
    """Steps within one of several inputs, reported to the display of all inputs.

    Parameters
    ----------
    label, total, unit : str, int, str
        See `Progress`.
    report : Callable
        Receives the fraction done, a note, and the fraction done by an earlier run.
    counts : bool
        Whether the steps count towards the input; otherwise only the note is reported.
    """

    def __init__(
        self, label: str, total: int, unit: str, report: Report, *, counts: bool = True
    ) -> None:
        super().__init__(label, total, unit)
        self._report, self._counts = report, counts
        self._before = 0

    def __enter__(self) -> Self:
        self._send()
        return self

    def expect(self, total: int, done: int) -> None:
        """Set the number of steps, and the number done by an earlier run."""
        super().expect(total, done)
        self._before = done
        self._send()

    def advance(self, note: str = "") -> None:
        """Count one step; a note may describe it."""
        super().advance(note)
        self._send()

    def _send(self) -> None:
        total = max(self.total, 1)
        fraction = self.done / total if self._counts else None
        self._report(fraction, f"{self.unit} {self.done}/{self.total}", self._before / total)
