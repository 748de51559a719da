"""Trying methods on a series without some of its samples, and choosing by how well these are predicted."""

import math
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from cmrrecon.classical.coils import Coils
from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.classical.problem import LeastSquares, Problem
from cmrrecon.classical.refined_maps import refined
from cmrrecon.data import LineMask, SamplingMask
from cmrrecon.methods.decision import Decision, Evidence, Maps, Trial, select
from cmrrecon.methods.holdout import HeldOut, count_hidden, describe_hidden, hide
from cmrrecon.methods.solver import IterativeOptions, Solver
from cmrrecon.solvers import Solution

# Steps between two looks at the prediction, the most steps that are tried, and looks without
# improvement after which a trial ends.
LOOK_EVERY = 5
MOST_STEPS = 100
PATIENCE = 3
# Neighbouring weights of the search, and the most of them for one method.
WEIGHT_RATIO = 2.5
MOST_WEIGHTS = 5
# An error counts as smaller if it is so by this part over the square root of the number of hidden
# lines or patches: fewer say less. Chosen on semi-real cine of two centres.
MARGIN = 0.3
# How many methods have their weight searched after all were tried with their default.
FINALISTS = 2
# Whole lines: the part of the columns that trials reconstruct. Columns are independent in the data,
# so a trial is the same problem, smaller.
COLUMNS_SHARE = 1 / 3


def decide(
    prepared: PreparedSeries,
    solvers: Mapping[str, Solver],
    options: IterativeOptions,
    *,
    refine: bool = False,
    network: str | None = None,
) -> Decision:
    """The best solver and its settings for a series, by predicting samples that were hidden.

    A trial hides samples (`hide`), reconstructs the rest and looks at the prediction every
    `LOOK_EVERY` steps. All solvers are tried with their default weight. Unless the network is to be
    taken alone, the weights of the two best others are searched uphill in steps of `WEIGHT_RATIO`.
    With too little to hide the first solver runs with its own defaults; a complete series needs no
    regularisation, its weight is 0.

    Parameters
    ----------
    solvers : by name; the first is taken if nothing can be hidden, and wins ties
    refine : whether refined maps are tried too, with the first solver, and taken if it predicts
        better with them; not if a number of virtual coils is given, since they are of all measured
        coils. Refined maps are one set. Where the body folds over they compete with two sets of
        ESPIRiT, with which solvers for one set are not tried
    network : the name of the solver that is a network

    Raises
    ------
    InputError, NumericalError : no coil maps can be made, see `estimate_coils`
    """
    first = next(iter(solvers.values()))
    given = options.weight is not None and options.iterations is not None
    if len(solvers) == 1 and given:
        return first.decision(options, "all settings were given")

    refine = refine and options.coils is None and prepared.kspace.shape[1] > 1

    if prepared.mask.complete:
        unregularised = options if options.weight is not None else replace(options, weight=0.0)
        why = "fully sampled, no regularisation is needed"
        one_set = refine and prepared.coils().sets == 1
        return first.decision(unregularised, why, "refined" if one_set else "espirit")

    hidden = hide(prepared.series)
    if hidden is None:
        why = "too little was measured outside the calibration region, so these are defaults"
        return first.decision(options, why)

    return _decide_by_trials(prepared, hidden, solvers, options, refine, network)


def _decide_by_trials(
    prepared: PreparedSeries,
    hidden: Tensor,
    solvers: Mapping[str, Solver],
    options: IterativeOptions,
    refine: bool,
    network: str | None,
) -> Decision:
    first, *others = solvers.values()
    coils = narrowed(prepared, prepared.coils(options.coils))
    trials = Trials(prepared, prepared.mask.chosen(hidden), coils, network)

    trials.attempt(first, options)
    maps: Maps = "espirit"
    errors = None
    if refine:
        plain, trials = trials, trials.with_refined_maps()
        errors = plain.made[0].error, trials.attempt(first, options).error
        trials, maps = (trials, "refined") if errors[1] < errors[0] else (plain, maps)

    for solver in others:
        if trials.coils.sets == 1 or not solver.one_set:
            trials.attempt(solver, options)

    if options.weight is None and select(trials.evidence()).trial.method != network:
        classical = [trial for trial in trials.made if trial.method != network]
        for trial in sorted(classical, key=lambda trial: trial.error)[:FINALISTS]:
            trials.search(trial, solvers[trial.method], options)

    best, partner, share, error = select(trials.evidence())
    noise = trials.held_out.noise
    return Decision(
        best.method,
        best.weight,
        best.iterations,
        tuple(trials.made),
        describe_hidden(trials.hidden, prepared.series.frames),
        partner,
        share,
        noise if math.isfinite(noise) else None,
        maps,
        errors,
        error,
    )


