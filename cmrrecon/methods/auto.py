"""No knobs: the weight, the iterations and the method are chosen per scan, by predicting measured samples that were hidden."""

import copy
import inspect
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

from torch import Tensor

from cmrrecon.classical.problem import Coils, Problem
from cmrrecon.classical.refined_maps import refined
from cmrrecon.data.scan import Series
from cmrrecon.methods.holdout import HeldOut, count_hidden, hide
from cmrrecon.methods.shipped import NAME as NETWORK
from cmrrecon.solvers import Solution

# A function of a problem with the options `weight`, `iterations` and `monitor`.
Solver = Callable[..., Solution]
AUTO = "auto"
Maps = Literal["espirit", "refined"]

# Steps between two looks at the prediction, the most steps that are tried, and looks without improvement after which a trial ends.
LOOK_EVERY = 5
MOST_STEPS = 100
PATIENCE = 3
# Neighbouring weights of the search, and the most of them for one method.
WEIGHT_RATIO = 2.5
MOST_WEIGHTS = 5
# An error counts as smaller if it is so by this part over the square root of the number of hidden lines or patches: fewer say less. Chosen
# on semi-real cine of two centres.
MARGIN = 0.3
# A blend of two methods must predict better than the best of them by this part; less is not worth a second solution. It is less than
# MARGIN, though the share is fitted to what judges it: on the cine it was chosen on no blend that won by this lowered the PSNR.
BLEND_GAIN = 0.01
# The network or a classical method is taken alone if its error is smaller by this part; between, a blend of the two. Hidden lines leave
# holes that no scan of the training had, so that the network, which then predicts worse, may still reconstruct better: on simulated scans
# by decibels. On a phantom unlike them it was the other way round. So what is not clear is hedged.
HEDGE = 0.1
# Where all frames have the same lines nothing else fills the holes, and hidden lines hardly tell which of the two is better: on pictures
# the network won where it predicted worse, on phantoms it lost where it predicted better. But they tell how much is unsettled: where the
# classical methods leave more than the first of the hidden lines' energy beyond noise the network is taken alone, elsewhere in a blend of
# equal parts, and nowhere if its error is larger by the second. Chosen by docs/experiments/same_lines.py.
UNSETTLED, HEDGE_OF_FIXED = 0.15, 0.25
# How many methods have their weight searched after all were tried with their default.
FINALISTS = 2
# Line masks: the part of the columns that trials reconstruct. Columns are independent in the data, so a trial is the same problem, smaller.
COLUMNS_SHARE = 1 / 3


@dataclass(frozen=True)
class Trial:
    """One try: with which settings, and how well the hidden samples were predicted (`HeldOut`; less is better)."""

    method: str
    weight: float
    iterations: int
    error: float


@dataclass(frozen=True)
class Choice:
    """What was chosen and why.

    Attributes
    ----------
    method, weight, iterations : what to reconstruct with
    partner, share : a trial whose images are blended in, and their share; None and 0 if one method does it alone
    error : with which error this predicted the hidden samples; None if there were none
    trials : what was tried, in order; empty if nothing could be hidden or all was given
    hidden : what the trials had to predict, or why there were none
    noise : the error that the noise of the hidden samples alone makes, by an estimate of it; None where it is not known
    maps : of ESPIRiT, or refined (`classical.refined_maps`); maps_errors: with which errors either predicted, if both were tried
    """

    method: str
    weight: float
    iterations: int
    trials: tuple[Trial, ...]
    hidden: str
    partner: Trial | None = None
    share: float = 0.0
    noise: float | None = None
    maps: Maps = "espirit"
    maps_errors: tuple[float, float] | None = None
    error: float | None = None

    def contest(self) -> tuple[Trial, Trial] | None:
        """The best trial of the network and that of the classical methods, if both were tried."""
        of_network = [trial for trial in self.trials if trial.method == NETWORK]
        classical = [trial for trial in self.trials if trial.method != NETWORK]
        if not (of_network and classical):
            return None
        best, other = (min(trials, key=lambda trial: trial.error) for trials in (of_network, classical))
        return best, other

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(kept: Mapping[str, Any]) -> "Choice":
        """What `as_dict` gave."""
        partner = Trial(**kept["partner"]) if kept["partner"] else None
        errors = kept.get("maps_errors")
        trials = tuple(Trial(**trial) for trial in kept["trials"])
        return Choice(**{**kept, "trials": trials, "partner": partner, "maps_errors": errors and tuple(errors)})


