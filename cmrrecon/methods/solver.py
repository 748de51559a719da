"""Solvers: functions of a problem, with a name and default settings."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from cmrrecon.classical.problem import Problem
from cmrrecon.methods.decision import Decision, Maps
from cmrrecon.solvers import Monitor, Solution, never
from cmrrecon.tools.configuration import AtLeast


@dataclass(frozen=True)
class IterativeOptions:
    """Options of iterative methods; options that are None are chosen for each scan.

    Attributes
    ----------
    weight : float or None
        Regularisation weight.
    iterations : int or None
        Solver steps.
    coils : int or None
        Largest number of virtual coils.
    """

    weight: Annotated[float, AtLeast(0)] | None = None
    iterations: Annotated[int, AtLeast(1)] | None = None
    coils: Annotated[int, AtLeast(1)] | None = None


@dataclass(frozen=True)
class Solver:
    """A function `(problem, *, weight, iterations, monitor) -> Solution` with its defaults.

    Attributes
    ----------
    name : str
        Name of the method.
    function : callable
        The solver.
    weight : float
        Its default weight.
    iterations : int
        Its default number of steps.
    from_start : bool
        Whether it uses the starting images of the problem.
    starts_from : tuple of str
        Names of the other solvers whose solutions it starts from, see `Problem.solutions`.
    """

    name: str
    function: Callable[..., Solution]
    weight: float
    iterations: int
    from_start: bool = True
    starts_from: tuple[str, ...] = ()

    @staticmethod
    def of(
        name: str,
        function: Callable[..., Solution],
        *,
        from_start: bool = True,
        starts_from: tuple[str, ...] = (),
    ) -> "Solver":
        """Make a solver with the defaults of the function's signature."""
        given = inspect.signature(function).parameters
        weight, iterations = (given[option].default for option in ("weight", "iterations"))
        return Solver(name, function, weight, iterations, from_start, starts_from)

    def __call__(
        self, problem: Problem, weight: float, iterations: int, monitor: Monitor = never
    ) -> Solution:
        """Solve a problem."""
        return self.function(problem, weight=weight, iterations=iterations, monitor=monitor)

    def decision(self, options: IterativeOptions, why: str, maps: Maps = "espirit") -> Decision:
        """Make a decision for this solver without trials, from given options or its defaults."""
        weight = self.weight if options.weight is None else options.weight
        iterations = self.iterations if options.iterations is None else options.iterations
        return Decision(self.name, weight, iterations, (), why, maps=maps)
