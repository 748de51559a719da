"""A solver by name: a function of a problem, with its usual weight and number of steps."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cmrrecon.classical.problem import Problem
from cmrrecon.methods.decision import Decision, Maps
from cmrrecon.solvers import Monitor, Solution, never


class Settings(Protocol):
    """What is given or automatic (None) of a solver."""

    @property
    def weight(self) -> float | None:
        """Of the regularisation."""

    @property
    def iterations(self) -> int | None:
        """Steps of the solver."""


@dataclass(frozen=True)
class Solver:
    """A function `(problem, *, weight, iterations, monitor) -> Solution` and its defaults.

    Attributes
    ----------
    name : of the method
    function : the solver
    weight, iterations : its defaults
    """

    name: str
    function: Callable[..., Solution]
    weight: float
    iterations: int

    @staticmethod
    def of(name: str, function: Callable[..., Solution]) -> "Solver":
        """A solver whose defaults are those of the function."""
        defaults = inspect.signature(function).parameters
        return Solver(name, function, defaults["weight"].default, defaults["iterations"].default)

    def __call__(
        self, problem: Problem, weight: float, iterations: int, monitor: Monitor = never
    ) -> Solution:
        """Solve a problem."""
        return self.function(problem, weight=weight, iterations=iterations, monitor=monitor)

    def decision(self, settings: Settings, why: str, maps: Maps = "espirit") -> Decision:
        """The decision for this solver without trials: settings as given, else its defaults."""
        weight = self.weight if settings.weight is None else settings.weight
        iterations = self.iterations if settings.iterations is None else settings.iterations
        return Decision(self.name, weight, iterations, (), why, maps=maps)
