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

# Without a noise scan, coils are whitened if the ratio of their noise levels, or the correlation of
# their noise, is at least this large. Simulated scans with equal coils reach 1.1 and 0.1, and a
# measured scan of a heart 1.8 and 0.5.
UNEQUAL, CORRELATED = 2.5, 0.6
# Noise samples must look like noise. For complex Gaussian noise, the ratio of the root mean square
# to the level from the median is 1; it is larger if signal reaches the ends of the readout.
NOISE_LIKE = 1.1
# Minimum number of samples per coil; with fewer, chance correlations are too large.
FEWEST_SAMPLES = 20


@dataclass(frozen=True, eq=False)
class Whitening:
    """A linear mixing of coils, after which their noise is uncorrelated and has equal power.

    This power is the geometric mean over the coils, so that k-space keeps its scale.

    Attributes
    ----------
    matrix : Tensor of shape (white coil, coil), complex64
        The mixing matrix. Coils without noise have no data and are left out.
    inverse : Tensor of shape (coil, white coil), complex64
        The inverse mixing matrix.
    power : float
        Noise power `E|n|^2` of a sample of each white coil.
    words : str
        How the noise was determined, in words for the user.
    """

    matrix: Tensor
    inverse: Tensor
    power: float
    words: str

    @staticmethod
    def of(series: Series, wanted: bool | None = None) -> "Whitening | None":
        """Find the whitening of a series; None if there is no reason to whiten.

        Parameters
        ----------
        series : Series
            The series.
        wanted : bool or None
            True for always, False for never. None whitens if there is a noise scan, or if the noise
            of the coils is clearly unequal or correlated.

        Returns
        -------
        Whitening or None
            The whitening.

        Raises
        ------
        InputError
            If whitening is wanted but not possible (`noise-not-measurable`, `noise-covariance`).
        """
        if wanted is False or series.kspace.shape[1] == 1:
            return None
        if series.noise is not None:
            return _from_scan(series, series.noise, bool(wanted))
        if wanted:
            samples = noise_samples(series.kspace, _lines(series))
            return _from_samples(samples, strict=True)
        return _clearly_needed(series)

    def series(self, series: Series) -> Series:
        """Whiten a series.

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


def _from_samples(samples: Tensor, *, strict: bool = False) -> Whitening | None:
    """Find the whitening from noise samples (coil, n) of the data, see `_robust`."""
    words = "estimated from the data"
    return _robust(noise_covariance(samples), samples.shape[1], words, strict=strict)


def _from_scan(series: Series, noise: Noise, wanted: bool) -> Whitening | None:
    """Find the whitening from a noise scan.

    If the covariance is singular, it is refused if whitening was requested; otherwise, only the
    noise levels of the coils are used.
    """
    words = f"measured with {noise.samples} noise samples"
    covariance = noise.covariance.to(series.kspace.device)
    return _robust(covariance, noise.samples, words, strict=wanted)


def _robust(
    covariance: Tensor, samples: int, words: str, *, strict: bool = False
) -> Whitening | None:
    """Find the whitening from a covariance after removing its chance correlations.

    A singular covariance is refused if `strict`; otherwise, only its diagonal is used.
    """
    try:
        _from_covariance(covariance, words)
    except InputError:
        if strict:
            raise
        covariance = torch.diag(covariance.diagonal())
        words = f"{words}, levels only, because the coils are not independent"

    try:
        return _from_covariance(without_chance(covariance, samples), words)
    except InputError:
        return None


def without_chance(covariance: Tensor, samples: int) -> Tensor:
    """Shrink the correlations in a noise covariance (coil, coil) that are due to chance.

    With few samples, even independent coils seem correlated, with an energy of 1 / samples for each
    pair. All correlations shrink by the fraction of their energy that this explains.

    Parameters
    ----------
    covariance : Tensor of shape (coil, coil), complex
        Noise covariance.
    samples : int
        Number of noise samples from which it was estimated.

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


def _from_covariance(covariance: Tensor, words: str) -> Whitening:
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
    """Return the mask of a series of lines, possibly with asymmetric echoes; refuse other masks."""
    if not isinstance(series.mask, CartesianMask) or series.mask.echo is None:
        raise InputError(
            "noise-not-measurable",
            "The noise of single samples and trajectories cannot be estimated",
            "Whitening needs a noise scan, or whole lines",
            "Leave out --whiten, or give a file with noise readouts",
        )
    return series.mask


def _clearly_needed(series: Series) -> Whitening | None:
    """Find the whitening from the ends of the readout, if their noise clearly calls for it."""
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

    return _from_samples(samples)
