"""The patterns by name, and `make_mask`, which draws one."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from cmrrecon.sampling.kt_gaussian import kt_gaussian
from cmrrecon.sampling.kt_radial import kt_radial
from cmrrecon.sampling.lines import gaussian, kt_uniform, random, uniform
from cmrrecon.sampling.plan import Plan, calibration
from cmrrecon.sampling.poisson import poisson
from cmrrecon.tools.errors import UsageError, nearest

OFFICIAL_ACS = {2023: 24, 2024: 16, 2025: 20}
HIGHEST_SEED = 2**32 - 1


@dataclass(frozen=True)
class Pattern:
    """One way to undersample.

    Attributes
    ----------
    draw : Plan -> mask Tensor (frame|1, y, x|1) bool, the calibration not yet added
    random : whether it needs a seed
    lines : whether it samples whole readout lines: the mask's x is 1 long and the calibration is lines, not a square
    """

    draw: Callable[[Plan], Tensor]
    random: bool = False
    lines: bool = True


PATTERNS = {
    "uniform": Pattern(uniform),
    "kt-uniform": Pattern(kt_uniform),
    "kt-gaussian": Pattern(kt_gaussian, random=True),
    "kt-radial": Pattern(kt_radial, lines=False),
    "random": Pattern(random, random=True),
    "gaussian": Pattern(gaussian, random=True),
    "poisson": Pattern(poisson, random=True, lines=False),
}


def find_pattern(name: str) -> Pattern:
    """The pattern of this name. Raises UsageError, naming the nearest one, if there is none."""
    if name not in PATTERNS:
        near = nearest(name, PATTERNS)
        remedy = f"Perhaps {near} was meant" if near else "Choose one of them"
        raise UsageError(
            "unknown-pattern",
            f"There is no pattern {name!r}",
            f"The patterns are {', '.join(PATTERNS)}",
            remedy,
        )

    return PATTERNS[name]


def official_acs(year: int) -> int:
    """Calibration lines (for kt-radial: side of the square) of a challenge year. Raises UsageError for a year that has none."""
    if year not in OFFICIAL_ACS:
        raise UsageError(
            "option-value",
            f"There is no official number of ACS lines for the year {year}",
            f"The years {', '.join(map(str, OFFICIAL_ACS))} have one",
            "Give the number of ACS lines, or one of these years",
        )
    return OFFICIAL_ACS[year]


def make_mask(
    pattern: str,
    *,
    frames: int,
    y: int,
    x: int,
    acceleration: float,
    acs: int | None = None,
    seed: int | None = None,
    year: int = 2025,
) -> Tensor:
    """Draw a sampling mask, calibration included.

    Parameters
    ----------
    pattern : a name of PATTERNS
    frames, y, x : lengths of the axes; y is the phase encode that line patterns undersample
    acceleration : nominal R from 1 to y, not counting the calibration; may be fractional
    acs : central lines, for kt-radial and poisson the side of the central square; None: the official number of the year
    seed : 0 to 2^32 - 1, needed by the random patterns and not used by the others
    year : 2023, 2024 or 2025: whose ACS, and for 2024 whose way to draw kt-uniform with an odd number of frames

    Returns
    -------
    Tensor (frame|1, y, x|1) bool: x is 1 long for patterns of whole lines, frame for those that are the same in all frames

    Raises
    ------
    UsageError : an unknown pattern, a missing seed, or numbers that do not fit
    """
    chosen = find_pattern(pattern)
    if chosen.random and seed is None:
        raise UsageError(
            "seed-missing",
            f"The pattern {pattern} is random and has no seed",
            "A seed makes the same mask again",
            "Give a seed, such as 1",
        )

    plan = Plan(
        frames, y, x, acceleration, official_acs(year) if acs is None else acs, seed or 0, year
    )
    _check(plan, pattern, chosen.lines)

    return chosen.draw(plan) | calibration(plan, chosen.lines)


def _check(plan: Plan, pattern: str, lines: bool) -> None:
    """Refuse what no mask can be drawn for."""
    if min(plan.frames, plan.y, plan.x) < 1:
        raise UsageError(
            "option-value",
            f"A mask of {plan.frames} frames, y {plan.y} and x {plan.x} was asked for",
            "All three must be at least 1",
            "Give the lengths of the k-space axes",
        )

    if not 1 <= plan.acceleration <= plan.y:
        raise UsageError(
            "option-value",
            f"The acceleration is {plan.acceleration:g}",
            f"It must lie between 1 and {plan.y}, the number of lines along y",
            "Choose one in between, such as 4 or 2.5",
        )

    room = plan.y if lines else min(plan.y, plan.x)
    if not 0 <= plan.acs <= room:
        raise UsageError(
            "option-value",
            f"{plan.acs} ACS lines were asked for on a grid of y {plan.y} and x {plan.x}",
            f"The pattern {pattern} can have 0 to {room} there",
            "Give a number of ACS lines in that range",
        )

    if not 0 <= plan.seed <= HIGHEST_SEED:
        raise UsageError(
            "option-value",
            f"The seed is {plan.seed}",
            f"It must lie between 0 and {HIGHEST_SEED}",
            "Choose one from 1 to 1000, as the official masks do",
        )