class Taken(NamedTuple):
    """What is taken: a trial, a second one whose images are blended in and their share (None and 0 without), and the error of the whole."""

    trial: Trial
    partner: Trial | None
    share: float
    error: float


def choose(series: Series, scale: float, solvers: Mapping[str, Solver], settings: Mapping[str, Any], *, refine: bool = False) -> Choice:
    """The best solver and its settings for a series.

    Parameters
    ----------
    series, scale : the k-space, and what it is divided by to be normalised
    solvers : by name; the first is taken if nothing can be hidden, and wins ties
    settings : `weight`, `iterations` and `coils` (the number of virtual coils), each a number or "auto"
    refine : whether refined maps are tried too, with the first solver, and taken if it predicts better with them; not if a number of
        virtual coils is given, since they are of all measured coils

    A trial hides samples (`hide`), reconstructs the rest and looks at the prediction every `LOOK_EVERY` steps. All solvers
    are tried with their default weight. Unless the network is to be taken alone, the weights of the two best others are searched
    uphill in steps of `WEIGHT_RATIO`. Of the others a blend of the images of two is taken if it predicts better than either:
    their errors differ where their models do. They, the network alone, or a blend of it and the best of them: see `HEDGE` and
    `UNSETTLED`. With too little to hide the first solver runs with its own defaults; a fully sampled series needs no regularisation, its
    weight is 0. Errors as of `Coils.of`.
    """
    first = next(iter(solvers))
    if len(solvers) == 1 and AUTO not in (settings["weight"], settings["iterations"]):
        return Choice(first, settings["weight"], settings["iterations"], (), "all settings were given")
    refine = refine and settings["coils"] == AUTO and series.kspace.shape[1] > 1
    if series.complete:
        weight, iterations = fixed(solvers[first], {"weight": 0.0, **{key: v for key, v in settings.items() if v != AUTO}})
        return Choice(first, weight, iterations, (), "fully sampled, no regularisation is needed", maps="refined" if refine else "espirit")
    hidden = hide(series)
    if hidden is None:
        weight, iterations = fixed(solvers[first], settings)
        return Choice(first, weight, iterations, (), "too little was measured outside the calibration region, so these are defaults")
    bench, errors = Bench(series, scale, hidden, coils_of(series, settings)), None

    def attempt(name: str) -> Trial:
        return bench.run(name, solvers[name], fixed(solvers[name], settings)[0], settings["iterations"])

    attempt(first)
    maps: Maps = "espirit"
    if refine:
        plain, bench = bench, bench.with_refined_maps()
        errors = plain.trials[0].error, attempt(first).error
        bench, maps = (bench, "refined") if errors[1] < errors[0] else (plain, maps)
    for name in [name for name in solvers if name != first]:
        attempt(name)
    if settings["weight"] == AUTO and bench.taken().trial.method != NETWORK:
        classical = [trial for trial in bench.trials if trial.method != NETWORK]
        for trial in sorted(classical, key=lambda trial: trial.error)[:FINALISTS]:
            bench.search(trial, solvers[trial.method], settings["iterations"])
    best, partner, share, error = bench.taken()
    noise = bench.held_out.noise if math.isfinite(bench.held_out.noise) else None
    told = describe(hidden, series)
    return Choice(best.method, best.weight, best.iterations, tuple(bench.trials), told, partner, share, noise, maps, errors, error)


def coils_of(series: Series, settings: Mapping[str, Any]) -> Coils:
    """The maps of a series, with as many virtual coils as the settings say. Errors as of `Coils.of`."""
    return Coils.of(series, None if settings["coils"] == AUTO else settings["coils"])


