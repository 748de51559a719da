"""Try methods on a series without its hold-out samples, and choose the best at predicting them."""

import math
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from cmrrecon.classical.coarse import coarser
from cmrrecon.classical.coils import Coils
from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.classical.problem import LeastSquares, Problem
from cmrrecon.classical.refined_maps import refined
from cmrrecon.classical.still import started
from cmrrecon.data import LineMask, SampleMask, SamplingMask
from cmrrecon.methods.decision import Decision, Evidence, Maps, Trial, select, start_trial
from cmrrecon.methods.holdout import HeldOut, count_hidden, describe_hidden, hide
from cmrrecon.methods.solver import IterativeOptions, Solver
from cmrrecon.solvers import Solution

# Number of steps between two checks of the prediction, and largest number of steps of a trial. A
# trial ends when its error improves by less than WORTHWHILE from one check to the next, but not
# before LEAST_STEPS.
LOOK_EVERY = 5
LEAST_STEPS = 15
MOST_STEPS = 100
WORTHWHILE = 0.01
# Ratio of neighbouring weights in the search, and largest number of weights for one method.
WEIGHT_RATIO = 2.5
MOST_WEIGHTS = 5
# An error counts as smaller if it is smaller by this fraction divided by the square root of the
# number of hold-out lines or patches, because fewer samples are less reliable. The value was chosen
# on semi-real cine from two centres.
MARGIN = 0.3
# A method from which a network starts is also tried with this multiple of its default weight (see
# `start_trial`), unless all frames have the same lines: these hardly show which weight is better.
START_RATIO = 0.5
# All methods are tried with their default weight; better weights are searched for this many.
FINALISTS = 2
# Fraction of the columns that trials reconstruct for whole lines. Such data do not mix columns, so
# a trial is a smaller version of the same problem.
COLUMNS_SHARE = 1 / 3


def decide(
    prepared: PreparedSeries,
    solvers: Mapping[str, Solver],
    options: IterativeOptions,
    *,
    refine: bool = False,
    network: str | None = None,
) -> Decision:
    """Choose the best solver and its settings for a series by predicting hold-out samples.

    A trial reconstructs the series without its hold-out samples (`hide`), and checks every
    `LOOK_EVERY` steps how well it predicts them. For whole lines, trials reconstruct only some of
    the columns (`narrowed`); for single samples, images of half the resolution (`coarser`). All
    solvers are tried with their default weight. Unless the network will be used alone, better
    weights are then searched for the best classical solvers, in steps of `WEIGHT_RATIO`. If too
    little was measured to hold samples out, the first solver runs with its defaults. A complete
    series needs no regularisation, so its weight is 0.

    Parameters
    ----------
    prepared : PreparedSeries
        The series.
    solvers : Mapping of str to Solver
        Solvers by name. The first is used if nothing can be held out or if results are equal.
    options : IterativeOptions
        Given settings, which are not searched.
    refine : bool
        Whether to try refined maps too, with the first solver, and use them if they predict better.
        They are maps of all measured coils, so they are not tried if a number of virtual coils is
        given, nor if the body folds over: two sets of ESPIRiT maps are then better.
    network : str or None
        Name of the solver that is a network.

    Returns
    -------
    Decision
        The choice and its trials.

    Raises
    ------
    InputError
        If the coils cannot be calibrated, see `estimate_coils`.
    NumericalError
        If the maps are zero everywhere (`maps-empty`).
    """
    first = next(iter(solvers.values()))
    given = options.weight is not None and options.iterations is not None
    if len(solvers) == 1 and given:
        return first.decision(options, "all settings were given")

    refine = refine and options.coils is None and prepared.kspace.shape[1] > 1

    if prepared.mask.complete:
        unregularised = options if options.weight is not None else replace(options, weight=0.0)
        why = "fully sampled, so no regularisation is needed"
        one_set = refine and prepared.coils().sets == 1
        return first.decision(unregularised, why, "refined" if one_set else "espirit")

    if isinstance(prepared.mask, SampleMask):
        prepared = coarser(prepared)

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
    from_start = any(solver.from_start for solver in solvers.values())
    trials = Trials(prepared, prepared.mask.chosen(hidden), coils, network, from_start)

    trials.attempt(first, options)
    maps: Maps = "espirit"
    errors = None
    if refine and coils.sets == 1:
        plain, trials = trials, trials.with_refined_maps()
        errors = plain.made[0].error, trials.attempt(first, options).error
        trials, maps = (trials, "refined") if errors[1] < errors[0] else (plain, maps)

    for solver in others:
        for name in solver.starts_from if trials.hidden.varies else ():
            trials.run(solvers[name], START_RATIO * solvers[name].weight, options.iterations)
        trials.attempt(solver, options)

    selected = select(trials.evidence())
    if options.weight is None and selected.trial.method != network:
        leaders = trials.evidence().leaders().values()
        classical = [trial for trial in leaders if trial.method != network]
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
    """Trials of solvers on a series without its hold-out samples, and their best images."""

    def __init__(
        self,
        prepared: PreparedSeries,
        hidden: SamplingMask,
        coils: Coils,
        network: str | None = None,
        from_start: bool = True,
    ) -> None:
        self.prepared, self.hidden, self.coils, self.network = prepared, hidden, coils, network
        self.from_start = from_start
        self.rest = prepared.part(prepared.mask.without(hidden.samples))
        self.problem = (started if from_start else Problem.of)(self.rest, coils)
        self.held_out = HeldOut(prepared, hidden.samples, coils)
        self.made: list[Trial] = []
        self._images: dict[Trial, Tensor] = {}
        self._midpoints: dict[tuple[Trial, Trial], float] = {}

    def with_refined_maps(self) -> "Trials":
        """Start new trials, with maps refined on the samples that are not held out."""
        coils = refined(self.rest, self.coils)
        return Trials(self.prepared, self.hidden, coils, self.network, self.from_start)

    def evidence(self) -> Evidence:
        """Collect what the decision is based on."""
        frames = self.prepared.series.frames
        margin = MARGIN / math.sqrt(count_hidden(self.hidden, frames))
        fixed = not self.hidden.varies and frames > 1
        return Evidence(self.made, self._midpoint, margin, self.held_out.noise, fixed, self.network)

    def attempt(self, solver: Solver, options: IterativeOptions) -> Trial:
        """Run one trial with the given weight, or with the default of the solver."""
        weight = solver.weight if options.weight is None else options.weight
        return self.run(solver, weight, options.iterations)

    def run(
        self, solver: Solver, weight: float, iterations: int | None, bound: float = math.inf
    ) -> Trial:
        """Run one trial; also find the best number of iterations unless it is given.

        The trial ends early if it is unlikely to reach an error below `bound`.
        """
        watch = _Watch(self.held_out, self.problem.rhs, iterations is None, bound)
        steps = MOST_STEPS if iterations is None else iterations
        starts = [start_trial(self.made, name) for name in solver.starts_from]
        known = {trial.method: self._images[trial] for trial in starts if trial is not None}
        solution = solver(replace(self.problem, solutions=known), weight, steps, watch)

        error, step, x = watch.best(solution, iterations)
        trial = Trial(solver.name, weight, step, error if math.isfinite(error) else math.inf)
        self.made.append(trial)

        self._images[trial] = x
        return trial

    def search(self, start: Trial, solver: Solver, options: IterativeOptions) -> None:
        """Search for a better weight, starting from a trial: larger ones first, then smaller ones.

        Smaller weights are tried only if a larger one was no better.
        """
        best, tries = start, 1
        for ratio in (WEIGHT_RATIO, 1 / WEIGHT_RATIO):
            while tries < MOST_WEIGHTS:
                tries += 1
                weight = float(f"{best.weight * ratio:.2g}")
                bound = (1 - self.evidence().margin) * best.error
                trial = self.run(solver, weight, options.iterations, bound)
                if not self.evidence().better(trial, best):
                    break
                best = trial
            if best is not start:
                break

    def _midpoint(self, first: str, second: str) -> float:
        """Return the error of the mean of two methods' images, computed once."""
        leaders = self.evidence().leaders()
        pair = leaders[first], leaders[second]
        if pair not in self._midpoints:
            mean = self._images[pair[0]].lerp(self._images[pair[1]], 0.5)
            self._midpoints[pair] = self.held_out(mean)
        return self._midpoints[pair]


