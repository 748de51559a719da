"""A series prepared for reconstruction: normalised, with its coils and noise estimated once."""

import math
from dataclasses import replace
from functools import cached_property

from torch import Tensor

from cmrrecon.classical.coils import Coils, estimate_coils
from cmrrecon.classical.whitening import Whitening
from cmrrecon.data import CartesianMask, SamplingMask, Series, SpokeMask
from cmrrecon.operators.centre import recentred
from cmrrecon.operators.coil_images import average_coil_images
from cmrrecon.operators.coils import rss
from cmrrecon.operators.noise import noise_level, noise_samples
from cmrrecon.tools.errors import InputError, NumericalError


class PreparedSeries:
    """A series with everything that methods need to know about it, computed at most once.

    It belongs to the run that made it. `part` returns the same series with fewer samples, which
    shares the scale, coils and noise.

    Parameters
    ----------
    series : Series
        K-space of any scale.
    scale : float or None
        Divisor of the k-space; None for the `normalisation` of the series.
    whiten : bool, Whitening or None
        See `wanted` in `Whitening.of`; or an existing whitening to use.

    Attributes
    ----------
    series : Series
        The series with the centre of k-space in the middle, see `operators.centre`.
    scale : float
        The divisor of the k-space.

    Raises
    ------
    NumericalError
        If there is no signal (`kspace-no-signal`).
    UsageError
        If the k-space lies along a trajectory and finufft is not installed (`package-missing`).
    """

    def __init__(
        self,
        series: Series,
        scale: float | None = None,
        whiten: bool | Whitening | None = None,
    ) -> None:
        self.series = series = recentred(series)
        self.whiten = whiten
        self._coils: dict[int | None, Coils] = {}

        # With a noise scan, most methods need only the scale of the whitened series.
        lazy = series.noise is not None and whiten is not False
        self._given_scale = normalisation(series) if scale is None and not lazy else scale

    @cached_property
    def mask(self) -> SamplingMask:
        """The mask without the samples measured only for calibration."""
        mask = self.series.mask
        return mask if mask.calibration_only is None else mask.chosen(mask.image_data)

    @cached_property
    def scale(self) -> float:
        """The divisor of the k-space; errors are those of `normalisation`."""
        return normalisation(self.series) if self._given_scale is None else self._given_scale

    @property
    def kspace(self) -> Tensor:
        """K-space (frame, coil, y, x) as measured, not normalised."""
        return self.series.kspace

    @cached_property
    def weights(self) -> Tensor | None:
        """Weights of the samples (frame or 1, y, x or 1); None if all are equal."""
        return self.mask.weights if isinstance(self.mask, CartesianMask) else None

    @cached_property
    def whitening(self) -> Whitening | None:
        """The whitening that `white` applies to the coils; None if there is no reason to whiten."""
        if isinstance(self.whiten, Whitening):
            return self.whiten
        return Whitening.of(self.series, self.whiten)

    @property
    def white(self) -> "PreparedSeries":
        """The series with whitened coils; the series itself if there is no reason to whiten."""
        # A series that kept itself would stay in memory until the next garbage collection.
        return self if self.whitening is None else self._whitened

    @cached_property
    def _whitened(self) -> "PreparedSeries":
        assert self.whitening is not None
        return _White(self.series, self.whitening)

    def tensors(self) -> list[Tensor]:
        """Return the tensors that the series holds on its device."""
        mask, calibration = self.series.mask, self.series.calibration
        found = [self.kspace, mask.samples]
        found += [mask.trajectory.positions] if isinstance(mask, SpokeMask) else []
        optional = (mask.averages, calibration, self.series.maps)
        return found + [tensor for tensor in optional if tensor is not None]

    def normalised(self) -> Series:
        """Return the series with its k-space divided by the scale."""
        return self.series.scaled(1 / self.scale)

    def coils(self, virtual: int | None = None) -> Coils:
        """Return the coil maps, with at most `virtual` virtual coils, see `estimate_coils`."""
        if virtual not in self._coils:
            self._coils[virtual] = estimate_coils(self.series, virtual)
        return self._coils[virtual]

    @cached_property
    def noise_power(self) -> Tensor | None:
        """Noise power `E|n|^2` of a normalised, weighted sample of each coil, (coil,) float64.

        None if it is unknown.
        """
        noise, averages = self.series.noise, self.series.mask.averages
        if noise is not None:
            single = noise.covariance.diagonal().real.double().to(self.kspace.device)
        elif not isinstance(self.mask, CartesianMask):
            return None
        else:
            try:
                samples = noise_samples(self.kspace, self.mask)
            except InputError:
                return None
            single = noise_level(samples).double().square()

        return single / self.scale**2 / (1.0 if averages is None else float(averages.max()))

    def part(self, mask: SamplingMask) -> "PreparedSeries":
        """Return the same series as if only the samples of `mask` had been measured."""
        return _Part(self, mask)


class _White(PreparedSeries):
    """A series whose coils are whitened."""

    def __init__(self, series: Series, whitening: Whitening) -> None:
        white = whitening.series(series)
        super().__init__(white, normalisation(white), whitening)

    @property
    def white(self) -> PreparedSeries:
        return self


class _Part(PreparedSeries):
    """A series with fewer samples, which shares everything known about the whole."""

    def __init__(self, whole: PreparedSeries, mask: SamplingMask) -> None:
        self.whole = whole
        super().__init__(replace(whole.series, mask=mask), whole.scale)

    @property
    def whitening(self) -> Whitening | None:
        return self.whole.whitening

    @property
    def white(self) -> PreparedSeries:
        return self if self.whole.white is self.whole else self.whole.white.part(self.series.mask)

    def coils(self, virtual: int | None = None) -> Coils:
        return self.whole.coils(virtual)

    @cached_property
    def noise_power(self) -> Tensor | None:
        return self.whole.noise_power


def normalisation(series: Series) -> float:
    """Return the 99th percentile of the RSS image of the time-averaged k-space.

    All methods divide k-space by this number. Bright tissue then has values of about 1 in any file,
    so the same regularisation weights suit all files.

    Raises
    ------
    NumericalError
        If there is no signal, or its scale does not fit in single precision (`kspace-no-signal`).
    UsageError
        If the k-space lies along a trajectory and finufft is not installed (`package-missing`).
    """
    magnitude = rss(average_coil_images(series.kspace, series.mask)).flatten()
    rank = max(1, round(0.99 * magnitude.numel()))
    scale = float(magnitude.kthvalue(rank).values)

    if not (math.isfinite(scale) and scale > 0 and math.isfinite(1 / scale)):
        raise NumericalError(
            "kspace-no-signal",
            "The brightness of the zero-filled image is zero or not finite",
            "K-space must contain signal whose scale fits in single precision",
            "Check the export of the file",
        )

    return scale