def solve(series: Series, scale: float, solvers: Mapping[str, Solver], choice: Choice, settings: Mapping[str, Any]) -> tuple[Tensor, Coils]:
    """Images (frame, y, x) of a series divided by `scale`, with what was chosen, and the coils they were made with.

    Errors as of `Coils.of`.
    """
    coils = coils_of(series, settings)
    if choice.maps == "refined":
        coils = refined(series, coils, scale)
    problem = Problem.of(series, coils, scale)
    x = solvers[choice.method](problem, weight=choice.weight, iterations=choice.iterations).x
    if choice.partner is not None:
        other = solvers[choice.partner.method](problem, weight=choice.partner.weight, iterations=choice.partner.iterations).x
        x = x.lerp(other, choice.share)
    return problem.whole(x), coils


def fixed(solver: Solver, settings: Mapping[str, Any]) -> tuple[float, int]:
    """Weight and iterations: as given, else the solver's defaults."""
    parameters = inspect.signature(solver).parameters
    weight, iterations = (parameters[key].default if settings.get(key, AUTO) == AUTO else settings[key] for key in ("weight", "iterations"))
    return weight, iterations


def describe(hidden: Tensor, series: Series) -> str:
    """What was hidden, in words."""
    kind = "patches of samples" if hidden.shape[2] > 1 else "lines" if series.trajectory is None else "spokes"
    return f"{count_hidden(hidden, len(series.kspace))} {kind}"


