"""Direct methods: a function of a normalised series, without anything to decide."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.data import Series
from cmrrecon.methods.base import Method, Outcome
from cmrrecon.methods.decision import Decision


@dataclass(frozen=True)
class NoOptions:
    """For methods without options."""


@dataclass(frozen=True)
class DirectMethod(Method):
    """A function of a normalised series to images as a method.

    Attributes
    ----------
    name, summary, on_gpu, edges : see `Method`
    function : `(series, options) -> Tensor (frame, y, x)`; without options only `(series)`
    Options : the dataclass of its options
    warns : `(series, options) -> sentences`, see `Method.cautions`; None: nothing to warn of
    """

    name: str
    summary: str
    function: Callable[..., Tensor]
    Options: type[Any] = NoOptions
    on_gpu: bool = True
    edges: str = Method.edges
    warns: Callable[[Series, Any], tuple[str, ...]] | None = None

    def cautions(self, prepared: PreparedSeries, options: Any) -> tuple[str, ...]:
        """What to warn of on a series."""
        return () if self.warns is None else self.warns(prepared.series, options)

    def _images(self, prepared: PreparedSeries, options: Any, decision: Decision | None) -> Outcome:
        return Outcome(self._call(prepared.normalised(), options) * prepared.scale)

    def _call(self, series: Series, options: Any) -> Tensor:
        if self.Options is NoOptions:
            return self.function(series)
        return self.function(series, options)