class Trials:
    """Trials of solvers on a series without its hidden samples, and their best images."""

    def __init__(
        self,
        prepared: PreparedSeries,
        hidden: SamplingMask,
        coils: Coils,
        network: str | None = None,
    ) -> None:
        self.prepared, self.hidden, self.coils, self.network = prepared, hidden, coils, network
        self.rest = prepared.part(prepared.mask.without(hidden.samples))
        self.problem = Problem.of(self.rest, coils)
        self.held_out = HeldOut(prepared, hidden.samples, coils)
        self.made: list[Trial] = []
        self._images: dict[str, Tensor] = {}
        self._midpoints: dict[tuple[str, str], float] = {}

    def with_refined_maps(self) -> "Trials":
        """Others with the maps that are refined by what is not hidden, and no trials yet."""
        coils = refined(self.rest, self.coils)
        return Trials(self.prepared, self.hidden, coils, self.network)

    def evidence(self) -> Evidence:
        """What the decision looks at."""
        frames = self.prepared.series.frames
        margin = MARGIN / math.sqrt(count_hidden(self.hidden, frames))
        fixed = not self.hidden.varies and frames > 1
        return Evidence(self.made, self._midpoint, margin, self.held_out.noise, fixed, self.network)

    def attempt(self, solver: Solver, options: IterativeOptions) -> Trial:
        """One trial with the weight given, else the solver's default."""
        weight = solver.weight if options.weight is None else options.weight
        return self.run(solver, weight, options.iterations)

    def run(self, solver: Solver, weight: float, iterations: int | None) -> Trial:
        """One trial; if the iterations are not given, the best number of them is part of the result."""
        watch = _Watch(self.held_out, self.problem.rhs, iterations is None)
        steps = MOST_STEPS if iterations is None else iterations
        solution = solver(self.problem, weight, steps, watch)

        error, step, x = watch.best(solution, iterations)
        trial = Trial(solver.name, weight, step, error if math.isfinite(error) else math.inf)
        self.made.append(trial)

        if self.evidence().leaders()[solver.name] is trial:
            self._images[solver.name] = x
            self._midpoints = {k: v for k, v in self._midpoints.items() if solver.name not in k}

        return trial

    def search(self, start: Trial, solver: Solver, options: IterativeOptions) -> None:
        """Better weights, uphill from a trial: first larger, then smaller if that did not help."""
        best, tries = start, 1
        for ratio in (WEIGHT_RATIO, 1 / WEIGHT_RATIO):
            while tries < MOST_WEIGHTS:
                tries += 1
                weight = float(f"{best.weight * ratio:.2g}")
                trial = self.run(solver, weight, options.iterations)
                if not self.evidence().better(trial, best):
                    break
                best = trial
            if best is not start:
                break

    def _midpoint(self, first: str, second: str) -> float:
        """The error of the mean of the images of two methods, computed once."""
        key = (first, second)
        if key not in self._midpoints:
            mean = self._images[first].lerp(self._images[second], 0.5)
            self._midpoints[key] = self.held_out(mean)
        return self._midpoints[key]


class _Watch:
    """The monitor of a trial: looks at the prediction, keeps the best images, says when to stop."""

    def __init__(self, held_out: HeldOut, start: Tensor, searching: bool) -> None:
        self.held_out, self.searching = held_out, searching
        self.looks: list[tuple[float, int]] = []
        self.kept = start

    def __call__(self, step: int, x: Tensor) -> bool:
        if not self.searching or step % LOOK_EVERY:
            return self._stale()
        self.looks.append((self.held_out(x), step))
        if self.looks[-1] == min(self.looks):
            self.kept = x.clone()
        return self._stale()

    def _stale(self) -> bool:
        if not self.looks:
            return False
        return len(self.looks) - self.looks.index(min(self.looks)) > PATIENCE

    def best(self, solution: Solution, iterations: int | None) -> tuple[float, int, Tensor]:
        """Error, step and images of the best look, the end among them."""
        # Solvers may be done before the first look.
        end = max(1, len(solution.residuals)) if iterations is None else iterations
        self.looks.append((self.held_out(solution.x), end))
        error, step = min(self.looks)
        return error, step, solution.x if self.looks[-1] == (error, step) else self.kept


def narrowed(prepared: PreparedSeries, coils: Coils) -> Coils:
    """The coils with the columns that trials reconstruct."""
    if not isinstance(prepared.mask, LineMask):
        return coils
    return replace(coils, columns=most_dynamic_columns(LeastSquares.of(prepared, coils)))


def most_dynamic_columns(term: LeastSquares) -> slice:
    """A third of the columns where the coils see anything: those with the most change over time.

    There the heart and its aliasing are, before reconstruction; of a single frame the central ones.
    """
    x = term.rhs
    width = max(1, math.ceil(COLUMNS_SHARE * x.shape[2]))
    if len(x) == 1:
        first = (x.shape[2] - width) // 2
    else:
        change = (x - x.mean(0)).abs().square().sum((0, 1))
        first = int(change.unfold(0, width, 1).sum(1).argmax())
    first += term.columns.start
    return slice(first, first + width)
