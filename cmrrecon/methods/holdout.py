"""Hold out measured samples, and judge a reconstruction by how well it predicts them."""

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

# Fraction of the measured samples outside the calibration region to hold out, and the minimum
# number of lines in a series.
SHARE = 0.1
FEWEST_LINES = 4
# Side of the square patches to hold out if no whole lines were measured.
PATCH = 3


def hide(series: Series) -> Tensor | None:
    """Choose hold-out samples of a series; None if too little was measured.

    A tenth of the lines or spokes outside the calibration region is held out, and at least four in
    a series. For masks of single samples, these are square patches instead. The samples are drawn
    evenly over all distances from the centre of k-space; spokes, which all pass the centre, are
    drawn evenly over their order. If all frames measured the same samples, they are held out in all
    frames, so that other frames do not reveal them.

    Returns
    -------
    Tensor of shape (frame or 1, y, x or 1), bool, or None
        The hold-out samples.
    """
    mask = series.mask
    image_data = mask.chosen(mask.image_data)
    free = (image_data.over(series.frames) if mask.varies else image_data.samples).clone()

    if isinstance(mask, CartesianMask):
        y, x = Calibration.of(mask).always
        free[:, y, x] = False

    if isinstance(mask, SampleMask):
        return _draw_patches(free)

    chosen = draw_share(free[..., 0], -(-FEWEST_LINES // (1 if mask.varies else series.frames)))
    return None if chosen is None else chosen[..., None]


def _draw_patches(free: Tensor) -> Tensor | None:
    """Choose a share of the square patches that contain free samples (frame or 1, y, x)."""
    chosen = draw_share(_patches(free), FEWEST_LINES)
    if chosen is None:
        return None
    whole = chosen.repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2)
    return whole[:, : free.shape[1], : free.shape[2]] & free


def _patches(samples: Tensor) -> Tensor:
    """Find the square patches that contain any of the samples (frame or 1, y, x)."""
    return torch.nn.functional.max_pool2d(samples.float(), PATCH, ceil_mode=True) > 0


def draw_share(units: Tensor, fewest: int) -> Tensor | None:
    """Draw a share of the True entries of (frame, ...), at all distances from the centre.

    At least `fewest` entries are drawn. The result is None unless at least half of them remain.
    """
    places = units.nonzero()
    count = max(fewest, round(SHARE * len(places)))
    if len(places) < 2 * count:
        return None

    centre = torch.tensor([n // 2 for n in units.shape[1:]], device=units.device)
    generator = torch.Generator().manual_seed(0)
    shuffled = places[torch.randperm(len(places), generator=generator).to(units.device)]
    ranked = shuffled[(shuffled[:, 1:] - centre).square().sum(1).argsort(stable=True)]

    # Draw one entry from each range of distances.
    edges = [round(i * len(places) / count) for i in range(count + 1)]
    picks = [
        int(torch.randint(first, end, (), generator=generator))
        for first, end in itertools.pairwise(edges)
    ]

    chosen = torch.zeros_like(units)
    chosen[tuple(ranked[picks].T)] = True
    return chosen


def count_hidden(hidden: SamplingMask, frames: int) -> int:
    """Count the lines, spokes or patches held out in a series of `frames` frames."""
    samples = hidden.samples
    units = _patches(samples) if isinstance(hidden, SampleMask) else samples
    return int(units.sum()) * (frames // len(samples))


def describe_hidden(hidden: SamplingMask, frames: int) -> str:
    """Describe the hold-out samples in words."""
    patches = isinstance(hidden, SampleMask)
    return f"{count_hidden(hidden, frames)} {'patches of samples' if patches else hidden.UNIT}"


class HeldOut:
    """Squared error of images at hold-out samples, relative to the energy of these samples.

    The hold-out k-space y_h is needed only once, because::

        ||A_h x - y_h||^2 = <x, A_h^H A_h x> - 2 Re <x, A_h^H y_h> + ||y_h||^2

    Parameters
    ----------
    prepared : PreparedSeries
        The series, including the hold-out samples.
    hidden : Tensor of shape (frame or 1, y, x or 1), bool
        The hold-out samples, see `hide`.
    coils : Coils
        The maps and columns of the images.

    Attributes
    ----------
    term : LeastSquares
        Least-squares term of the hold-out samples.
    energy : float
        Energy of the hold-out samples.
    noise : float
        The error that true images would have because the hold-out samples are noisy; NaN if the
        noise is unknown.
    """

    def __init__(self, prepared: PreparedSeries, hidden: Tensor, coils: Coils) -> None:
        part = prepared.part(prepared.mask.chosen(hidden))
        self.term = LeastSquares.of(part, coils)
        self.energy = measured_energy(part, self.term)
        self.noise = noise_energy(part, self.term) / self.energy

    def __call__(self, x: Tensor) -> float:
        """Return the error of images (frame, y, x'): 0 for perfect ones, 1 for an empty image."""
        return 1 - float(self.term.explained(x).double().sum()) / self.energy


def noise_energy(prepared: PreparedSeries, term: LeastSquares) -> float:
    """Compute the `measured_energy` of samples with only noise; NaN if the noise is unknown."""
    mask, kspace, power = prepared.mask, prepared.kspace, prepared.noise_power
    if power is None:
        return math.nan

    samples = int(mask.samples.sum()) * (len(kspace) // len(mask.samples))
    if not isinstance(mask, LineMask):
        return float(power.sum()) * samples

    # Zero-filled parts of the readout add no noise.
    lines = kspace.transpose(1, 2)[mask.over(len(kspace))[..., 0]]
    filled = (lines != 0).double().mean((0, 2))
    return float((power * filled).sum()) * samples * term.rhs.shape[2]


def measured_energy(prepared: PreparedSeries, term: LeastSquares) -> float:
    """Sum the squared magnitudes of measured, normalised samples, weighted as in the term.

    For whole lines, only the signal from the columns of the term counts. The result is never zero,
    so it can be used as a divisor.
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
