"""Callbacks for the progress of a reconstruction."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cmrrecon.methods.decision import Decision


class Listener:
    """Receives progress events; the default ignores them."""

    def started(self, slices: int, done: int) -> None:
        """Called when the run starts; `done` of the `slices` were finished earlier."""

    def adapting(self, step: int, steps: int, loss: float) -> None:
        """Called after each step of the adaptation, out of at most `steps`."""

    def adapted(self, record: dict[str, float]) -> None:
        """Called after the adaptation; `Result.provenance["adapted"]` holds the same record."""

    def decided(self, index: int, decision: "Decision") -> None:
        """Called when the settings for all slices have been decided on slice `index`."""

    def solving(self) -> None:
        """Called when all settings are decided and the reconstruction of the slices starts."""

    def finished(self, index: int) -> None:
        """Called when slice `index` is done."""

    def noted(self, text: str) -> None:
        """Called with a note of one line about something that was done."""

    def warned(self, text: str) -> None:
        """Called with a warning that the user should read."""
