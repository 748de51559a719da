"""The official k-t Gaussian pattern, and the search for the seed of a released mask."""

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
    """Draw `round(y / R)` lines for each frame, denser towards the centre.

    Lines are drawn with replacement from the density
    `0.1 + alpha / (1 - alpha) exp(-p^2 / sigma^2)`, where `sigma = y / 5` and p is the distance
    from the centre line `y // 2`. A line that is drawn again is moved to the nearest free line.

    Parameters
    ----------
    plan : Plan
        Sizes, acceleration and seed.

    Returns
    -------
    Tensor of shape (frame, y, 1), bool
        The mask without calibration lines.

    Notes
    -----
    This reproduces the masks of the official programs ktGaussianSampling, randp and ktdup of 2024
    and 2025 bit for bit. They use seeds 1 to 1000.
    """
    uniforms = Uniforms()
    edges = _cumulative_density(plan.y)
    count = round_half_up(plan.y / plan.acceleration)
    seeds = uniforms.frame_seeds(plan.seed, plan.frames)
    mask = np.stack(
        [_without_repeats(_lines_of(uniforms.draw(seed, count), edges), plan.y) for seed in seeds]
    )
    return torch.from_numpy(mask)[:, :, None]


def identify_seed(
    mask: Tensor, *, acceleration: float | None = None, acs: int | None = None
) -> int | None:
    """Find the seed from 1 to 1000 with which the official program draws this mask.

    Released masks do not include their seed.

    Parameters
    ----------
    mask : Tensor of shape (frame, y, x|1), bool
        A k-t Gaussian mask.
    acceleration : float or None
        The nominal R. None tries the official ones from 4 to 24.
    acs : int or None
        The number of calibration lines. None uses the largest centred block that all frames share.

    Returns
    -------
    int or None
        The smallest seed that fits. None if no seed fits, or if there are no lines outside the
        calibration. Masks of about 25 lines have so few lines outside it that several seeds fit.

    Raises
    ------
    UsageError
        If the mask does not have three axes (`mask-shape`), or if the acceleration or ACS do not
        fit it (`option-value`).
    """
    _check_identifiable(mask, acceleration, acs)
    if not bool((mask == mask[..., :1]).all()):
        return None
    lines = mask[..., 0].cpu().numpy()
    y = lines.shape[1]

    # Lines next to the calibration that happen to be drawn in all frames enlarge the block. This is
    # harmless, because only lines outside the block are compared.
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
            "The acceleration must be at least 1, the ACS at most the number of lines",
            "Give the original values, or leave them out",
        )


class Uniforms:
    """Uniform random numbers as MATLAB draws them after rng(seed).

    MATLAB uses the same Mersenne twister as NumPy's frozen generator. Seed 0 means 5489.
    """

    def __init__(self) -> None:
        # Seeding a generator again is much faster than making one, and `identify_seed` tries 1000.
        self._generator = np.random.RandomState(0)

    def draw(self, seed: int, count: int) -> np.ndarray:
        """Draw `count` numbers in [0, 1), float64."""
        self._generator.seed(seed or 5489)
        numbers: np.ndarray = self._generator.random_sample(count)
        return numbers

    def frame_seeds(self, seed: int, frames: int) -> list[int]:
        """Return the official seed of each frame: a uniform number times a million, rounded."""
        return [round_half_up(1e6 * u) for u in self.draw(seed, frames)]


def _is_drawn_with(
    seed: int,
    count: int,
    lines: np.ndarray,
    outside: np.ndarray,
    edges: np.ndarray,
    uniforms: Uniforms,
) -> bool:
    """Return whether `seed` draws the lines (frame, y) outside the calibration."""
    for frame, frame_seed in zip(lines, uniforms.frame_seeds(seed, len(lines)), strict=True):
        drawn = _lines_of(uniforms.draw(frame_seed, count), edges)
        # Moving repeated draws is slow but never removes a drawn line, so most seeds are ruled out
        # without it.
        if not frame[drawn].all() or not np.array_equal(
            _without_repeats(drawn, len(frame))[outside], frame[outside]
        ):
            return False
    return True


def _cumulative_density(y: int) -> np.ndarray:
    """Return the cumulative density of the lines: shape (y,), float64, ending at 1."""
    distance = np.arange(y) - y // 2
    density = 0.1 + ALPHA / (1 - ALPHA + 1e-10) * np.exp(-(distance**2) / (y / 5) ** 2)
    cumulative = np.cumsum(density)
    edges: np.ndarray = cumulative / cumulative[-1]
    return edges


def _lines_of(uniform_numbers: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the line for each uniform number, by inverting the cumulative density."""
    return np.searchsorted(edges, uniform_numbers, side="right")


def _without_repeats(drawn: np.ndarray, y: int) -> np.ndarray:
    """Move each repeated draw, from line 0 on, to the nearest free line (of two, the lower)."""
    counts = np.bincount(drawn, minlength=y)
    sampled = counts > 0
    for line in np.repeat(np.arange(y), np.maximum(counts - 1, 0)):
        free = np.flatnonzero(~sampled)
        sampled[free[np.argmin(np.abs(free - line))]] = True
    return sampled
