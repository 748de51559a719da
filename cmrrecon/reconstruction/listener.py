"""Callbacks for the progress of a reconstruction."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cmrrecon.methods.decision import Decision


class Listener:
    """Receives progress events; the default ignores them."""

    def started(self, slices: int, done: int) -> None:
        """The run starts: `slices` are wanted, `done` of them were finished earlier."""

    def adapting(self, step: int, steps: int, loss: float) -> None:
        """A step of the adaptation, out of up to `steps`, is done."""

    def adapted(self, record: dict[str, float]) -> None:
        """The adaptation is done: see `Result.provenance["adapted"]`."""

    def decided(self, index: int, decision: "Decision") -> None:
        """The settings for all slices were decided on slice `index`."""

    def solving(self) -> None:
        """All settings are decided, and the reconstruction of the slices starts."""

    def finished(self, index: int) -> None:
        """Slice `index` is done."""

    def noted(self, text: str) -> None:
        """Something was done that is worth a note of one line."""

    def warned(self, text: str) -> None:
        """Something the user should know was found."""
