"""What to reconstruct a scan with, decided from what was tried: pure functions of the trials.

No function here computes an image. A trial says how well a method predicted hidden samples of the
scan; `select` picks a trial, or a blend of two.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

Maps = Literal["espirit", "refined"]
# Two names of methods -> the error of the mean of their images.
Midpoint = Callable[[str, str], float]

# A blend of two methods must predict better than the best of them by this part; less is not worth a
# second solution. It is less than the margin of trials, though the share is fitted to what judges
# it: on the cine it was chosen on no blend that won by this lowered the PSNR.
BLEND_GAIN = 0.01
# The network or a classical method is taken alone if its error is smaller by this part; between, a
# blend of the two. Hidden lines leave holes that no scan of the training had, so that the network,
# which then predicts worse, may still reconstruct better: on simulated scans by decibels. On a
# phantom unlike them it was the other way round. So what is not clear is hedged.
HEDGE = 0.1
# Where all frames have the same lines nothing else fills the holes, and hidden lines hardly tell
# which of the two is better: on pictures the network won where it predicted worse, on phantoms it
# lost where it predicted better. But they tell how much is unsettled: where the classical methods
# leave more than the first of the hidden lines' energy beyond noise the network is taken alone,
# elsewhere in a blend of equal parts, and nowhere if its error is larger by the second. Chosen by
# docs/experiments/same_lines.py.
UNSETTLED, HEDGE_OF_FIXED = 0.15, 0.25


@dataclass(frozen=True)
class Trial:
    """One try of a method.

    Attributes
    ----------
    method, weight, iterations : what was tried
    error : how well the hidden samples were predicted, 0 being perfect and 1 an empty image
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
    method, weight, iterations : what to reconstruct with
    trials : what was tried, in order; empty if nothing could be hidden or all was given
    hidden : what the trials had to predict, or why there were none
    partner, share : a trial whose images are blended in, and their share; None and 0 without
    noise : the error that the noise of the hidden samples alone makes; None where it is not known
    maps : coil maps of ESPIRiT, or refined (`classical.refined_maps`)
    maps_errors : the errors with either maps, if both were tried
    error : with which error the choice predicted the hidden samples; None if there were none
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
        """Whether images of a method are part of the result."""
        return method in (self.method, self.partner.method if self.partner else None)

    def best(self, of: Callable[[str], bool] = lambda method: True) -> Trial | None:
        """The trial with the smallest error, among the methods that `of` accepts."""
        among = [trial for trial in self.trials if of(trial.method)]
        return min(among, key=lambda trial: trial.error, default=None)

    def warning(self) -> str | None:
        """What to warn of: a decision that predicts no better than an empty image."""
        least = self.best()
        if least is None or least.error < 1:
            return None
        return (
            "hidden samples were predicted no better than by an empty image "
            f"(error {least.error:.3g}): the coil maps or the sampling do not allow more; see what "
            "zero-filled gives, or scan more calibration lines"
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(kept: Mapping[str, Any]) -> "Decision":
        """What `as_dict` gave."""
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
    """A trial, a second one whose images are blended in with a share, and the error of the blend."""

    trial: Trial
    partner: Trial | None
    share: float
    error: float


@dataclass(frozen=True)
class Evidence:
    """All that `select` looks at.

    Attributes
    ----------
    trials : in the order they were made; the first is of a classical method
    midpoint : the error of the mean of the images of two methods, each at its `leaders` trial
    margin : an error counts as smaller if it is so by this part
    noise : the error that the noise of the hidden samples alone makes; NaN where it is not known
    same_lines : whether all frames measured the same lines
    network : the name of the method that is a network
    """

    trials: Sequence[Trial]
    midpoint: Midpoint
    margin: float
    noise: float = math.nan
    same_lines: bool = False
    network: str | None = None

    def better(self, trial: Trial, other: Trial) -> bool:
        """Whether the difference is more than chance in what was hidden."""
        return trial.error < (1 - self.margin) * other.error

    def leaders(self) -> dict[str, Trial]:
        """Of each method the first trial that no other of its trials clearly betters."""
        found: dict[str, Trial] = {}
        for trial in self.trials:
            if trial.method not in found or self.better(trial, found[trial.method]):
                found[trial.method] = trial
        return found


def select(evidence: Evidence) -> Selection:
    """The network, what would be taken without it, or a blend: see `HEDGE` and `UNSETTLED`."""
    leaders = evidence.leaders()
    classical = select_classical(evidence)
    network = leaders.get(evidence.network or "")
    if network is None:
        return classical

    fixed = evidence.same_lines
    if network.error > (1 + (HEDGE_OF_FIXED if fixed else HEDGE)) * classical.error:
        return classical

    alone = Selection(network, None, 0.0, network.error)
    unsettled = fixed and classical.error > evidence.noise + UNSETTLED
    clearly_better = not fixed and network.error < (1 - HEDGE) * classical.error
    if unsettled or clearly_better:
        return alone

    # Of two that would be blended the better one, and of its trials the one whose images there are.
    first = min(classical.trial, classical.partner or classical.trial, key=lambda t: t.error)
    leader = leaders[first.method]
    if fixed:
        return Selection(leader, network, 0.5, evidence.midpoint(leader.method, network.method))

    share, error = blend(leader, network, evidence.midpoint)
    if 0 < share < 1:
        return Selection(leader, network, share, error)
    return min(alone, classical, key=lambda selection: selection.error)


def select_classical(evidence: Evidence) -> Selection:
    """The first trial that no other clearly betters, or a blend of two methods that is better still."""
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


def blend(first: Trial, second: Trial, midpoint: Midpoint) -> tuple[float, float]:
    """The share of the second method's images in the best blend with those of the first; its error.

    Along the line from one to the other the error is a parabola, known from both ends and the
    middle.
    """
    if not math.isfinite(first.error + second.error):
        return 0.0, math.inf

    middle = midpoint(first.method, second.method)
    bend = 2 * (first.error + second.error - 2 * middle)
    slope = second.error - first.error - bend
    share = min(max(-slope / (2 * bend), 0.0), 1.0) if bend > 0 else 0.0
    return share, first.error + share * (slope + share * bend)
