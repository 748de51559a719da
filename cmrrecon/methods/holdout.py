"""Judging a reconstruction by measured samples that it was not given."""

import itertools
import math
from dataclasses import replace

import torch
from torch import Tensor

from cmrrecon.classical.problem import Coils, Problem
from cmrrecon.data.scan import Series
from cmrrecon.operators.coils import noise_level
from cmrrecon.operators.fourier import ifftc
from cmrrecon.operators.noncartesian import NonCartesianEncoding
from cmrrecon.operators.sensitivity import calibration_region
from cmrrecon.solvers import frame_dot
from cmrrecon.tools.errors import InputError

# The part that is hidden of what was measured outside the calibration region, and the fewest lines of a series.
SHARE = 0.1
FEWEST_LINES = 4
# Side of the patches that are hidden where no whole lines were measured.
PATCH = 3


def hide(series: Series) -> Tensor | None:
    """What of a series' mask is hidden to be predicted, (frame|1, y, x|1) bool; None if there is too little to hide.

    Of line masks (and of spokes) whole lines outside the calibration region, a tenth and at least four in the series; of masks that
    change along the readout the samples in square patches outside it. Every distance from the centre of k-space has its
    share (of spokes, which all pass the centre, every part of their order). What all frames measured alike is hidden in all of
    them: other frames must not give it away.
    """
    mask = series.mask
    frames = len(series.kspace)
    moving = len(mask) > 1 or (series.trajectory is not None and len(series.trajectory) > 1)
    if moving:
        mask = mask.expand(frames, -1, -1)
    free = mask.clone()
    if series.trajectory is None:
        y, x = calibration_region(series.mask)
        free[:, y, x] = False
    if free.shape[2] == 1:
        chosen = spread(free[..., 0], -(-FEWEST_LINES // (1 if moving else frames)))
        return None if chosen is None else chosen[..., None]
    tiles = torch.nn.functional.max_pool2d(free.float(), PATCH, ceil_mode=True) > 0
    chosen = spread(tiles, FEWEST_LINES)
    if chosen is None:
        return None
    patches = chosen.repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2)[:, : free.shape[1], : free.shape[2]]
    return patches & free


def spread(units: Tensor, fewest: int) -> Tensor | None:
    """A share of the True entries of (frame, ...), at least `fewest`, of all distances from the centre; None unless most stay."""
    places = units.nonzero()
    count = max(fewest, round(SHARE * len(places)))
    if len(places) < 2 * count:
        return None
    centre = torch.tensor([n // 2 for n in units.shape[1:]], device=units.device)
    generator = torch.Generator().manual_seed(0)
    shuffled = places[torch.randperm(len(places), generator=generator).to(units.device)]
    ranked = shuffled[(shuffled[:, 1:] - centre).square().sum(1).argsort(stable=True)]
    # One of each class of distance.
    edges = [round(i * len(places) / count) for i in range(count + 1)]
    picks = [int(torch.randint(first, end, (), generator=generator)) for first, end in itertools.pairwise(edges)]
    chosen = torch.zeros_like(units)
    chosen[tuple(ranked[picks].T)] = True
    return chosen


def count_hidden(hidden: Tensor, frames: int) -> int:
    """Lines, or patches, that are hidden in a series of so many frames."""
    units = hidden if hidden.shape[2] == 1 else torch.nn.functional.max_pool2d(hidden.float(), PATCH, ceil_mode=True)
    return int(units.sum()) * (frames // len(hidden))


class HeldOut:
    """The squared error with which images predict hidden samples, over the energy of those samples.

    ||A_h x - y_h||^2 = <x, A_h^H A_h x> - 2 Re <x, A_h^H y_h> + ||y_h||^2: the hidden k-space is needed only once.

    Parameters
    ----------
    series, scale : with the hidden samples, and what the images were divided by
    hidden : see `hide`
    coils : the maps and columns of the images

    Attributes
    ----------
    noise : the error that true images would have, by the noise of the hidden samples; NaN where the noise cannot be estimated
    """

    def __init__(self, series: Series, scale: float, hidden: Tensor, coils: Coils) -> None:
        concealed = replace(series, mask=hidden)
        self.problem = Problem.of(concealed, coils, scale)
        self.energy = measured_energy(concealed, self.problem, scale)
        self.noise = noise_energy(series, hidden, self.problem, scale) / self.energy

    def __call__(self, x: Tensor) -> float:
        """The error of images (frame, y, x'): 0 predicts all, 1 as much as an empty image does."""
        explained = frame_dot(x, 2 * self.problem.rhs - self.problem.A.N(x)).double().sum()
        return 1 - float(explained) / self.energy


def noise_energy(series: Series, chosen: Tensor, problem: Problem, scale: float) -> float:
    """What `measured_energy` of the samples chosen by a mask would be if they held noise alone; NaN where it cannot be estimated."""
    if series.trajectory is not None:
        return math.nan
    try:
        power = noise_level(series.kspace, series.mask).double().square() / scale**2
    except InputError:
        return math.nan
    samples = int(chosen.sum()) * (len(series.kspace) // len(chosen))
    if chosen.shape[2] > 1:
        return float(power.sum()) * samples
    # Zero-filled parts of the readout bring no noise.
    lines = series.kspace.transpose(1, 2)[chosen[..., 0].expand(len(series.kspace), -1)]
    filled = (lines != 0).double().mean((0, 2))
    return float((power * filled).sum()) * samples * problem.rhs.shape[2]


def measured_energy(series: Series, problem: Problem, scale: float) -> float:
    """Sum of squared magnitudes of the measured samples of a series divided by `scale`, weighted as in the problem.

    Of whole lines only what comes from its columns of x counts. At least a trifle, so that it can be divided by.
    """
    total = torch.finfo(torch.float32).tiny
    weights = problem.A.weights if isinstance(problem.A, NonCartesianEncoding) else None
    for t, frame in enumerate(series.kspace):
        mask = series.mask[t % len(series.mask)]
        if not bool(mask.any()):
            continue
        samples = frame[:, mask[:, 0]] if mask.shape[1] == 1 else frame * mask
        if weights is not None:
            samples = samples * weights[t % len(weights)][mask[:, 0]].sqrt()
        elif mask.shape[1] == 1:
            samples = ifftc(samples, -1)[..., problem.columns]
        total += float((samples / scale).abs().square().double().sum())
    return total
