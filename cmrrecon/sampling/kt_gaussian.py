"""The official k-t Gaussian pattern, and finding the seed that a released mask was drawn with."""

import numpy as np
import torch
from torch import Tensor

from cmrrecon.data import SamplingMask
from cmrrecon.operators.fourier import centred
from cmrrecon.operators.sensitivity import calibration_region
from cmrrecon.sampling.plan import Plan, round_half_up
from cmrrecon.tools.errors import UsageError

ALPHA = 0.2
OFFICIAL_ACCELERATIONS = (4, 8, 12, 16, 20, 24)
OFFICIAL_SEEDS = range(1, 1001)


def kt_gaussian(plan: Plan) -> Tensor:
    """round(y / R) lines a frame, denser towards the centre, other ones in each frame: (frame, y, 1), without calibration lines.

    Lines are drawn with replacement from the density 0.1 + alpha / (1 - alpha) exp(-p^2 / sigma^2), sigma = y / 5, p the distance
    from the centre line y // 2; a line drawn twice is moved to the nearest free one. Source: official ktGaussianSampling, randp and
    ktdup of 2024 and 2025, whose masks this reproduces bit for bit (they use seeds 1 to 1000).
    """
    uniforms = Uniforms()
    edges = _cumulative_density(plan.y)
    count = round_half_up(plan.y / plan.acceleration)
    seeds = uniforms.frame_seeds(plan.seed, plan.frames)
    mask = np.stack(
        [_spread(_lines_of(uniforms.draw(seed, count), edges), plan.y) for seed in seeds]
    )
    return torch.from_numpy(mask)[:, :, None]


def identify_seed(
    mask: Tensor, *, acceleration: float | None = None, acs: int | None = None
) -> int | None:
    """The seed from 1 to 1000 with which the official program draws this k-t Gaussian mask; released masks do not tell it.

    Parameters
    ----------
    mask : Tensor (frame, y, x|1) bool
    acceleration : nominal R; without it the official ones from 4 to 24 are tried
    acs : calibration lines; without it the largest centred block that all frames have

    Returns
    -------
    The smallest seed that fits. None if none does, or if the calibration lines hide all the others. Masks of some 25 lines
    leave so few of them outside the calibration that several seeds fit.

    Raises
    ------
    UsageError : the mask has not three axes, or acceleration or ACS do not fit it
    """
    _check_identifiable(mask, acceleration, acs)
    if not bool((mask == mask[..., :1]).all()):
        return None
    lines = mask[..., 0].cpu().numpy()
    y = lines.shape[1]

    # Lines beside the calibration that are drawn in all frames only enlarge the block, and the draws are compared outside of it.
    block = calibration_region(SamplingMask.of(mask), most=y)[0] if acs is None else centred(y, acs)
    outside = np.ones(y, dtype=bool)
    outside[block] = False

    if not lines[:, block].all() or not lines[:, outside].any():
        return None
    edges = _cumulative_density(y)
    uniforms = Uniforms()

    for candidate in OFFICIAL_ACCELERATIONS if acceleration is None else (acceleration,):
        count = round_half_up(y / candidate)
        for seed in OFFICIAL_SEEDS:
            if _is_drawn_with(seed, count, lines, outside, edges, uniforms):
                return seed

    return None


def _check_identifiable(mask: Tensor, acceleration: float | None, acs: int | None) -> None:
    if mask.ndim != 3:
        raise UsageError(
            "mask-shape",
            f"The mask has shape {tuple(mask.shape)}",
            "A mask (frame, y, x or 1) is needed",
            "Give the mask of one file",
        )

    if not 0 <= (acs or 0) <= mask.shape[1] or (acceleration is not None and not acceleration >= 1):
        raise UsageError(
            "option-value",
            f"The acceleration is {acceleration}, the ACS {acs} lines of {mask.shape[1]}",
            "The acceleration must be at least 1, the ACS lines as many as there are at most",
            "Give both as they were, or leave them out",
        )


class Uniforms:
    """Uniform numbers as MATLAB draws them after rng(seed): its Mersenne twister is NumPy's frozen one, and seed 0 means 5489."""

    def __init__(self) -> None:
        # Seeding one generator again is much faster than making another, which matters when 1000 seeds are tried.
        self._generator = np.random.RandomState(0)

    def draw(self, seed: int, count: int) -> np.ndarray:
        """`count` numbers in [0, 1): float64."""
        self._generator.seed(seed or 5489)
        numbers: np.ndarray = self._generator.random_sample(count)
        return numbers

    def frame_seeds(self, seed: int, frames: int) -> list[int]:
        """The official seed of each frame: a uniform number times a million, rounded."""
        return [round_half_up(1e6 * u) for u in self.draw(seed, frames)]


def _is_drawn_with(
    seed: int,
    count: int,
    lines: np.ndarray,
    outside: np.ndarray,
    edges: np.ndarray,
    uniforms: Uniforms,
) -> bool:
    """Whether `seed` draws the lines (frame, y) that are not calibration; given up at the first frame that differs."""
    for frame, frame_seed in zip(lines, uniforms.frame_seeds(seed, len(lines)), strict=True):
        drawn = _lines_of(uniforms.draw(frame_seed, count), edges)
        # Moving the repeated draws is slow and never gives up a drawn line: most seeds fall before it.
        if not frame[drawn].all() or not np.array_equal(
            _spread(drawn, len(frame))[outside], frame[outside]
        ):
            return False
    return True


def _cumulative_density(y: int) -> np.ndarray:
    """Upper ends of the shares that the lines have of [0, 1]: (y) float64."""
    distance = np.arange(y) - y // 2
    density = 0.1 + ALPHA / (1 - ALPHA + 1e-10) * np.exp(-(distance**2) / (y / 5) ** 2)
    cumulative = np.cumsum(density)
    edges: np.ndarray = cumulative / cumulative[-1]
    return edges


def _lines_of(uniform_numbers: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The line in whose share each number falls."""
    return np.searchsorted(edges, uniform_numbers, side="right")


def _spread(drawn: np.ndarray, y: int) -> np.ndarray:
    """Which of y lines are taken once each repeated draw, from line 0 on, has moved to the nearest free line (of two, the lower)."""
    counts = np.bincount(drawn, minlength=y)
    taken = counts > 0
    for line in np.repeat(np.arange(y), np.maximum(counts - 1, 0)):
        free = np.flatnonzero(~taken)
        taken[free[np.argmin(np.abs(free - line))]] = True
    return taken
