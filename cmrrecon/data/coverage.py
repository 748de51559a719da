"""How much of the matrix a Cartesian scan covers: all, a contiguous part, or a part with gaps."""

from dataclasses import dataclass
from enum import Enum

from torch import Tensor

Region = tuple[slice, slice]
# Label of a scan that covers the whole matrix.
COMPLETE = "fully sampled"
# Partial Fourier and asymmetric echoes cover at least this fraction of an axis. Below it, too
# little of the centre of k-space is left to estimate the phase.
LEAST_PART = 5 / 8
# Sides whose lengths differ by up to this fraction of the axis count as equal.
UNEVEN = 0.01
# In a pattern with gaps, an end may by chance lack up to BY_CHANCE times the largest gap. In a
# regular pattern, it lacks at most one gap. A pattern is regular if it has at least MANY gaps and
# at least the fraction REGULAR of them are as large as the largest.
BY_CHANCE = 4
MANY, REGULAR = 6, 0.6


class Reach(Enum):
    """How much of an axis was measured."""

    WHOLE = "whole"
    ONE_SIDED = "cut on one side"
    SHORT = "short on both sides"


@dataclass(frozen=True)
class Axis:
    """How far the measured samples extend along one axis, ignoring gaps.

    Attributes
    ----------
    reach : Reach
        The whole axis, all but one side, or less on both sides.
    part : float
        Measured length divided by the length of the whole axis. If the longer side is cut too, the
        divisor is the length that would be symmetric about the centre. 1 unless one-sided.
    """

    reach: Reach
    part: float = 1.0

    @staticmethod
    def of(measured: Tensor, centre: int, *, gaps: bool = False) -> "Axis":
        """Return classify an axis from its measured samples.

        Parameters
        ----------
        measured : Tensor of shape (n,), bool
            Samples of the axis that were measured in any frame.
        centre : int
            Index of the centre of k-space.
        gaps : bool
            Whether the pattern has gaps. Samples missing on both sides then belong to the pattern.
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
    """Return how many samples an end may lack, given the gaps between measured samples."""
    gaps = between[between > 0]
    if not len(gaps):
        return 0
    largest_share = float((gaps == gaps.max()).double().mean())
    regular = len(gaps) >= MANY and largest_share >= REGULAR
    return (1 if regular else BY_CHANCE) * int(gaps.max())


@dataclass(frozen=True)
class Coverage:
    """How much of the matrix was measured.

    Attributes
    ----------
    gaps : bool
        Whether samples are missing between measured ones, so that k-space is aliased.
    y, x : Axis
        Extent along phase encode and readout.
    """

    gaps: bool
    y: Axis
    x: Axis

    @staticmethod
    def of(samples: Tensor, centre: tuple[int, int] | None = None) -> "Coverage":
        """Find the coverage of a mask.

        Parameters
        ----------
        samples : Tensor of shape (frame|1, y, x|1), bool
            Measured samples.
        centre : (int, int) or None
            Index (y, x) of the centre of k-space; None for (y // 2, x // 2).
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
        """What is missing at the edges of k-space, in words; empty if nothing is missing."""
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
        """Whether one side is cut but the opposite side was measured.

        Conjugate symmetry (k-space of real images) can then fill the missing side.
        """
        return Reach.ONE_SIDED in (self.y.reach, self.x.reach)

    @property
    def label(self) -> str:
        """The coverage in words, such as `partial Fourier` or `undersampled, asymmetric echo`."""
        words = (["undersampled"] if self.gaps else []) + list(self.edges)
        return ", ".join(words) or COMPLETE


def extent_of(samples: Tensor) -> Region:
    """Find the smallest block (y, x) that contains all samples (frame|1, y, x|1) of all frames."""
    any_frame = samples.any(0)
    lines, columns = (any_frame.any(axis).nonzero().flatten() for axis in (1, 0))
    if not len(lines):
        return slice(0), slice(0)
    along_y = slice(int(lines[0]), int(lines[-1]) + 1)
    return along_y, slice(int(columns[0]), int(columns[-1]) + 1)


def symmetric_part(samples: Tensor, centre: tuple[int, int] | None = None) -> Region:
    """Find the part of the extent of samples (frame|1, y, x|1) symmetric about the centre."""
    _, ny, nx = samples.shape
    cy, cx = (ny // 2, nx // 2) if centre is None else centre
    y, x = extent_of(samples)
    return _even(y, cy, ny), slice(0, 1) if nx == 1 else _even(x, cx, nx)


def _even(part: slice, centre: int, n: int) -> slice:
    """Return the part of a range symmetric about the centre, or the range if it covers all n."""
    reach = max(0, min(centre - part.start, part.stop - 1 - centre))
    if part.start == 0 and part.stop == n:
        return part
    return slice(centre - reach, centre + reach + 1)
