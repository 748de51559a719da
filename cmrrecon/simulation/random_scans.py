"""Undersampled scans of random scenes, with varied sizes, coils, noise and masks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from cmrrecon.data import SamplingMask, Series
from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import fft2c, ifft2c
from cmrrecon.sampling.make import make_mask
from cmrrecon.simulation.random_materials import smooth_field
from cmrrecon.simulation.random_scenes import random_scene
from cmrrecon.simulation.shapes import generator, happens, uniform

Choice = TypeVar("Choice")
# The sizes of scans with line masks, and smaller sizes of scans with sample masks, whose columns
# cannot be reconstructed one by one. Fourier transforms of these sizes are fast.
FRAMES, SMALL_FRAMES, COILS = (3, 14), (3, 10), (4, 12)
ROWS, COLUMNS = (
    (112, 120, 128, 135, 144, 160, 168, 175, 180, 192, 200, 208),
    (96, 108, 120, 128, 144, 160, 180),
)
SMALL = (72, 75, 80, 84, 90, 96, 100, 105, 108, 120, 128, 135, 144)
# In scans with line masks the columns are independent, so only some are used: the target number of
# pixels in them, the smallest number of columns, and the fraction of the maximum above which a
# column is not empty.
PIXELS, FEWEST_COLUMNS, BRIGHT = 50_000, 24, 0.2
# Patterns with their probabilities; accelerations and numbers of calibration lines are drawn
# uniformly.
PATTERNS = {
    "uniform": 0.15,
    "kt-uniform": 0.1,
    "kt-gaussian": 0.25,
    "kt-radial": 0.4,
    "random": 0.1,
}
SAMPLE_PATTERNS = ("kt-radial",)
ACCELERATIONS, CALIBRATION = (2, 3, 4, 6, 8, 10, 12, 16, 20, 24), (8, 12, 16, 20, 24)
# The range of the signal-to-noise ratio in dB, and the probability of no noise. The probabilities
# of a single frame, of partial Fourier, of an asymmetric echo and of an oversampled readout.
NOISE_DB, NOISELESS = (18.0, 42.0), 0.05
SINGLE_FRAMES, PARTIAL, ASYMMETRIC, OVERSAMPLED = 0.08, 0.1, 0.2, 0.2
# The probability of a coil array; its largest number of loops, in total and per coil of the scan;
# the probabilities that other coils are mixed and that one coil is weak.
ARRAY, MOST_LOOPS, LOOPS_A_COIL, COLOURED, WEAK_COIL = 0.6, 32, 4, 0.5, 0.05


@dataclass(frozen=True)
class RandomScan:
    """A series and its ground truth.

    Attributes
    ----------
    series : Series
        The undersampled, noisy series.
    truth : Tensor of shape (frame, y, x), float32
        The noise-free root sum of squares.
    columns : slice
        The columns of x to reconstruct.
    kinds : tuple of str
        The special properties of the scene, followed by the pattern and the acceleration.
    """

    series: Series
    truth: Tensor
    columns: slice
    kinds: tuple[str, ...]


def random_scan(seed: int, number: int) -> RandomScan:
    """Draw scan `number` of a seed; these two numbers determine everything."""
    draw = generator(seed, "scan", number)
    pattern = _chosen(PATTERNS, draw)
    acceleration = _any_of(ACCELERATIONS, draw)
    small = pattern in SAMPLE_PATTERNS

    frames, y, x = _random_size(small, draw)
    scene = random_scene(seed, number, frames, y, x)
    images = scene.images
    if not small and happens(OVERSAMPLED, draw):
        images = pad(images, (x // 4, x // 4))

    mask = _random_mask(pattern, acceleration, images.shape, draw)
    sigma = _noise_level(images, draw)
    if happens(PARTIAL, draw):
        mask[:, : int(uniform(0.05, 0.2, draw) * y)] = False

    kspace, truth = _measured(images, sigma, draw)
    return RandomScan(
        Series(kspace * mask[:, None], SamplingMask.of(mask)),
        truth,
        slice(None) if small else _columns_of_interest(truth, draw),
        (*scene.kinds, f"{pattern} {acceleration}"),
    )


def _random_size(small: bool, draw: torch.Generator) -> tuple[int, int, int]:
    """Draw the numbers of frames, rows and columns; `small` is for scans with sample masks."""
    single = happens(SINGLE_FRAMES, draw)
    frames = 1 if single else _between(*(SMALL_FRAMES if small else FRAMES), draw)
    y, x = (_any_of(SMALL if small else sizes, draw) for sizes in (ROWS, COLUMNS))
    return frames, y, x


def _random_mask(
    pattern: str, acceleration: int, shape: Sequence[int], draw: torch.Generator
) -> Tensor:
    """Draw a mask for images (frame, y, x) with a random number of calibration lines."""
    frames, y, x = shape
    acs = min(_any_of(CALIBRATION, draw), y // 4)
    seed = int(torch.randint(2**31, (), generator=draw))
    return make_mask(
        pattern, frames=frames, y=y, x=x, acceleration=acceleration, acs=acs, seed=seed
    )


def _noise_level(images: Tensor, draw: torch.Generator) -> float:
    """Draw the standard deviation of the noise, which is zero for some scans."""
    if happens(NOISELESS, draw):
        return 0.0
    signal = float(images.abs().square().mean().sqrt())
    return signal * 10 ** (-uniform(*NOISE_DB, draw) / 20)


def _measured(images: Tensor, sigma: float, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return noisy k-space (frame, coil, y, x) of random coils, and the noise-free truth."""
    _, y, x = images.shape
    kspace = fft2c(images[:, None] * random_maps(_between(*COILS, draw), y, x, draw))

    truth = images.abs()
    if happens(ASYMMETRIC, draw):
        # Samples that scanners fill with zeros are zero in fully sampled scans too, and count as
        # measured.
        kspace[..., : int(uniform(0.05, 0.3, draw) * x / 2)] = 0
        truth = rss(ifft2c(kspace))

    noise = sigma * torch.randn(kspace.shape, dtype=kspace.dtype, generator=draw)
    return kspace + noise * (kspace != 0), truth