class Bench:
    """Tries solvers on a series without its hidden samples."""

    def __init__(self, series: Series, scale: float, hidden: Tensor, known: Coils) -> None:
        if hidden.shape[2] == 1 and series.trajectory is None:
            known = replace(known, columns=liveliest(Problem.of(series, known, scale)))
        self.series, self.scale, self.hidden, self.known = series, scale, hidden, known
        self.rest = replace(series, mask=series.mask & ~hidden)
        self.problem = Problem.of(self.rest, known, scale)
        self.held_out = HeldOut(series, scale, hidden, known)
        self.margin = MARGIN / math.sqrt(count_hidden(hidden, len(series.kspace)))
        self.trials: list[Trial] = []
        # Of each method the first trial that no other of its trials clearly betters, and its images.
        self.images: dict[str, tuple[Trial, Tensor]] = {}

    def with_refined_maps(self) -> "Bench":
        """Another one with the maps that are refined by what is not hidden, and no trials yet."""
        other = copy.copy(self)
        other.known = refined(self.rest, self.known, self.scale)
        other.problem = Problem.of(self.rest, other.known, self.scale)
        other.held_out = HeldOut(self.series, self.scale, self.hidden, other.known)
        other.trials, other.images = [], {}
        return other

    def run(self, name: str, solver: Solver, weight: float, iterations: int | str) -> Trial:
        """One trial; if the iterations are not given, the best number of them is part of the result."""
        looks: list[tuple[float, int]] = []
        best_x = self.problem.rhs

        def look(step: int, x: Tensor) -> bool:
            nonlocal best_x
            if iterations == AUTO and step % LOOK_EVERY == 0:
                looks.append((self.held_out(x), step))
                best_x = x.clone() if looks[-1] == min(looks) else best_x
            return bool(looks) and len(looks) - looks.index(min(looks)) > PATIENCE

        steps = MOST_STEPS if isinstance(iterations, str) else iterations
        solution = solver(self.problem, weight=weight, iterations=steps, monitor=look)
        # The end too, for solvers that are done before the first look.
        looks.append((self.held_out(solution.x), iterations if isinstance(iterations, int) else max(1, len(solution.residuals))))
        error, step = min(looks)
        trial = Trial(name, weight, step, error if math.isfinite(error) else math.inf)
        self.trials.append(trial)
        if name not in self.images or self.clearly_better(trial, self.images[name][0]):
            self.images[name] = trial, solution.x if looks[-1] == min(looks) else best_x
        return trial

    def taken(self) -> Taken:
        """The network, what would be taken without it, or a blend of both, see `HEDGE` and `UNSETTLED`."""
        classical = self.taken_without_network()
        network, _ = self.images.get(NETWORK, (None, None))
        if network is None:
            return classical
        alike = len(self.hidden) == 1 < len(self.series.kspace)
        if network.error > (1 + (HEDGE_OF_FIXED if alike else HEDGE)) * classical.error:
            return classical
        alone = Taken(network, None, 0.0, network.error)
        unsettled = alike and classical.error > self.held_out.noise + UNSETTLED
        clearly_better = not alike and network.error < (1 - HEDGE) * classical.error
        if unsettled or clearly_better:
            return alone
        # Of two that would be blended the better one, and of its trials the one whose images there are.
        best, _ = self.images[min(classical.trial, classical.partner or classical.trial, key=lambda trial: trial.error).method]
        if alike:
            return Taken(best, network, 0.5, self.halfway(best.method, NETWORK))
        share, error = self.blend(best.method, NETWORK)
        return Taken(best, network, share, error) if 0 < share < 1 else min(alone, classical, key=lambda taken: taken.error)

    def taken_without_network(self) -> Taken:
        """The first trial that no other clearly betters, or a blend of two methods that is better still."""
        best = self.trials[0]
        for trial in self.trials:
            best = trial if trial.method != NETWORK and self.clearly_better(trial, best) else best
        chosen = Taken(best, None, 0.0, best.error)
        least = (1 - BLEND_GAIN) * best.error
        for first, second in itertools.combinations([name for name in self.images if name != NETWORK], 2):
            share, error = self.blend(first, second)
            if error < least and 0 < share < 1:
                chosen, least = Taken(self.images[first][0], self.images[second][0], share, error), error
        return chosen

    def blend(self, first: str, second: str) -> tuple[float, float]:
        """The share of the second method's images in the best blend with those of the first, and its error."""
        start, end = self.images[first][0], self.images[second][0]
        if not math.isfinite(start.error + end.error):
            return 0.0, math.inf
        # Along the line from one to the other the error is a parabola: found from both ends and the middle.
        bend = 2 * (start.error + end.error - 2 * self.halfway(first, second))
        slope = end.error - start.error - bend
        share = min(max(-slope / (2 * bend), 0.0), 1.0) if bend > 0 else 0.0
        return share, start.error + share * (slope + share * bend)

    def halfway(self, first: str, second: str) -> float:
        """The error of the mean of the images of two methods."""
        return self.held_out(self.images[first][1].lerp(self.images[second][1], 0.5))

    def clearly_better(self, trial: Trial, other: Trial) -> bool:
        """Whether the difference is more than chance in what was hidden."""
        return trial.error < (1 - self.margin) * other.error

    def search(self, start: Trial, solver: Solver, iterations: int | str) -> None:
        """Better weights, uphill from a trial: first larger ones, then smaller ones if that did not help."""
        best, tries = start, 1
        for ratio in (WEIGHT_RATIO, 1 / WEIGHT_RATIO):
            while tries < MOST_WEIGHTS:
                tries += 1
                trial = self.run(start.method, solver, float(f"{best.weight * ratio:.2g}"), iterations)
                if not self.clearly_better(trial, best):
                    break
                best = trial
            if best is not start:
                break


def liveliest(problem: Problem) -> slice:
    """The columns, a third of those where the coils see anything, with the most change over time before reconstruction, where the heart
    and its aliasing are; the central ones of a single frame."""
    x = problem.rhs
    width = max(1, math.ceil(COLUMNS_SHARE * x.shape[2]))
    if len(x) == 1:
        first = (x.shape[2] - width) // 2
    else:
        change = (x - x.mean(0)).abs().square().sum((0, 1))
        first = int(change.unfold(0, width, 1).sum(1).argmax())
    first += problem.columns.start
    return slice(first, first + width)
