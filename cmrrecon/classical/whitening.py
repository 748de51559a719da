"""Mix the coils of a series so that their noise is white, and map images back."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cmrrecon.data import CartesianMask, Noise, Series
from cmrrecon.operators.coils import apply_matrix
from cmrrecon.operators.noise import (
    noise_covariance,
    noise_level,
    noise_samples,
    whitening_matrix,
)
from cmrrecon.tools.errors import InputError

# Without a noise scan, coils are whitened if their noise differs by this factor or is correlated by
# this much. Simulated scans of equal coils reach 1.1 and 0.1, a measured heart 1.8 and 0.5.
UNEQUAL, CORRELATED = 2.5, 0.6
# Noise samples must look like noise. For complex Gaussian noise the ratio of the root mean square
# to the level from the median is 1; where signal reaches the ends of the readout it is larger.
NOISE_LIKE = 1.1
# Samples per coil; fewer give correlations by chance.
FEWEST_SAMPLES = 20


@dataclass(frozen=True, eq=False)
class Whitening:
    """A mixing of coils after which their noise is uncorrelated and of equal power.

    The power is the geometric mean over the coils, so that k-space keeps its scale.

    Attributes
    ----------
    matrix : Tensor of shape (white coil, coil), complex64
        The mixing. Coils without noise, which hold no data, are left out.
    inverse : Tensor of shape (coil, white coil), complex64
        The inverse mixing.
    power : float
        `E|n|^2` of a sample of each white coil.
    words : str
        How the noise is known, for the user.
    """

    matrix: Tensor
    inverse: Tensor
    power: float
    words: str

    @staticmethod
    def of(series: Series, wanted: bool | None = None) -> "Whitening | None":
        """The whitening of a series; None if there is no reason to whiten.

        Parameters
        ----------
        series : Series
            The series.
        wanted : bool or None
            True for always, False for never. None whitens with a noise scan, and without one if the
            noise of the coils is clearly unequal or correlated.

        Returns
        -------
        Whitening or None
            The mixing.

        Raises
        ------
        InputError
            If whitening is wanted but not possible (`noise-not-measurable`, `noise-covariance`).
        """
        if wanted is False or series.kspace.shape[1] == 1:
            return None
        if series.noise is not None:
            return _measured(series, series.noise, bool(wanted))
        if wanted:
            samples = noise_samples(series.kspace, _lines(series))
            return _estimated(samples, strict=True)
        return _clearly_needed(series)

    def series(self, series: Series) -> Series:
        """The whitened series.

        Supplied maps are whitened too, and scaled to unit root-sum-of-squares.
        """
        coils = len(self.matrix)
        unit = torch.eye(coils, dtype=torch.complex64)
        samples = 0 if series.noise is None else series.noise.samples
        maps, calibration = series.maps, series.calibration

        return replace(
            series,
            kspace=apply_matrix(self.matrix, series.kspace),
            noise=Noise(unit * self.power, samples),
            maps=None if maps is None else mixed(self.matrix, maps),
            calibration=None if calibration is None else mixed(self.matrix, calibration),
        )


def mixed(matrix: Tensor, coils: Tensor) -> Tensor:
    """Mix the coils (coil, ...) with a matrix (new coil, coil)."""
    out: Tensor = torch.tensordot(matrix, coils, 1)
    return out


def _estimated(samples: Tensor, *, strict: bool = False) -> Whitening | None:
    """The whitening from noise samples (coil, n) of the data, see `_steady`."""
    words = "estimated from the data"
    return _steady(noise_covariance(samples), samples.shape[1], words, strict=strict)


def _measured(series: Series, noise: Noise, wanted: bool) -> Whitening | None:
    """The whitening from a noise scan.

    A singular covariance is refused if whitening is wanted; otherwise only the levels of the coils
    are used.
    """
    words = f"measured with {noise.samples} noise samples"
    covariance = noise.covariance.to(series.kspace.device)
    return _steady(covariance, noise.samples, words, strict=wanted)


def _steady(
    covariance: Tensor, samples: int, words: str, *, strict: bool = False
) -> Whitening | None:
    """The whitening from a covariance without its chance correlations.

    A singular covariance is refused if `strict`; otherwise only its diagonal is used.
    """
    try:
        _from(covariance, words)
    except InputError:
        if strict:
            raise
        covariance = torch.diag(covariance.diagonal())
        words = f"{words}, levels only, because the coils are not independent"

    try:
        return _from(without_chance(covariance, samples), words)
    except InputError:
        return None


def without_chance(covariance: Tensor, samples: int) -> Tensor:
    """Remove from a noise covariance (coil, coil) the correlations that few samples give by chance.

    All correlations shrink by the fraction of their energy that independent coils would have: 1 /
    samples for each.

    Parameters
    ----------
    covariance : Tensor of shape (coil, coil), complex
        Noise covariance.
    samples : int
        Number of noise samples it was estimated from.

    Returns
    -------
    Tensor of shape (coil, coil), complex
        The shrunk covariance.

    References
    ----------
    Schaefer and Strimmer, Stat Appl Genet Mol Biol 2005;4:32.
    """
    level = covariance.diagonal().real.clamp(min=0).sqrt()
    live = level > 0
    unit = covariance[live][:, live] / level[live, None] / level[live]

    coils = len(unit)
    energy = float(unit.abs().square().sum()) - coils
    chance = coils * (coils - 1) / max(1, samples)

    kept = 1 - chance / energy if energy > chance else 0.0
    return covariance * kept + torch.diag(covariance.diagonal()) * (1 - kept)


def _from(covariance: Tensor, words: str) -> Whitening:
    live = covariance.diagonal().real > 0
    if not bool(live.any()):
        raise InputError(
            "noise-covariance",
            "The noise of all coils is zero",
            "Whitening needs noise in at least one coil",
            "Leave out --whiten, or give a file with noise readouts",
        )

    power = covariance.diagonal().real[live].double().log().mean().exp()
    matrix, inverse = whitening_matrix(covariance[live][:, live])
    scale = float(power.sqrt())

    whole = matrix.new_zeros((len(matrix), len(live)))
    whole[:, live] = matrix * scale
    back = matrix.new_zeros((len(live), len(matrix)))
    back[live] = inverse / scale

    level = covariance.diagonal().real[live].sqrt()
    factor = float(level.max() / level.min())
    return Whitening(
        whole, back, float(power), f"{words}, coils differ by a factor of {factor:.3g}"
    )


def _lines(series: Series) -> CartesianMask:
    """The mask of a series of lines, which may have asymmetric echoes; refuses other masks."""
    if not isinstance(series.mask, CartesianMask) or series.mask.echo is None:
        raise InputError(
            "noise-not-measurable",
            "The noise of single samples and trajectories cannot be estimated",
            "Whitening needs a noise scan, or whole lines",
            "Leave out --whiten, or give a file with noise readouts",
        )
    return series.mask


def _clearly_needed(series: Series) -> Whitening | None:
    """The whitening from the ends of the readout, if their noise clearly calls for it."""
    try:
        samples = noise_samples(series.kspace, _lines(series))
    except InputError:
        return None

    level = noise_level(samples)
    live = level > 0
    if samples.shape[1] < FEWEST_SAMPLES * len(samples) or int(live.sum()) < 2:
        return None

    excess = samples[live].abs().square().mean(1).sqrt() / level[live]
    if float(excess.max()) > NOISE_LIKE:
        return None

    covariance = noise_covariance(samples)
    unit = covariance[live][:, live] / (level[live, None] * level[live])
    correlation = float((unit - torch.diag(unit.diagonal())).abs().max())
    if float(level[live].max() / level[live].min()) < UNEQUAL and correlation < CORRELATED:
        return None

    return _estimated(samples)
