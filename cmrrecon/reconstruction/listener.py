"""Callbacks for the progress of a reconstruction."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cmrrecon.methods.decision import Decision


class Listener:
    """Receives progress events; the default ignores them."""

    def started(self, slices: int, done: int) -> None:
        """So many slices are wanted, of which so many were finished earlier."""

    def adapting(self, step: int, steps: int, loss: float) -> None:
        """A step of the adaptation, of `steps` at most, is done."""

    def adapted(self, record: dict[str, float]) -> None:
        """The adaptation is done: see `Result.provenance["adapted"]`."""

    def decided(self, index: int, decision: "Decision") -> None:
        """What holds for all slices was decided on slice `index`."""

    def solving(self) -> None:
        """All is decided, and the slices come one by one."""

    def finished(self, index: int) -> None:
        """Slice `index` is done."""

    def noted(self, text: str) -> None:
        """Something that was done, in one line."""

    def warned(self, text: str) -> None:
        """Something the user should know."""
