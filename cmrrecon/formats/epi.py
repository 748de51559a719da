"""Echo-planar readouts: regrids and phase-corrects lines measured in alternating directions.

Samples acquired while the gradient ramps up or down are not evenly spaced in k-space. A
least-squares fit finds the image within the field of view that the widest spacing allows, and
samples its k-space evenly. If the field of view is off the magnet's centre, the receiver frequency
was set for the full gradient even during the ramps; the resulting phase is removed.

Lines read in opposite directions differ by a phase that is linear along x. Navigators, which are
lines without phase encoding, measure this phase.

References
----------
Ahn and Cho, IEEE Trans Med Imaging 1987;6:32.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from cmrrecon.formats.readouts import Rows, Table

Load = Callable[[Rows], NDArray[np.complex64]]
GROUPS = ("slice", "samples", "coils")  # navigators apply to lines that match in these


@dataclass(frozen=True)
class Ramp:
    """The readout gradient and when it was sampled.

    Attributes
    ----------
    up, flat, down : float
        Durations of the rising, constant and falling gradient, us.
    delay : float
        Time from the start of the gradient to the first sample, us.
    duration : float
        Duration of sampling, us.
    """

    up: float
    flat: float
    down: float
    delay: float
    duration: float

    def positions(self, count: int) -> NDArray[np.float64]:
        """Return `count` positions from -count / 2 to count / 2 in k-space, 1 apart on average."""
        edges = self._moment(self.delay + np.array([0.0, self.duration]))
        middles = self._moment(self.delay + self.duration * (np.arange(count) + 0.5) / count)
        positions: NDArray[np.float64] = count * ((middles - edges[0]) / np.diff(edges) - 0.5)
        return positions

    def _moment(self, time: NDArray[np.float64]) -> NDArray[np.float64]:
        """Integrate the gradient up to `time`, in units of its full amplitude times us."""
        rising = np.clip(time, 0, self.up)
        falling = np.clip(time - self.up - self.flat, 0, self.down)
        constant = np.clip(time - self.up, 0, self.flat)

        rise = rising**2 / (2 * self.up) if self.up else 0.0
        fall = falling - falling**2 / (2 * self.down) if self.down else 0.0
        return np.asarray(rise + constant + fall)


def resampling_matrix(positions: NDArray[np.float64]) -> NDArray[np.complex64]:
    """Return the matrix (n, n) that resamples from increasing `positions` (n,) to even spacing."""
    n = len(positions)
    widest = np.diff(positions).max(initial=1.0)
    pixels = np.arange(n) - n // 2
    inside = pixels[np.abs(pixels) <= n / 2 / widest] / n

    measured, even = (
        np.exp(-2j * np.pi * np.outer(k, inside)) for k in (positions, np.arange(n) - n / 2)
    )
    return np.asarray(even @ np.linalg.pinv(measured), np.complex64)


@dataclass(frozen=True, eq=False)
class Aligned:
    """Loads readouts so that all of them run forwards and agree in phase.

    Attributes
    ----------
    load : callable
        Function that loads the readouts as stored.
    lines : ndarray of shape (row,), bool
        Which readouts are echo-planar; the others stay as stored.
    reverse : ndarray of shape (row,), bool
        Which of the echo-planar readouts run backwards.
    phase : ndarray of shape (row, 2), float64
        Phase correction of each readout: offset in radians and slope in radians per column.
    offcentre : ndarray of shape (row,), float64
        Distance of each readout from the magnet's centre, in encoded fields of view.
    positions : ndarray of shape (n,), float64, or None
        Positions of the samples in k-space; None if they are evenly spaced.
    """

    load: Load
    lines: NDArray[np.bool]
    reverse: NDArray[np.bool]
    phase: NDArray[np.float64]
    offcentre: NDArray[np.float64]
    positions: NDArray[np.float64] | None
    _even: NDArray[np.complex64] | None = field(init=False)

    def __post_init__(self) -> None:
        even = None if self.positions is None else resampling_matrix(self.positions)
        object.__setattr__(self, "_even", even)

    def __call__(self, rows: Rows) -> NDArray[np.complex64]:
        """Load readouts of equal size, (row, coil, sample)."""
        samples = self.load(rows)
        chosen = self.lines[rows]
        lines = samples[chosen]

        turned = self.reverse[rows][chosen]
        lines[turned] = lines[turned][..., ::-1]
        if self.positions is not None and lines.shape[-1] == len(self.positions):
            lines = self._resampled(lines, self.offcentre[rows][chosen])

        n = lines.shape[-1]
        offset, slope = self.phase[rows][chosen].T[..., None, None]
        turn = np.exp(-1j * (offset + slope * (np.arange(n) - n // 2)))
        samples[chosen] = _forward(_inverse(lines) * turn)
        return samples

    def _resampled(
        self, lines: NDArray[np.complex64], offcentre: NDArray[np.float64]
    ) -> NDArray[np.complex64]:
        """Resample lines (row, coil, sample) to an even grid and remove the off-centre phase."""
        assert self.positions is not None
        assert self._even is not None
        n = len(self.positions)
        excess = (
            np.diff(self.positions).max(initial=1.0) * (np.arange(n) - (n - 1) / 2) - self.positions
        )
        phase = np.exp(2j * np.pi * offcentre[:, None, None] * excess).astype(np.complex64)
        return np.asarray((lines * phase) @ self._even.T, np.complex64)


def aligned(
    load: Load,
    table: Table,
    navigator: NDArray[np.bool],
    ramp: Ramp | None,
    offcentre: NDArray[np.float64],
) -> Aligned:
    """Return a loader of echo-planar readouts, with phases measured by their navigators.

    Parameters
    ----------
    load : callable
        Function that loads samples as stored.
    table : dict of str to ndarray
        The readouts, see `readouts.Raw`.
    navigator : ndarray of shape (row,), bool
        Which readouts are navigators for phase correction.
    ramp : Ramp or None
        How the gradient was sampled; None if the gradient was constant.
    offcentre : ndarray of shape (row,), float64
        As in `Aligned`.

    Returns
    -------
    Aligned
        The loader.
    """
    lines = navigator | table["image"] | table["calibration"]
    reverse = table["reverse"] & lines
    count = int(table["samples"][lines][0])
    positions = None if ramp is None else ramp.positions(count)
    plain = Aligned(load, lines, reverse, np.zeros((len(lines), 2)), offcentre, positions)
    return replace(plain, phase=_phases(plain, table, navigator))


def _phases(load: Aligned, table: Table, navigator: NDArray[np.bool]) -> NDArray[np.float64]:
    """Return phases (row, 2): each backward readout uses the last navigators before it."""
    phases = np.zeros((len(navigator), 2))
    groups = np.stack([table[name] for name in GROUPS], 1)

    for group in np.unique(groups[navigator], axis=0):
        here = (groups == group).all(1)
        rows = np.flatnonzero(here & navigator)
        blocks = np.split(rows, np.flatnonzero(np.diff(np.cumsum(here & ~navigator)[rows])) + 1)
        found = [(block[0], _difference(load, block)) for block in blocks]
        known = [(start, phase) for start, phase in found if phase is not None]
        if not known:
            continue

        starts = np.array([start for start, _ in known])
        backwards = np.flatnonzero(here & load.reverse)
        latest = np.maximum(np.searchsorted(starts, backwards, side="right") - 1, 0)
        phases[backwards] = np.array([phase for _, phase in known])[latest]
    return phases


def _difference(load: Aligned, rows: Rows) -> tuple[float, float] | None:
    """Return the phase (offset, slope) between navigators of both directions; None without both."""
    backwards = load.reverse[rows]
    if backwards.all() or not backwards.any():
        return None

    profiles = _inverse(load(rows)).astype(np.complex128)  # damaged numbers must not overflow
    product = profiles[backwards].mean(0) * profiles[~backwards].mean(0).conj()
    along = product.sum(0)

    slope = float(np.angle((along[1:] * along[:-1].conj()).sum()))
    n = len(along)
    offset = float(np.angle((along * np.exp(-1j * slope * (np.arange(n) - n // 2))).sum()))
    return offset, slope


def _inverse(samples: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Apply a centred inverse FFT along the samples."""
    shifted = np.fft.ifft(np.fft.ifftshift(samples, -1), axis=-1)
    return np.asarray(np.fft.fftshift(shifted, -1), np.complex64)


def _forward(profiles: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Apply a centred FFT along the samples."""
    shifted = np.fft.fft(np.fft.ifftshift(profiles, -1), axis=-1)
    return np.asarray(np.fft.fftshift(shifted, -1), np.complex64)
