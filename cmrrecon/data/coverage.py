"""How much of the matrix a Cartesian scan covers: all of it, a contiguous part, or with gaps."""

from dataclasses import dataclass
from enum import Enum

from torch import Tensor

Region = tuple[slice, slice]
# In words: the whole matrix was measured.
COMPLETE = "fully sampled"
# Partial Fourier and asymmetric echoes reach down to this part of an axis: less leaves too little
# of the centre of k-space to know the phase from.
LEAST_PART = 5 / 8
# Sides that differ by up to this part of the axis count as even.
UNEVEN = 0.01
# With gaps, an end that lacks up to so many times the largest gap lacks it by the pattern; where of
# so many gaps this part are as large as the largest, the pattern leaves nothing to chance.
BY_CHANCE = 4
MANY, REGULAR = 6, 0.6


class Reach(Enum):
    """What of an axis was measured."""

    WHOLE = "whole"
    ONE_SIDED = "cut on one side"
    SHORT = "short on both sides"


@dataclass(frozen=True)
class Axis:
    """How far along one axis was measured, whatever the gaps.

    Attributes
    ----------
    reach : whether all, all but one side, or less on both sides
    part : the measured length over that of the whole axis, or over what would be symmetric about
        the centre where the longer side is cut too; 1 unless one-sided
    """

    reach: Reach
    part: float = 1.0

    @staticmethod
    def of(measured: Tensor, centre: int, *, gaps: bool = False) -> "Axis":
        """The axis of which some of n samples were measured in any frame, (n,) bool.

        With gaps, what is missing on both sides belongs to the pattern.
        """
        n, places = len(measured), measured.nonzero().flatten()
        first, last = int(places[0]), int(places[-1])
        slack = _slack(places.diff() - 1)

        if first <= slack and n - 1 - last <= slack:
            return Axis(Reach.WHOLE)

        before, after = centre - first, last - centre
        if abs(before - after) <= max(1.0, slack, UNEVEN * n):
            return Axis(Reach.WHOLE if gaps else Reach.SHORT)

        to_the_end = first == 0 if before > after else last == n - 1
        full = n if to_the_end else 2 * max(before, after) + 1
        return Axis(Reach.ONE_SIDED, (last - first + 1) / full)


def _slack(between: Tensor) -> int:
    """How much an end may lack by the pattern, from what is missing between measured samples."""
    gaps = between[between > 0]
    if not len(gaps):
        return 0
    alike = float((gaps == gaps.max()).double().mean())
    regular = len(gaps) >= MANY and alike >= REGULAR
    return (1 if regular else BY_CHANCE) * int(gaps.max())


@dataclass(frozen=True)
class Coverage:
    """What of the matrix was measured.

    Attributes
    ----------
    gaps : whether samples are missing between measured ones: k-space is aliased
    y, x : how far along phase encode and readout
    """

    gaps: bool
    y: Axis
    x: Axis

    @staticmethod
    def of(samples: Tensor, centre: tuple[int, int] | None = None) -> "Coverage":
        """The coverage of samples (frame|1, y, x|1) bool.

        Parameters
        ----------
        centre : (y, x) of k-space's centre; None for (y // 2, x // 2)
        """
        _, ny, nx = samples.shape
        cy, cx = (ny // 2, nx // 2) if centre is None else (centre[0], centre[1] if nx > 1 else 0)
        y, x = extent_of(samples)

        if y.stop == 0:
            return Coverage(True, Axis(Reach.WHOLE), Axis(Reach.WHOLE))

        any_frame = samples.any(0)
        gaps = not bool(samples[:, y, x].all())
        axes = (
            Axis.of(any_frame.any(1), cy, gaps=gaps),
            Axis.of(any_frame.any(0), cx, gaps=gaps),
        )

        least = (LEAST_PART - 1 / n for n in (ny, nx))
        too_little = any(axis.part < part for axis, part in zip(axes, least, strict=True))
        return Coverage(gaps or too_little, *axes)

    @property
    def edges(self) -> tuple[str, ...]:
        """What is missing at the edges of k-space, in words; nothing if all was reached."""
        words = []
        if self.y.reach is Reach.ONE_SIDED:
            words.append("partial Fourier")
        if Reach.SHORT in (self.y.reach, self.x.reach):
            words.append("low resolution")
        if self.x.reach is Reach.ONE_SIDED:
            words.append("asymmetric echo")
        return tuple(words)

    @property
    def one_sided(self) -> bool:
        """Whether one side is cut whose mirror was measured: k-space of real images is conjugate
        symmetric."""
        return Reach.ONE_SIDED in (self.y.reach, self.x.reach)

    @property
    def label(self) -> str:
        """In words, such as `partial Fourier` or `undersampled, asymmetric echo`."""
        words = (["undersampled"] if self.gaps else []) + list(self.edges)
        return ", ".join(words) or COMPLETE


def extent_of(samples: Tensor) -> Region:
    """The smallest block (y, x) that holds all True samples of all frames (frame, y, x)."""
    any_frame = samples.any(0)
    lines, columns = (any_frame.any(axis).nonzero().flatten() for axis in (1, 0))
    if not len(lines):
        return slice(0), slice(0)
    along_y = slice(int(lines[0]), int(lines[-1]) + 1)
    return along_y, slice(int(columns[0]), int(columns[-1]) + 1)


def symmetric_part(samples: Tensor, centre: tuple[int, int] | None = None) -> Region:
    """The part of the extent of samples (frame|1, y, x|1) that lies evenly around the centre."""
    _, ny, nx = samples.shape
    cy, cx = (ny // 2, nx // 2) if centre is None else centre
    y, x = extent_of(samples)
    return _even(y, cy, ny), slice(0, 1) if nx == 1 else _even(x, cx, nx)


def _even(part: slice, centre: int, n: int) -> slice:
    """The part of a range that is symmetric about the centre; the whole range if it is all n
    samples."""

    reach = max(0, min(centre - part.start, part.stop - 1 - centre))
    if part.start == 0 and part.stop == n:
        return part
    return slice(centre - reach, centre + reach + 1)
