"""Compares the T1 and T2 maps of reconstruction and reference inside the myocardium.

The rules are those of the 2023 challenge. A failed fit yields 0 ms. All times are in ms. The maps
are fitted as by `cmrrecon.fit` with the models `molli` and `t2-line`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from cmrrecon.relaxometry.models import LONGEST_T2, MOLLI, T2_LINE, fit_pixels
from cmrrecon.tools.errors import InputError, NumericalError

# Labels in the challenge's label maps: 1 left ventricle, 2 myocardium, 3 right ventricle.
MYOCARDIUM = 2
# The challenge multiplies images by 1e6, which fits only the units of the 2023 data.
FULL_SCALE = 1000.0
MODEL = {"T1": MOLLI, "T2": T2_LINE}
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
    model, pairs = MODEL[parameter], []
    for z, inside in enumerate(myocardium.to(reference.device).unbind(0)):
        if bool(inside.any()):
            both = [full_scale(series[:, z])[:, inside] for series in (images, reference)]
            maps = [fit_pixels(signal, times[:, z], model).values for signal in both]
            pairs.append(torch.stack(maps).nan_to_num(0.0))
    return torch.cat(pairs, 1)


def full_scale(series: Tensor) -> Tensor:
    """Scale the magnitudes of a series (frame, y, x) to a maximum of 1000, in float64."""
    magnitude = series.abs().double()
    return magnitude * (FULL_SCALE / magnitude.max())
