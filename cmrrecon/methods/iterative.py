"""Iterative methods: classical solvers with weight and iterations chosen for each scan."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cmrrecon.classical.air import with_air
from cmrrecon.classical.measured_coils import coil_average, measured_images, measured_maps
from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.classical.problem import Problem
from cmrrecon.classical.refined_maps import refined
from cmrrecon.classical.still import started
from cmrrecon.methods.base import Fit, Method, Outcome
from cmrrecon.methods.decision import Decision, start_trial
from cmrrecon.methods.edges import filled
from cmrrecon.methods.solver import IterativeOptions, Solver
from cmrrecon.methods.trials import decide
from cmrrecon.solvers import Solution


@dataclass(frozen=True)
class IterativeMethod(Method):
    """A solver function as a method.

    Attributes
    ----------
    name : str
        See `Method`.
    summary : str
        See `Method`.
    function : callable
        `(problem, *, weight, iterations, monitor) -> Solution`.
    from_start : bool
        Whether it uses the starting images of the problem.
    """

    name: str
    summary: str
    function: Callable[..., Solution]
    from_start: bool = True
    Options = IterativeOptions
    decides = True
    whitens = True
    cyclic = True

    @property
    def solver(self) -> Solver:
        """The function with its defaults."""
        return Solver.of(self.name, self.function, from_start=self.from_start)

    def decide(self, prepared: PreparedSeries, options: IterativeOptions) -> Decision:
        """Choose weight and iterations by hold-out samples, unless they are given."""
        return decide(prepared.white, {self.name: self.solver}, options)

    def _images(
        self, prepared: PreparedSeries, options: IterativeOptions, decision: Decision | None
    ) -> Outcome:
        chosen = decision or self.decide(prepared, options)
        return solved(prepared, {self.name: self.solver}, chosen, options)


def solved(
    prepared: PreparedSeries,
    solvers: Mapping[str, Solver],
    decision: Decision,
    options: IterativeOptions,
) -> Outcome:
    """Reconstruct a series as decided, on whitened coils."""
    prepared = prepared.white
    parts = _parts(decision, solvers)
    espirit = prepared.coils(options.coils)
    coils = refined(prepared, espirit) if decision.maps == "refined" else espirit
    from_start = any(solver.from_start for solver, *_ in parts)
    problem = (started if from_start else Problem.of)(prepared, coils)

    starting = {name for solver, *_ in parts for name in solver.starts_from}
    starts = [start_trial(decision.trials, name) for name in starting]
    weights = {trial.method: trial.weight for trial in starts if trial is not None}

    def solve(problem: Problem, factor: float) -> Tensor:
        problem = replace(problem, weights=weights)
        total = torch.zeros_like(problem.rhs)
        for solver, weight, iterations, share in parts:
            total.add_(solver(problem, factor * weight, iterations).x, alpha=share)
        return total

    x, remark = filled(prepared, coils, problem, solve)
    fit = Fit(prepared, coils, problem, x)

    whitening = prepared.whitening
    whole = problem.whole(x) * prepared.scale
    # Mapping back to measured coils multiplies the map of a coil by its noise level. Use ESPIRiT
    # maps, which are less noisy than refined ones.
    images = measured_images(whole, espirit, whitening)
    # If some coils are far noisier than others, their noise would hide the haze.
    if whitening is None:
        images = with_air(prepared, *coil_average(whole, coils), images)
    return Outcome(images, measured_maps(coils, whitening), fit, remark)


def _parts(
    decision: Decision, solvers: Mapping[str, Solver]
) -> list[tuple[Solver, float, int, float]]:
    """List solver, weight, iterations and share of what the result consists of."""
    partner = decision.partner
    rest = 0.0 if partner is None else decision.share
    parts = [(solvers[decision.method], decision.weight, decision.iterations, 1 - rest)]
    if partner is not None:
        parts.append((solvers[partner.method], partner.weight, partner.iterations, rest))
    return parts
