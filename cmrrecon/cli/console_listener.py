"""Report the progress of a reconstruction on the console."""

from typing import TYPE_CHECKING, Self

from cmrrecon.cli.console import Console
from cmrrecon.cli.progress import Progress
from cmrrecon.cli.settings import decision_text
from cmrrecon.reconstruction.listener import Listener

if TYPE_CHECKING:
    from cmrrecon.methods.decision import Decision


class ConsoleListener(Listener):
    """Reports a reconstruction on the console; as a context manager it closes the progress bar.

    Parameters
    ----------
    console : Console
        Where to report.
    name : str
        The input, for messages.
    """

    def __init__(self, console: Console, name: str) -> None:
        self.console, self.name = console, name
        self.steps: Progress | None = None
        self.total = self.done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def started(self, slices: int, done: int) -> None:
        """Print the number of slices that an earlier run finished."""
        self.total, self.done = slices, done
        if done:
            self.console.say(
                f"{self.name}: {done} of {slices} slices were finished by an earlier run"
            )

    def adapting(self, step: int, steps: int, loss: float) -> None:
        """Advance the progress bar of the adaptation."""
        if self.steps is None:
            label = f"{self.name}, adapting"
            self.steps = self.console.progress(label, steps, "step", counts=False).__enter__()
        self.steps.advance(f"loss {loss:.4f}")

    def adapted(self, record: dict[str, float]) -> None:
        """Print the result of the adaptation."""
        self._end()
        kept = "" if record["steps"] else ", so the weights were not changed"
        self.console.say(
            f"{self.name}: adapted on slice {record['slice']}; the prediction error on the samples "
            f"used for early stopping changed from {record['before']:.4g} "
            f"to {record['after']:.4g}{kept}"
        )

    def decided(self, index: int, decision: "Decision") -> None:
        """Print the decision and its trials with `--verbose`."""
        self.console.detail(f"{self.name}: {decision_text(index, decision)}")

    def solving(self) -> None:
        """Open the progress bar of the slices."""
        self.steps = self.console.progress(self.name, self.total, "slice").__enter__()
        if self.done:
            self.steps.expect(self.total, self.done)

    def finished(self, index: int) -> None:
        """Advance the progress bar of the slices."""
        if self.steps is not None:
            self.steps.advance()

    def noted(self, text: str) -> None:
        """Print a note with `--verbose`."""
        self.console.detail(f"{self.name}: {text}")

    def warned(self, text: str) -> None:
        """Print a warning."""
        self.console.warn(f"{self.name}: {text}")

    def _end(self) -> None:
        if self.steps is not None:
            self.steps.__exit__()
        self.steps = None
