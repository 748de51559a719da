"""Direct methods: functions of a normalised series without settings to decide."""

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
    """The options of methods without options."""


@dataclass(frozen=True)
class DirectMethod(Method):
    """A function of a normalised series as a method.

    Attributes
    ----------
    name : str
        See `Method`.
    summary : str
        See `Method`.
    function : callable
        `(series, options) -> Tensor (frame, y, x)`, or `(series)` without options.
    Options : type
        Dataclass of its options.
    on_gpu : bool
        See `Method`.
    edges : str
        See `Method`.
    warns : callable or None
        `(series, options) -> sentences`, see `Method.cautions`; None if the method never warns.
    """

    name: str
    summary: str
    function: Callable[..., Tensor]
    Options: type[Any] = NoOptions
    on_gpu: bool = True
    edges: str = Method.edges
    warns: Callable[[Series, Any], tuple[str, ...]] | None = None

    def cautions(self, prepared: PreparedSeries, options: Any) -> tuple[str, ...]:
        """Return warnings about a series."""
        return () if self.warns is None else self.warns(prepared.series, options)

    def _images(self, prepared: PreparedSeries, options: Any, decision: Decision | None) -> Outcome:
        return Outcome(self._call(prepared.normalised(), options) * prepared.scale)

    def _call(self, series: Series, options: Any) -> Tensor:
        if self.Options is NoOptions:
            return self.function(series)
        return self.function(series, options)
