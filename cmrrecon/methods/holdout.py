"""Judging a reconstruction by measured samples that it was not given."""

import itertools
import math

import torch
from torch import Tensor

from cmrrecon.classical.coils import Coils
from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.classical.problem import LeastSquares
from cmrrecon.data import CartesianMask, LineMask, SampleMask, SamplingMask, Series
from cmrrecon.operators.fourier import ifftc
from cmrrecon.operators.noncartesian import NonCartesianEncoding
from cmrrecon.operators.sensitivity import Calibration

# The part that is hidden of what was measured outside the calibration region, and the fewest lines
# of a series.
SHARE = 0.1
FEWEST_LINES = 4
# Side of the patches that are hidden where no whole lines were measured.
PATCH = 3


def hide(series: Series) -> Tensor | None:
    """What of a series is hidden to be predicted; None if there is too little to hide.

    Of whole lines, and of spokes, some outside the calibration region: a tenth, and at least four in
    the series; of single samples those in square patches outside it. Every distance from the centre
    of k-space has its share (of spokes, which all pass the centre, every part of their order). What
    all frames measured alike is hidden in all of them: other frames must not give it away.

    Returns
    -------
    Tensor (frame|1, y, x|1) bool
    """
    mask = series.mask
    image_data = mask.chosen(mask.image_data)
    free = (image_data.over(series.frames) if mask.varies else image_data.samples).clone()

    if isinstance(mask, CartesianMask):
        y, x = Calibration.of(mask).always
        free[:, y, x] = False

    if isinstance(mask, SampleMask):
        return _hidden_patches(free)

    chosen = draw_share(free[..., 0], -(-FEWEST_LINES // (1 if mask.varies else series.frames)))
    return None if chosen is None else chosen[..., None]


def _hidden_patches(free: Tensor) -> Tensor | None:
    """A share of the square patches that hold free samples (frame|1, y, x)."""
    chosen = draw_share(_patches(free), FEWEST_LINES)
    if chosen is None:
        return None
    whole = chosen.repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2)
    return whole[:, : free.shape[1], : free.shape[2]] & free


def _patches(samples: Tensor) -> Tensor:
    """Which square patches hold any of (frame|1, y, x)."""
    return torch.nn.functional.max_pool2d(samples.float(), PATCH, ceil_mode=True) > 0


def draw_share(units: Tensor, fewest: int) -> Tensor | None:
    """A share of the True entries of (frame, ...), at least `fewest`, of all distances from the centre.

    None unless most stay.
    """
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
    picks = [
        int(torch.randint(first, end, (), generator=generator))
        for first, end in itertools.pairwise(edges)
    ]

    chosen = torch.zeros_like(units)
    chosen[tuple(ranked[picks].T)] = True
    return chosen


def count_hidden(hidden: SamplingMask, frames: int) -> int:
    """Lines, spokes or patches that are hidden in a series of so many frames."""
    samples = hidden.samples
    units = _patches(samples) if isinstance(hidden, SampleMask) else samples
    return int(units.sum()) * (frames // len(samples))


def describe_hidden(hidden: SamplingMask, frames: int) -> str:
    """What was hidden, in words."""
    patches = isinstance(hidden, SampleMask)
    return f"{count_hidden(hidden, frames)} {'patches of samples' if patches else hidden.UNIT}"


class HeldOut:
    """The squared error with which images predict hidden samples, over the energy of those samples.

    ||A_h x - y_h||^2 = <x, A_h^H A_h x> - 2 Re <x, A_h^H y_h> + ||y_h||^2: the hidden k-space is
    needed only once.

    Parameters
    ----------
    prepared : with the hidden samples
    hidden : which these are, (frame|1, y, x|1) bool, see `hide`
    coils : the maps and columns of the images

    Attributes
    ----------
    term : the least-squares term of the hidden samples
    noise : the error that true images would have, by the noise of the hidden samples; NaN where the
        noise is not known
    """

    def __init__(self, prepared: PreparedSeries, hidden: Tensor, coils: Coils) -> None:
        concealed = prepared.part(prepared.mask.chosen(hidden))
        self.term = LeastSquares.of(concealed, coils)
        self.energy = measured_energy(concealed, self.term)
        self.noise = noise_energy(concealed, self.term) / self.energy

    def __call__(self, x: Tensor) -> float:
        """The error of images (frame, y, x'): 0 predicts all, 1 as much as an empty image does."""
        return 1 - float(self.term.explained(x).double().sum()) / self.energy


def noise_energy(prepared: PreparedSeries, term: LeastSquares) -> float:
    """What `measured_energy` would be if the samples held noise alone; NaN where it is not known."""
    mask, kspace, power = prepared.mask, prepared.kspace, prepared.noise_power
    if power is None:
        return math.nan

    samples = int(mask.samples.sum()) * (len(kspace) // len(mask.samples))
    if not isinstance(mask, LineMask):
        return float(power.sum()) * samples

    # Zero-filled parts of the readout bring no noise.
    lines = kspace.transpose(1, 2)[mask.over(len(kspace))[..., 0]]
    filled = (lines != 0).double().mean((0, 2))
    return float((power * filled).sum()) * samples * term.rhs.shape[2]


def measured_energy(prepared: PreparedSeries, term: LeastSquares) -> float:
    """Sum of squared magnitudes of the measured, normalised samples, weighted as in the term.

    Of whole lines only what comes from the columns of the term counts. Never zero, so that it
    can be divided by.
    """
    mask = prepared.mask
    total = torch.finfo(torch.float32).tiny
    averaged = prepared.weights

    for t, frame in enumerate(prepared.kspace):
        measured = mask.frame(t)
        if not bool(measured.any()):
            continue

        root = None if averaged is None else averaged[t % len(averaged)].sqrt()

        if isinstance(mask, LineMask):
            lines = measured[:, 0]
            samples = ifftc(frame[:, lines], -1)[..., term.columns]
            samples = samples if root is None else samples * root[lines]
        elif isinstance(term.A, NonCartesianEncoding):
            samples = frame[:, measured[:, 0]]
            if (weights := term.A.weights) is not None:
                samples = samples * weights[t % len(weights)][measured[:, 0]].sqrt()
        else:
            samples = frame * (measured if root is None else measured * root)

        total += float((samples / prepared.scale).abs().square().double().sum())

    return total
