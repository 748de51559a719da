"""T1 and T2 maps fitted to mapping series, and compared inside the myocardium, as the challenge of 2023 does.

A fit that fails is 0 ms. Times are in ms.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cmrrecon.tools.errors import InputError, NumericalError

MYOCARDIUM = (
    2  # its value in the challenge's label maps: 1 left ventricle, 2 myocardium, 3 right ventricle
)
# The challenge multiplies images by 1e6, which assumes the units of 2023; files of other years have any units.
FULL_SCALE = 1000.0
LONGEST_T2 = 200.0  # ms; the challenge's program takes longer ones for failures
APPARENT_T1 = (50.0, 10_000.0)  # ms, where the apparent T1 is searched
GRID = 96
NARROWINGS = 40
GOLDEN = (5**0.5 - 1) / 2
RULE = (
    f"rule of CMRxRecon2023: magnitude scaled to a maximum of {FULL_SCALE:g}, T1 by a (1 - exp(-b TI)) + c with restored polarity, "
    f"T2 by ln S over time (0 if not in 0-{LONGEST_T2:g} ms), inside label {MYOCARDIUM}, the myocardium"
)


@dataclass(frozen=True)
class MapScores:
    """A fitted map compared with that of the reference.

    Attributes
    ----------
    parameter : T1 or T2
    mean, reference_mean : ms, over the myocardium
    rmse : ms, root of the mean square difference over its pixels
    pixels : compared, in all slices; those whose reference could not be fitted are left out
    failed : pixels whose reconstruction could not be fitted; they count as 0 ms
    reference_failed : pixels left out
    """

    parameter: str
    mean: float
    reference_mean: float
    rmse: float
    pixels: int
    failed: int
    reference_failed: int


def parameter_of(base: str) -> str | None:
    """What a series of this base name maps: T1 (`T1map`, `T1mappost`), T2 (`T2map`), or nothing that is fitted here."""
    return {"t1map": "T1", "t1mappost": "T1", "t2map": "T2"}.get(base.lower())


def compare_maps(
    images: Tensor, reference: Tensor, myocardium: Tensor, times: Tensor, parameter: str
) -> MapScores:
    """Fit reconstruction and reference in every pixel of the myocardium and compare.

    The challenge's program forms the mean over the myocardium, and ranked by the root mean square error over it.

    Parameters
    ----------
    images, reference : Tensor (frame, slice, y, x), magnitudes or complex; one frame for each weighting
    myocardium : Tensor (slice, y, x) bool
    times : Tensor (frame, slice) in ms, inversion or T2-preparation times; a last inversion time of 0 leaves the last weighting out
    parameter : T1 or T2

    Raises
    ------
    InputError : the times do not fit the images, are too few, or no pixel is inside
    NumericalError : the reference cannot be fitted in any pixel

    Source: CmrxRecon/CMRxRecon, Mapping/CalEvalMap.py.
    """
    _check_comparable(reference, myocardium, times)
    ours, truth = _fitted(images, reference, myocardium, times, parameter)
    known = truth > 0
    if not bool(known.any()):
        raise NumericalError(
            "fit-failed",
            f"No {parameter} can be fitted to the reference inside label {MYOCARDIUM}",
            f"Its signal must follow the times {', '.join(f'{time:g}' for time in times[:, 0].tolist())} ms",
            "Check the times and the label map",
        )
    mine, truth = ours[known], truth[known]
    return MapScores(
        parameter,
        float(mine.mean()),
        float(truth.mean()),
        float((mine - truth).square().mean().sqrt()),
        len(truth),
        int((mine == 0).sum()),
        int((~known).sum()),
    )


def _check_comparable(reference: Tensor, myocardium: Tensor, times: Tensor) -> None:
    """Refuse times of other weightings or slices, and label maps without a myocardium."""
    if times.shape != reference.shape[:2]:
        raise InputError(
            "times-shape",
            f"There are times for {tuple(times.shape)} and images {tuple(reference.shape[:2])} (frame, slice)",
            "Every weighting of every slice needs its time",
            "Give the file of this scan's times",
        )
    if not bool(myocardium.any()):
        raise InputError(
            "labels-empty",
            f"No pixel is labelled {MYOCARDIUM} in these slices",
            "That is the label of the myocardium",
            "Give the label map of these slices",
        )


def _fitted(
    images: Tensor, reference: Tensor, myocardium: Tensor, times: Tensor, parameter: str
) -> Tensor:
    """The parameter of images and reference in the myocardium of all slices: (2, pixel), ms."""
    fit: Callable[[Tensor, Tensor], Tensor] = fit_t1 if parameter == "T1" else fit_t2
    pairs = []
    for z, inside in enumerate(myocardium.to(reference.device).unbind(0)):
        if bool(inside.any()):
            both = [full_scale(series[:, z])[:, inside] for series in (images, reference)]
            pairs.append(torch.stack([fit(signal, times[:, z]) for signal in both]))
    return torch.cat(pairs, 1)


def fit_t1(magnitude: Tensor, times: Tensor) -> Tensor:
    """T1 of inversion-recovery magnitudes by least squares: S(TI) = a (1 - exp(-b TI)) + c and T1 = (a / (a + c) - 1) / b.

    The last equation corrects for the read-out pulses (Look and Locker). Magnitudes have lost the sign: the k earliest are made negative,
    for every k, and the best fit that is an inversion recovery (a + c > 0, T1 > 0) is taken. For a given b the model is linear, so
    the one search is over b: on a grid, then by golden section.

    Parameters
    ----------
    magnitude : Tensor (frame, pixel) real
    times : Tensor (frame,) in ms, in any order; a last time of 0 leaves the last weighting out

    Returns
    -------
    Tensor (pixel,) float64 in ms, 0 where no polarity gives such a fit with 1 / b between 50 and 10 000 ms

    Raises
    ------
    InputError : fewer than four different times
    """
    if float(times[-1]) == 0:
        magnitude, times = magnitude[:-1], times[:-1]
    order = _order(times, 4, "T1").to(magnitude.device)
    signal, t = magnitude.double()[order], times.to(magnitude.device, torch.float64)[order]
    best = torch.full_like(signal[0], torch.inf)
    t1 = torch.zeros_like(best)
    for flipped in range(len(t) + 1):
        y = torch.cat([-signal[:flipped], signal[flipped:]])
        apparent, searched = _apparent_t1(y, t)
        decay, slope, residual = _recovery(y, t, apparent)
        steady = y.mean(0) - slope * decay.mean(0)
        corrected = apparent * (-slope / steady - 1)
        better = (
            searched & (steady > 0) & (corrected > 0) & corrected.isfinite() & (residual < best)
        )
        best, t1 = torch.where(better, residual, best), torch.where(better, corrected, t1)
    return t1


def fit_t2(magnitude: Tensor, times: Tensor) -> Tensor:
    """T2 of T2-prepared magnitudes: minus one over the slope of the least-squares line through ln S over time.

    Parameters
    ----------
    magnitude : Tensor (frame, pixel) real
    times : Tensor (frame,) in ms

    Returns
    -------
    Tensor (pixel,) float64 in ms, 0 where it is not between 0 and 200 ms or a sample is not positive

    Raises
    ------
    InputError : fewer than two different times
    """
    _order(times, 2, "T2")
    signal, t = magnitude.double(), times.to(magnitude.device, torch.float64)
    logarithm = signal.clamp(min=torch.finfo(torch.float64).tiny).log()
    centred = (t - t.mean())[:, None]
    slope = (centred * logarithm).sum(0) / centred.square().sum()
    t2 = -1 / slope
    good = (signal > 0).all(0) & (slope < 0) & (t2 <= LONGEST_T2)
    return torch.where(good, t2, 0.0)


def full_scale(series: Tensor) -> Tensor:
    """The magnitudes of a series (frame, y, x) in float64, scaled to a maximum of 1000."""
    magnitude = series.abs().double()
    return magnitude * (FULL_SCALE / magnitude.max())


def _order(times: Tensor, least: int, parameter: str) -> Tensor:
    """The order of the times, of which there must be so many."""
    different = len(set(times.tolist()))
    if different < least:
        raise InputError(
            "times-too-few",
            f"There are {different} different times",
            f"A fit of {parameter} needs at least {least}",
            "Give the times of all weightings",
        )
    return times.argsort()


def _apparent_t1(y: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """1 / b of least residual for signals (frame, pixel), and whether it lies inside the searched range."""
    low, high = (
        torch.tensor(end, dtype=torch.float64, device=y.device).log() for end in APPARENT_T1
    )
    grid = torch.linspace(float(low), float(high), GRID, dtype=torch.float64, device=y.device)
    decays = torch.exp(-t / grid.exp()[:, None])
    decays = decays - decays.mean(1, keepdim=True)
    explained = (decays @ y).square() / decays.square().sum(1, keepdim=True)
    step = (high - low) / (GRID - 1)
    nearest = grid[explained.argmax(0)]
    left, right = (nearest - step).clamp(min=low), (nearest + step).clamp(max=high)
    for _ in range(NARROWINGS):
        width = GOLDEN * (right - left)
        inner, outer = right - width, left + width
        lower = _recovery(y, t, inner.exp())[2] < _recovery(y, t, outer.exp())[2]
        left, right = torch.where(lower, left, inner), torch.where(lower, outer, right)
    found = (left + right) / 2
    return found.exp(), (found > low + step / 100) & (found < high - step / 100)


def _recovery(y: Tensor, t: Tensor, apparent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """exp(-t / apparent) (frame, pixel), its least-squares coefficient beside a constant, and the squared residual, each (pixel,)."""
    decay = torch.exp(-t[:, None] / apparent)
    centred, departure = decay - decay.mean(0), y - y.mean(0)
    slope = (centred * departure).sum(0) / centred.square().sum(0)
    return decay, slope, (departure - slope * centred).square().sum(0)
