"""The listener that tells of a reconstruction on the console."""

from typing import TYPE_CHECKING, Self

from cmrrecon.cli.console import Console, Progress
from cmrrecon.cli.settings import decision_text
from cmrrecon.reconstruction.listener import Listener

if TYPE_CHECKING:
    from cmrrecon.methods.decision import Decision


class ConsoleListener(Listener):
    """Tells of a reconstruction on the console; a context manager, which ends the progress bar."""

    def __init__(self, console: Console, name: str) -> None:
        self.console, self.name = console, name
        self.bar: Progress | None = None
        self.total = self.done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def _end(self) -> None:
        if self.bar is not None:
            self.bar.__exit__()
        self.bar = None

    def _advance(self, label: str, total: int, unit: str, note: str = "") -> None:
        if self.bar is None:
            self.bar = self.console.progress(label, total, unit).__enter__()
        self.bar.advance(note)

    def started(self, slices: int, done: int) -> None:
        """Say what was finished before."""
        self.total = slices - done
        if done:
            self.console.say(f"{self.name}: {done} of {slices} slices were finished before")

    def adapting(self, step: int, steps: int, loss: float) -> None:
        """Advance the bar of the adaptation."""
        self._advance(f"{self.name}, adapting", steps, "step", f"loss {loss:.4f}")

    def adapted(self, record: dict[str, float]) -> None:
        """Say what the adaptation gave."""
        self._end()
        kept = "" if record["steps"] else ", so the weights stay as they were"
        self.console.say(
            f"{self.name}: adapted on slice {record['slice']}; the error in predicting the samples "
            f"that say when to stop went from {record['before']:.4g} to {record['after']:.4g}{kept}"
        )

    def decided(self, index: int, decision: "Decision") -> None:
        """Say what was decided."""
        self.console.say(f"{self.name}: {decision_text(index, decision)}")

    def solving(self) -> None:
        """Show the bar of the slices."""
        self.bar = self.console.progress(self.name, self.total, "slice").__enter__()

    def finished(self, index: int) -> None:
        """Advance the bar of the slices."""
        self._advance(self.name, self.total, "slice")

    def noted(self, text: str) -> None:
        """Say it."""
        self.console.say(f"{self.name}: {text}")

    def warned(self, text: str) -> None:
        """Pass a warning on."""
        self.console.warn(f"{self.name}: {text}")
