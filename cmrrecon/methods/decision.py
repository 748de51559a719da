"""Pure functions that decide from trials how to reconstruct a scan.

None of them computes an image. A trial records how well a method predicted hold-out samples of the
scan. `select` chooses a trial, or a blend of two.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

Maps = Literal["espirit", "refined"]
# Takes the names of two methods, and returns the error of the mean of their images.
Midpoint = Callable[[str, str], float]

# A blend of two methods must reduce the best error by this fraction; a smaller gain is not worth a
# second reconstruction. The limit is smaller than the margin of trials, although the share of the
# blend is fitted to the same samples. On the cine used to choose the limit, no blend that gained
# this much lowered the PSNR.
BLEND_GAIN = 0.01
# The network is used alone if its error is smaller by this fraction, or if it predicts better and
# no blend reduces its error by this fraction. Holding out samples leaves gaps that no training scan
# had. The network then predicts worse, but may still reconstruct better.
HEDGE = 0.1
# The network predicts better only if its error is smaller by this part of the margin. Otherwise the
# smallest error decides, which is usually that of a blend.
LIKELY = 0.5
# The network is not used if its error is larger by this fraction.
FAR_WORSE = 0.25
# If all frames have the same lines, no other frame fills the gaps, and hold-out lines hardly show
# which of the two is better: on pictures, the network won although it predicted worse; on phantoms,
# it lost although it predicted better. But hold-out lines do show how much remains unexplained. The
# network is used alone if the classical methods leave more than UNSETTLED of the hold-out energy
# unexplained, beyond noise, and blended in equal parts if not. The limit was chosen by
# docs/experiments/same_lines.py.
UNSETTLED = 0.15
# A network starts from another weight than the default if that multiplies the error by less than
# this. Tuning pictures gain from a smaller weight and phantoms lose, and the errors show which.
START_GAIN = 0.97


@dataclass(frozen=True)
class Trial:
    """One trial of a method.

    Attributes
    ----------
    method : str
        Name of the method.
    weight : float
        Regularisation weight.
    iterations : int
        Solver steps.
    error : float
        Relative error of the predicted hold-out samples: 0 is perfect, 1 is the error of an empty
        image.
    """

    method: str
    weight: float
    iterations: int
    error: float


@dataclass(frozen=True)
class Decision:
    """What was chosen for a scan, and why.

    Attributes
    ----------
    method : str
        Name of the method to reconstruct with.
    weight : float
        Regularisation weight.
    iterations : int
        Solver steps.
    trials : tuple of Trial
        The trials in order; empty if nothing could be held out or all settings were given.
    hidden : str
        The hold-out samples in words, or the reason why there were no trials.
    partner : Trial or None
        A trial whose images are blended in; None without a blend.
    share : float
        Share of the partner's images, 0 without a partner.
    noise : float or None
        The error caused by the noise of the hold-out samples alone; None if it is unknown.
    maps : {"espirit", "refined"}
        Whether coil maps come from ESPIRiT or are refined (`classical.refined_maps`).
    maps_errors : tuple of float or None
        Errors with ESPIRiT and refined maps, if both were tried.
    error : float or None
        Error of the chosen reconstruction on the hold-out samples; None without trials.

    Examples
    --------
    The decision is part of the result of a scan.

    >>> import cmrrecon
    >>> full = cmrrecon.simulate(frames=4, slices=1, coils=3, y=32, x=64).scan
    >>> scan = cmrrecon.undersample(full, "uniform", 2)
    >>> decision = cmrrecon.reconstruct(scan, "sense", device="cpu").decision
    >>> decision.method, len(decision.trials) > 0
    ('sense', True)
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

    def uses(self, method: str) -> bool:
        """Return whether images of a method are part of the result."""
        return method in (self.method, self.partner.method if self.partner else None)

    def best(self, of: Callable[[str], bool] = lambda method: True) -> Trial | None:
        """Return the trial with the smallest error among the methods that `of` accepts."""
        accepted = [trial for trial in self.trials if of(trial.method)]
        return min(accepted, key=lambda trial: trial.error, default=None)

    def warning(self) -> str | None:
        """Return a warning if no trial predicts better than an empty image; otherwise None."""
        least = self.best()
        if least is None or least.error < 1:
            return None
        return (
            "hold-out samples were predicted no better than by an empty image "
            f"(error {least.error:.3g}): the coil maps or the sampling are not good enough; try "
            "zero-filled, or scan more calibration lines"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the decision as values for JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(kept: Mapping[str, Any]) -> "Decision":
        """Restore the decision that `as_dict` stored."""
        partner = Trial(**kept["partner"]) if kept["partner"] else None
        errors = kept.get("maps_errors")
        trials = tuple(Trial(**trial) for trial in kept["trials"])

        return Decision(
            **{
                **kept,
                "trials": trials,
                "partner": partner,
                "maps_errors": errors and tuple(errors),
            }
        )


class Selection(NamedTuple):
    """A trial, a partner to blend in, the partner's share, and the error of the blend."""

    trial: Trial
    partner: Trial | None
    share: float
    error: float

    def uses(self, method: str | None) -> bool:
        """Return whether images of a method are part of the result."""
        return method in (self.trial.method, self.partner and self.partner.method)


@dataclass(frozen=True)
class Evidence:
    """Everything on which `select` bases its choice.

    Attributes
    ----------
    trials : sequence of Trial
        Trials in the order in which they were made. The first is a trial of a classical method.
    midpoint : Midpoint
        Returns the error of the mean of two methods' images, each from the method's `leaders`
        trial.
    margin : float
        An error counts as smaller only if it is smaller by this fraction.
    noise : float
        The error caused by the noise of the hold-out samples alone; NaN if it is unknown.
    same_lines : bool
        Whether all frames measured the same lines.
    network : str or None
        Name of the method that is a network.
    """

    trials: Sequence[Trial]
    midpoint: Midpoint
    margin: float
    noise: float = math.nan
    same_lines: bool = False
    network: str | None = None

    def better(self, trial: Trial, other: Trial) -> bool:
        """Return whether a trial is better by more than chance, given the hold-out samples."""
        return trial.error < (1 - self.margin) * other.error

    def leaders(self) -> dict[str, Trial]:
        """Find the first trial of each method that no other of its trials clearly beats."""
        found: dict[str, Trial] = {}
        for trial in self.trials:
            if trial.method not in found or self.better(trial, found[trial.method]):
                found[trial.method] = trial
        return found


def select(evidence: Evidence) -> Selection:
    """Choose the network, the best classical choice, or a blend; the limits are above."""
    leaders = evidence.leaders()
    classical = select_classical(evidence)
    network = leaders.get(evidence.network or "")
    if network is None:
        return classical

    fixed = evidence.same_lines
    if network.error > (1 + FAR_WORSE) * classical.error:
        return classical

    alone = Selection(network, None, 0.0, network.error)
    unsettled = fixed and classical.error > evidence.noise + UNSETTLED
    clearly_better = not fixed and network.error < (1 - HEDGE) * classical.error
    if unsettled or clearly_better:
        return alone

    # The network replaces the worse of two blended methods. Only the leaders' images were kept.
    first = min(classical.trial, classical.partner or classical.trial, key=lambda t: t.error)
    leader = leaders[first.method]
    if fixed:
        return Selection(leader, network, 0.5, evidence.midpoint(leader.method, network.method))

    share, error = blend(leader, network, evidence.midpoint)
    blended = Selection(leader, network, share, error)
    if network.error < (1 - LIKELY * evidence.margin) * classical.error:
        return blended if error < (1 - HEDGE) * network.error and share < 1 else alone
    return min(alone, classical, blended, key=lambda choice: choice.error)


def select_classical(evidence: Evidence) -> Selection:
    """Choose the first trial that no other clearly beats, or a blend that beats it."""
    best = evidence.trials[0]
    for trial in evidence.trials:
        if trial.method != evidence.network and evidence.better(trial, best):
            best = trial

    chosen = Selection(best, None, 0.0, best.error)
    least = (1 - BLEND_GAIN) * best.error
    leaders = [t for name, t in evidence.leaders().items() if name != evidence.network]
    for first, second in itertools.combinations(leaders, 2):
        share, error = blend(first, second, evidence.midpoint)
        if error < least and 0 < share < 1:
            chosen, least = Selection(first, second, share, error), error

    return chosen


def start_trial(trials: Sequence[Trial], method: str) -> Trial | None:
    """Choose the trial of a method with whose weight a network starts from the method.

    It is the first trial that no other clearly beats; the limit is above.
    """
    tried = [trial for trial in trials if trial.method == method and math.isfinite(trial.error)]
    chosen = tried[0] if tried else None
    for trial in tried[1:]:
        assert chosen is not None
        if trial.error < START_GAIN * chosen.error:
            chosen = trial
    return chosen


def blend(first: Trial, second: Trial, midpoint: Midpoint) -> tuple[float, float]:
    """Find the best share of the second method's images in a blend of two, and its error.

    Along the line between the two images, the error is a parabola, which both ends and the middle
    determine.
    """
    if not math.isfinite(first.error + second.error):
        return 0.0, math.inf

    middle = midpoint(first.method, second.method)
    bend = 2 * (first.error + second.error - 2 * middle)
    slope = second.error - first.error - bend
    share = min(max(-slope / (2 * bend), 0.0), 1.0) if bend > 0 else 0.0
    return share, first.error + share * (slope + share * bend)
