"""Fits T1 and T2 maps to mapping series and compares them inside the myocardium.

The rules are those of the 2023 challenge. A failed fit yields 0 ms. All times are in ms.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from cmrrecon.tools.errors import InputError, NumericalError

# Labels in the challenge's label maps: 1 left ventricle, 2 myocardium, 3 right ventricle.
MYOCARDIUM = 2
# The challenge multiplies images by 1e6, which fits only the units of the 2023 data.
FULL_SCALE = 1000.0
LONGEST_T2 = 200.0  # In ms; the challenge's program treats a longer T2 as a failed fit.
APPARENT_T1 = (50.0, 10_000.0)  # In ms; search range.
GRID = 96
NARROWINGS = 40
GOLDEN = (5**0.5 - 1) / 2
RULE = (
    f"rule of CMRxRecon2023: magnitude scaled to a maximum of {FULL_SCALE:g}, "
    "T1 by a (1 - exp(-b TI)) + c with restored polarity, "
    f"T2 by ln S over time (0 if not in 0-{LONGEST_T2:g} ms), "
    f"inside label {MYOCARDIUM}, the myocardium"
)


@dataclass(frozen=True)
class MapScores:
    """The comparison of a fitted map with the map of the reference.

    Attributes
    ----------
    parameter : str
        T1 or T2.
    mean, reference_mean : float
        Mean over the myocardium, in ms.
    rmse : float
        Root mean square difference over the pixels of the myocardium, in ms.
    pixels : int
        Number of compared pixels in all slices, namely those where the reference could be fitted.
    failed : int
        Number of pixels where the reconstruction could not be fitted; they count as 0 ms.
    reference_failed : int
        Number of pixels where the reference could not be fitted; they are excluded.
    """

    parameter: str
    mean: float
    reference_mean: float
    rmse: float
    pixels: int
    failed: int
    reference_failed: int


def parameter_of(base: str) -> str | None:
    """Return the parameter of a base name: T1 (`T1map`, `T1mappost`), T2 (`T2map`), or None."""
    return {"t1map": "T1", "t1mappost": "T1", "t2map": "T2"}.get(base.lower())


def compare_maps(
    images: Tensor, reference: Tensor, myocardium: Tensor, times: Tensor, parameter: str
) -> MapScores:
    """Fit reconstruction and reference in every pixel of the myocardium and compare the maps.

    The challenge's program computes the mean over the myocardium; the challenge ranked by the root
    mean square error over the myocardium.

    Parameters
    ----------
    images, reference : Tensor of shape (frame, slice, y, x)
        Magnitudes or complex images, one frame for each weighting.
    myocardium : Tensor of shape (slice, y, x), bool
        True inside the myocardium.
    times : Tensor of shape (frame, slice)
        Inversion or T2-preparation times in ms; a final inversion time of 0 excludes the last
        weighting.
    parameter : str
        T1 or T2.

    Returns
    -------
    MapScores
        The comparison.

    Raises
    ------
    InputError
        If the times do not match the images (`times-shape`) or are too few (`times-too-few`), or if
        no pixel is in the myocardium (`labels-empty`).
    NumericalError
        If the reference cannot be fitted in any pixel (`fit-failed`).

    References
    ----------
    CmrxRecon/CMRxRecon, Mapping/CalEvalMap.py.
    """
    _check_comparable(reference, myocardium, times)
    ours, truth = _fitted(images, reference, myocardium, times, parameter)
    known = truth > 0
    if not bool(known.any()):
        listed = ", ".join(f"{time:g}" for time in times[:, 0].tolist())
        raise NumericalError(
            "fit-failed",
            f"No {parameter} can be fitted to the reference inside label {MYOCARDIUM}",
            f"The signal must follow the model at the times {listed} ms",
            "Check the times and the label map",
        )

    ours, truth = ours[known], truth[known]
    return MapScores(
        parameter=parameter,
        mean=float(ours.mean()),
        reference_mean=float(truth.mean()),
        rmse=float((ours - truth).square().mean().sqrt()),
        pixels=len(truth),
        failed=int((ours == 0).sum()),
        reference_failed=int((~known).sum()),
    )


def compare_labelled(
    images: Tensor,
    expected: Tensor,
    labels: Tensor,
    numbers: Sequence[int],
    times: Tensor,
    parameter: str,
) -> dict[str, Any]:
    """Compare fitted maps inside the myocardium of a label map.

    Parameters
    ----------
    images, expected : Tensor of shape (frame, slice, y, x)
        Reconstructed and reference weightings.
    labels : Tensor of shape (1, slice, y, x), int
        Label map; the myocardium has label `MYOCARDIUM`.
    numbers : sequence of int
        Slice numbers of the images in the scan.
    times : Tensor of shape (frame, slice) or (frame, 1)
        Times of the weightings in ms, for each slice of the scan or for all.
    parameter : str
        `T1` or `T2`.

    Returns
    -------
    dict
        The rule, and the members of `MapScores`.

    Raises
    ------
    InputError
        If the label map has several frames (`shape-mismatch`) or the times do not cover the slices
        (`times-shape`).
    """
    if len(labels) > 1:
        raise InputError(
            "shape-mismatch",
            f"The label map has {len(labels)} frames",
            "All weightings of a mapping series share one myocardium",
            "Use a label map with one frame",
        )
    if 1 < times.shape[1] <= max(numbers):
        raise InputError(
            "times-shape",
            f"The times cover {times.shape[1]} slices, but slice {max(numbers)} was reconstructed",
            "The file needs one column per slice, or one column for all slices",
            "Use the times of this scan",
        )

    slice_times = times.expand(-1, len(numbers)) if times.shape[1] == 1 else times[:, list(numbers)]
    return {
        "rule": RULE,
        **asdict(compare_maps(images, expected, labels[0] == MYOCARDIUM, slice_times, parameter)),
    }


def _check_comparable(reference: Tensor, myocardium: Tensor, times: Tensor) -> None:
    """Refuse times that do not match the images, and label maps without myocardium."""
    if times.shape != reference.shape[:2]:
        raise InputError(
            "times-shape",
            f"The times have shape {tuple(times.shape)}, but the images have "
            f"{tuple(reference.shape[:2])} (frame, slice)",
            "Every weighting of every slice needs a time",
            "Use the file with the times of this scan",
        )
    if not bool(myocardium.any()):
        raise InputError(
            "labels-empty",
            f"No pixel is labelled {MYOCARDIUM} in these slices",
            "The label map must contain the myocardium, which has this label",
            "Use the label map of these slices",
        )


def _fitted(
    images: Tensor, reference: Tensor, myocardium: Tensor, times: Tensor, parameter: str
) -> Tensor:
    """Fit the parameter in ms to images and reference in the myocardium, (2, pixel)."""
    fit: Callable[[Tensor, Tensor], Tensor] = fit_t1 if parameter == "T1" else fit_t2
    pairs = []
    for z, inside in enumerate(myocardium.to(reference.device).unbind(0)):
        if bool(inside.any()):
            both = [full_scale(series[:, z])[:, inside] for series in (images, reference)]
            pairs.append(torch.stack([fit(signal, times[:, z]) for signal in both]))
    return torch.cat(pairs, 1)


def fit_t1(magnitude: Tensor, times: Tensor) -> Tensor:
    """Fit T1 to inversion-recovery magnitudes by least squares.

    The model is S(TI) = a (1 - exp(-b TI)) + c with T1 = (a / (a + c) - 1) / b; the second equation
    corrects for the readout pulses (Look and Locker). Since magnitudes have no sign, the k earliest
    samples are made negative for every k. Of all fits that are an inversion recovery (a + c > 0, T1
    > 0), the best one is kept. For fixed b the model is linear, so only b is searched, first on a
    grid, then by golden section.

    Parameters
    ----------
    magnitude : Tensor of shape (frame, pixel), real
        Signal of each pixel.
    times : Tensor of shape (frame,)
        Inversion times in ms, in any order; a final time of 0 excludes the last weighting.

    Returns
    -------
    Tensor of shape (pixel,), float64
        T1 in ms; 0 where no polarity yields such a fit with 1 / b between 50 and 10 000 ms.

    Raises
    ------
    InputError
        If there are fewer than four different times (`times-too-few`).
    """
    if float(times[-1]) == 0:
        magnitude, times = magnitude[:-1], times[:-1]
    order = _order(times, 4, "T1").to(magnitude.device)
    signal = magnitude.double()[order]
    t = times.to(magnitude.device, torch.float64)[order]
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
        best = torch.where(better, residual, best)
        t1 = torch.where(better, corrected, t1)
    return t1


def fit_t2(magnitude: Tensor, times: Tensor) -> Tensor:
    """Fit T2 to T2-prepared magnitudes by a least-squares line through ln S over time.

    T2 is -1 / slope of this line.

    Parameters
    ----------
    magnitude : Tensor of shape (frame, pixel), real
        Signal of each pixel.
    times : Tensor of shape (frame,)
        Preparation times in ms.

    Returns
    -------
    Tensor of shape (pixel,), float64
        T2 in ms; 0 where it is not between 0 and 200 ms or where a sample is not positive.

    Raises
    ------
    InputError
        If there are fewer than two different times (`times-too-few`).
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
    """Scale the magnitudes of a series (frame, y, x) to a maximum of 1000, in float64."""
    magnitude = series.abs().double()
    return magnitude * (FULL_SCALE / magnitude.max())


def _order(times: Tensor, least: int, parameter: str) -> Tensor:
    """Return the indices that sort the times, after checking that enough of them are different."""
    different = len(set(times.tolist()))
    if different < least:
        raise InputError(
            "times-too-few",
            f"There are {different} different times",
            f"A fit of {parameter} needs at least {least}",
            "Use the times of all weightings",
        )
    return times.argsort()


def _apparent_t1(y: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return 1 / b of least residual for signals (frame, pixel), and whether it is in range."""
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
    """Fit signals by a decay exp(-t / apparent) plus a constant, using least squares.

    The result is the decay (frame, pixel), its coefficient (pixel,) and the squared residual
    (pixel,).
    """
    decay = torch.exp(-t[:, None] / apparent)
    centred, departure = decay - decay.mean(0), y - y.mean(0)
    slope = (centred * departure).sum(0) / centred.square().sum(0)
    return decay, slope, (departure - slope * centred).square().sum(0)
