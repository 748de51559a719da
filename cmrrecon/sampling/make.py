"""The patterns by name, and `make_mask`, which draws a mask."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from cmrrecon.sampling.kt_gaussian import kt_gaussian
from cmrrecon.sampling.kt_radial import kt_radial
from cmrrecon.sampling.lines import gaussian, kt_uniform, random, uniform
from cmrrecon.sampling.plan import Plan, calibration
from cmrrecon.sampling.poisson import poisson
from cmrrecon.tools.errors import UsageError, suggestion

OFFICIAL_ACS = {2023: 24, 2024: 16, 2025: 20}
HIGHEST_SEED = 2**32 - 1


@dataclass(frozen=True)
class Pattern:
    """A sampling pattern.

    Attributes
    ----------
    draw : callable
        Maps a `Plan` to a mask of shape (frame|1, y, x|1), bool, without the calibration.
    random : bool
        Whether the pattern needs a seed.
    lines : bool
        Whether the pattern samples whole readout lines. The mask then has length 1 along x, and the
        calibration consists of lines rather than a square.
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
    """Return the pattern of this name.

    Raises
    ------
    UsageError
        If there is no pattern with this name (`unknown-pattern`).
    """
    if name not in PATTERNS:
        raise UsageError(
            "unknown-pattern",
            f"There is no pattern {name!r}",
            f"The patterns are {', '.join(PATTERNS)}",
            suggestion(name, PATTERNS, "Choose one of them"),
        )

    return PATTERNS[name]


def official_acs(year: int) -> int:
    """Return the number of calibration lines (kt-radial: side of the square) in a challenge year.

    Raises
    ------
    UsageError
        If the year has no official number (`option-value`).
    """
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
    """Draw a sampling mask, including the calibration.

    Parameters
    ----------
    pattern : str
        A name in `PATTERNS`.
    frames, y, x : int
        The lengths of the axes. Line patterns undersample y, the phase encode.
    acceleration : float
        The nominal R, from 1 to y, not counting the calibration. It may be fractional.
    acs : int or None
        The number of central lines; for kt-radial and poisson the side of the central square. None
        uses the official number of the year.
    seed : int or None
        The seed, from 0 to 2^32 - 1. Random patterns need it; the others ignore it.
    year : int
        2023, 2024 or 2025. It determines the official ACS and, for 2024, how kt-uniform treats an
        odd number of frames.

    Returns
    -------
    Tensor of shape (frame|1, y, x|1), bool
        The mask. Its x has length 1 for patterns of whole lines; its frame axis has length 1 for
        patterns that are the same in all frames.

    Raises
    ------
    UsageError
        If the pattern is unknown (`unknown-pattern`), a seed is missing (`seed-missing`), a number
        is out of range (`option-value`) or the pattern cannot be drawn (`mask-impossible`).
    """
    chosen = find_pattern(pattern)
    if chosen.random and seed is None:
        raise UsageError(
            "seed-missing",
            f"The pattern {pattern} is random, but no seed was given",
            "With a seed the mask can be drawn again",
            "Give a seed, such as 1",
        )

    plan = Plan(
        frames, y, x, acceleration, official_acs(year) if acs is None else acs, seed or 0, year
    )
    _check(plan, pattern, chosen.lines)

    return chosen.draw(plan) | calibration(plan, chosen.lines)


def _check(plan: Plan, pattern: str, lines: bool) -> None:
    """Refuse numbers for which no mask can be drawn."""
    if min(plan.frames, plan.y, plan.x) < 1:
        raise UsageError(
            "option-value",
            f"A mask of {plan.frames} frames, y {plan.y} and x {plan.x} was requested",
            "All three must be at least 1",
            "Give the lengths of the k-space axes",
        )

    if not 1 <= plan.acceleration <= plan.y:
        raise UsageError(
            "option-value",
            f"The acceleration is {plan.acceleration:g}",
            f"It must be between 1 and {plan.y}, the number of lines along y",
            "Choose a number in this range, such as 4 or 2.5",
        )

    room = plan.y if lines else min(plan.y, plan.x)
    if not 0 <= plan.acs <= room:
        raise UsageError(
            "option-value",
            f"{plan.acs} ACS lines were requested on a grid of y {plan.y} and x {plan.x}",
            f"The pattern {pattern} can have 0 to {room} there",
            "Give a number of ACS lines in that range",
        )

    if not 0 <= plan.seed <= HIGHEST_SEED:
        raise UsageError(
            "option-value",
            f"The seed is {plan.seed}",
            f"It must be between 0 and {HIGHEST_SEED}",
            "Choose one from 1 to 1000, as the official masks do",
        )
