"""Sizes and numbers of blocks that follow from the tensors of a state dict."""

import re
from dataclasses import dataclass

from cmrrecon.networks.checkpoints.facts import Shapes
from cmrrecon.tools.errors import InputError

WHOLE = "Every tensor of the network is needed", "Download the checkpoint again"


@dataclass(frozen=True)
class Sizes:
    """The names and shapes of a state dict.

    Attributes
    ----------
    shapes : mapping of str to tuple of int
        The shape of every tensor by name.
    source : str
        The name of the file or state dict, for messages.
    """

    shapes: Shapes
    source: str

    def size(self, name: str, axis: int) -> int:
        """Return the length of an axis of a tensor."""
        shape = self.shapes.get(name, ())
        if axis >= len(shape):
            found = f"{self.source} lacks {name}, or its shape {shape} has too few axes"
            raise InputError("checkpoint-mismatch", found, *WHOLE)
        return shape[axis]

    def count(self, pattern: str) -> int:
        """Count the numbers 0, 1, ... that replace the star in a pattern; refuse gaps."""
        expression = re.compile(re.escape(pattern).replace(r"\*", r"(\d+)"))
        found = {match[1] for match in map(expression.match, self.shapes) if match}
        if not found:
            raise InputError(
                "checkpoint-mismatch", f"{self.source} has no blocks {pattern}", *WHOLE
            )

        missing = next((str(index) for index in range(len(found)) if str(index) not in found), None)
        if missing is not None:
            block = pattern.replace("*", missing)
            raise InputError(
                "checkpoint-mismatch",
                f"{self.source} lacks the block {block} but has a later one",
                *WHOLE,
            )

        return len(found)