class _Watch:
    """Monitor of a trial: it checks the prediction, keeps the best images, and ends the trial."""

    def __init__(
        self, held_out: HeldOut, start: Tensor, searching: bool, bound: float = math.inf
    ) -> None:
        self.held_out, self.searching, self.bound = held_out, searching, bound
        self.checks: list[tuple[float, int]] = []
        self.kept = start

    def __call__(self, step: int, x: Tensor) -> bool:
        if not self.searching or step % LOOK_EVERY:
            return False

        self.checks.append((self.held_out(x), step))
        if self.checks[-1] == min(self.checks):
            self.kept = x.clone()
        return self._finished()

    def _finished(self) -> bool:
        if len(self.checks) < 2:
            return False

        (before, _), (now, step) = self.checks[-2:]
        settled = step >= LEAST_STEPS and now > (1 - WORTHWHILE) * before
        # Improved at the present rate for two more checks, the error would still be too large.
        return settled or now - 2 * (before - now) > self.bound

    def best(self, solution: Solution, iterations: int | None) -> tuple[float, int, Tensor]:
        """Return the error, step and images of the best check, including the end."""
        # Solvers may finish before the first check.
        end = max(1, len(solution.residuals)) if iterations is None else iterations
        self.checks.append((self.held_out(solution.x), end))
        error, step = min(self.checks)
        return error, step, solution.x if self.checks[-1] == (error, step) else self.kept


def narrowed(prepared: PreparedSeries, coils: Coils) -> Coils:
    """Restrict the coils to the columns that trials reconstruct."""
    if not isinstance(prepared.mask, LineMask):
        return coils
    return replace(coils, columns=most_dynamic_columns(LeastSquares.of(prepared, coils)))


def most_dynamic_columns(term: LeastSquares) -> slice:
    """Choose a third of the columns that the coils see: those with the largest change over time.

    Before reconstruction, these are the columns of the heart and its aliasing. For a single frame,
    the central columns are used.
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