def _columns_of_interest(truth: Tensor, draw: torch.Generator) -> slice:
    """Choose columns around one that is not empty; there is nothing to learn outside the body."""
    frames, y, x = truth.shape
    width = min(x, max(FEWEST_COLUMNS, PIXELS // (frames * y)))

    lit = (truth.amax((0, 1)) > BRIGHT * truth.amax()).nonzero().flatten()
    middle = int(lit[_between(0, len(lit) - 1, draw)])
    first = min(max(0, middle - width // 2), x - width)
    return slice(first, first + width)


def random_maps(coils: int, y: int, x: int, draw: torch.Generator) -> Tensor:
    """Draw maps (coil, y, x) of unit RSS, of an array or of broad coils; few have a weak coil."""
    stacked = (
        _array(coils, y, x, draw)
        if happens(ARRAY, draw) and coils > 1
        else _broad_coils(coils, y, x, draw)
    )

    if coils > 1 and happens(WEAK_COIL, draw):
        stacked[_between(0, coils - 1, draw)] *= 1e-2
    return stacked / rss(stacked)


def _array(coils: int, y: int, x: int, draw: torch.Generator) -> Tensor:
    """Draw maps of small loops around the body, which see nearby tissue.

    They are compressed to their strongest `coils` combinations, as in scanners. Each loop receives
    like a magnetic dipole that points roughly towards the middle (Jackson, Classical
    Electrodynamics, section 5.6).
    """
    rows, columns = torch.linspace(-1, 1, y)[:, None], torch.linspace(-1, 1, x)[None]
    half, depth = (uniform(0.7, 1.3, draw), uniform(0.7, 1.3, draw)), uniform(0.1, 0.4, draw)
    number, loops = _between(coils, max(coils, min(MOST_LOOPS, LOOPS_A_COIL * coils)), draw), []

    for place in range(number):
        angle = 2 * math.pi * (place + uniform(-0.4, 0.4, draw)) / number
        dy, dx = rows - half[0] * math.sin(angle), columns - half[1] * math.cos(angle)
        squares = dy**2 + dx**2 + uniform(0, 0.3, draw) ** 2 + depth**2

        orientation = angle + uniform(-0.3, 0.3, draw)
        ny, nx = math.sin(orientation), math.cos(orientation)
        along = 3 * (dy * ny + dx * nx)
        field = torch.complex(along * dx - nx * squares, ny * squares - along * dy) / squares**2.5
        loops.append(field * torch.exp(torch.tensor(uniform(-math.pi, math.pi, draw) * 1j)))

    stacked = torch.stack(loops)
    stacked = stacked / rss(stacked)
    _, combinations = torch.linalg.eigh(torch.einsum("ayx,byx->ab", stacked.conj(), stacked))
    return torch.einsum("av,ayx->vyx", combinations[:, -coils:], stacked)


def _broad_coils(coils: int, y: int, x: int, draw: torch.Generator) -> Tensor:
    """Draw maps of Gaussian spots or large loops around the body.

    Half of them are mixed, as after whitening of correlated noise.
    """
    rows, columns = torch.linspace(-1, 1, y)[:, None], torch.linspace(-1, 1, x)[None]
    spots = happens(0.5, draw)
    maps = []

    for number in range(coils):
        angle = 2 * math.pi * (number + uniform(-0.3, 0.3, draw)) / coils
        if spots:
            centre = (
                uniform(0.4, 1.0, draw) * math.sin(angle),
                uniform(0.4, 1.0, draw) * math.cos(angle),
            )
            size = torch.exp(
                -(((rows - centre[0]) / uniform(0.35, 1.0, draw)) ** 2)
                - ((columns - centre[1]) / uniform(0.35, 1.0, draw)) ** 2
            )
        else:
            centre = (
                uniform(1.0, 1.6, draw) * math.sin(angle),
                uniform(0.7, 1.6, draw) * math.cos(angle),
            )
            size = (
                (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 + uniform(0.15, 0.5, draw)
            ) ** -1.5

        phase = (
            angle
            + uniform(-math.pi, math.pi, draw)
            + uniform(0, 1.0, draw) * smooth_field((y, x), 2, draw)
        )
        maps.append(torch.polar(size * uniform(0.3, 1, draw) + 1e-3, phase))

    stacked = torch.stack(maps)
    if happens(COLOURED, draw):
        mixing = torch.randn((coils, coils), dtype=torch.complex64, generator=draw)
        left, _, right = torch.linalg.svd(mixing)
        gains = torch.logspace(0, -uniform(0, 1, draw), coils).to(torch.complex64)
        stacked = torch.einsum("vc,cyx->vyx", left @ torch.diag(gains) @ right, stacked)
    return stacked


def _between(low: int, high: int, draw: torch.Generator) -> int:
    return int(torch.randint(low, high + 1, (), generator=draw))


def _chosen(shares: dict[Choice, float], draw: torch.Generator) -> Choice:
    return list(shares)[
        int(torch.multinomial(torch.tensor(list(shares.values())), 1, generator=draw))
    ]


def _any_of(choices: Sequence[Choice], draw: torch.Generator) -> Choice:
    return _chosen(dict.fromkeys(choices, 1.0), draw)
