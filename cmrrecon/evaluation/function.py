"""Cardiac function from label maps: volumes, ejection fraction, mass, and how well two maps agree.

Label maps are (frame, slice, y, x). A volume is the number of labelled voxels times their size, the
sum of discs of a short-axis stack.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cmrrecon.tools.errors import InputError

STRUCTURES = ("lv", "myocardium", "rv")
# The numbers in the label maps of CMRxRecon. ACDC has 3, 2 and 1.
DEFAULT_LABELS = {"lv": 1, "myocardium": 2, "rv": 3}
DENSITY = 1.05  # g/ml of myocardium
RULE = (
    "volumes are numbers of voxels; end-diastole and end-systole are the largest and smallest "
    "volume of each ventricle; mass: myocardium at end-diastole of the left ventricle x 1.05 g/ml; "
    "Dice and Hausdorff distance: 3-D in each frame, mean over the frames"
)
# Quantities of cardiac function, as they are shown.
QUANTITIES = {
    "lv_edv_ml": "LV EDV ml",
    "lv_esv_ml": "LV ESV ml",
    "lv_sv_ml": "LV SV ml",
    "lv_ef_percent": "LV EF %",
    "lv_mass_g": "LV mass g",
    "rv_edv_ml": "RV EDV ml",
    "rv_esv_ml": "RV ESV ml",
    "rv_sv_ml": "RV SV ml",
    "rv_ef_percent": "RV EF %",
}

Voxel = tuple[float, float, float]


@dataclass(frozen=True)
class Heart:
    """The label maps of one series.

    Attributes
    ----------
    labels : Tensor of shape (frame, slice, y, x), int64
        The label of each voxel.
    numbers : mapping of str to int
        The label of each structure in `STRUCTURES`.
    voxel_mm : (float, float, float) or None
        Size of a voxel (y, x, slice) in mm, including the slice gap; None if unknown.
    """

    labels: Tensor
    numbers: Mapping[str, int]
    voxel_mm: Voxel | None

    def masks(self, structure: str) -> NDArray[np.bool_]:
        """Return the voxels of a structure as an array (frame, slice, y, x)."""
        return np.asarray(self.labels.numpy() == self.numbers[structure])

    def counts(self, structure: str) -> NDArray[np.int64]:
        """Return the number of voxels of a structure in each frame."""
        return np.asarray(self.masks(structure).sum((1, 2, 3)), np.int64)

    @property
    def voxel_ml(self) -> float | None:
        """Volume of a voxel in ml; None if its size is unknown."""
        return None if self.voxel_mm is None else float(np.prod(self.voxel_mm)) / 1000


def volumes_ml(heart: Heart) -> dict[str, list[float]] | None:
    """Return the volume of each structure in each frame in ml; None if voxel sizes are unknown."""
    voxel = heart.voxel_ml
    if voxel is None:
        return None
    return {name: (heart.counts(name) * voxel).tolist() for name in STRUCTURES}


def function_of(heart: Heart) -> dict[str, float | None]:
    """Compute volumes, ejection fractions and mass.

    Parameters
    ----------
    heart : Heart
        The label maps of one series.

    Returns
    -------
    dict of str to float or None
        The `QUANTITIES`. None: the structure is not labelled, the voxel size is unknown (the
        ejection fraction does not need it), or there is only one frame (then there is no systole).
    """
    found: dict[str, float | None] = dict.fromkeys(QUANTITIES)
    voxel, frames = heart.voxel_ml, len(heart.labels)

    for side in ("lv", "rv"):
        counts = heart.counts(side)
        largest, smallest = int(counts.max()), int(counts.min())
        if largest == 0:
            continue
        if voxel is not None:
            found[f"{side}_edv_ml"] = largest * voxel
        if frames > 1:
            found[f"{side}_ef_percent"] = 100 * (largest - smallest) / largest
            if voxel is not None:
                found[f"{side}_esv_ml"] = smallest * voxel
                found[f"{side}_sv_ml"] = (largest - smallest) * voxel

    muscle = heart.counts("myocardium")[int(heart.counts("lv").argmax())]
    if voxel is not None and muscle:
        found["lv_mass_g"] = float(muscle) * voxel * DENSITY
    return found


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float | None:
    """Compute the Dice coefficient 2 |A and B| / (|A| + |B|); None if both are empty."""
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else None


def hausdorff_mm(one: NDArray[np.bool_], other: NDArray[np.bool_], voxel_mm: Voxel) -> float | None:
    """Compute the Hausdorff distance between two sets of voxel centres in mm.

    It is the largest distance from a voxel of either set to the nearest voxel of the other set.

    Parameters
    ----------
    one, other : ndarray of shape (slice, y, x), bool
        True inside the structure.
    voxel_mm : (float, float, float)
        Size of a voxel (y, x, slice) in mm.

    Returns
    -------
    float or None
        The distance; None if one of the sets is empty.
    """
    from scipy.ndimage import distance_transform_edt

    if not (one.any() and other.any()):
        return None
    # Only the box around both sets matters.
    inside = tuple(
        slice(int(found.min()), int(found.max()) + 1) for found in np.nonzero(one | other)
    )
    y, x, z = voxel_mm
    ways = ((one[inside], other[inside]), (other[inside], one[inside]))
    return max(
        float(distance_transform_edt(~target, sampling=(z, y, x))[source].max())
        for source, target in ways
    )


def agreement(reference: Heart, made: Heart) -> dict[str, dict[str, float | None]]:
    """Compute Dice and Hausdorff distance of each structure, averaged over the frames.

    Returns
    -------
    dict
        `dice` and `hausdorff_mm`, each by structure. Frames where a structure is labelled in
        neither map do not count for Dice, and those where one map lacks it do not count for the
        distance; None if no frame counts.
    """
    scores: dict[str, dict[str, float | None]] = {"dice": {}, "hausdorff_mm": {}}
    for name in STRUCTURES:
        pairs = list(zip(reference.masks(name), made.masks(name), strict=True))
        scores["dice"][name] = _mean([dice(*pair) for pair in pairs])
        voxel = reference.voxel_mm
        distances = [] if voxel is None else [hausdorff_mm(*pair, voxel) for pair in pairs]
        scores["hausdorff_mm"][name] = _mean(distances)
    return scores


def compare_function(reference: Heart, made: Heart) -> dict[str, Any]:
    """Compare the cardiac function of a reconstruction with that of its reference.

    Parameters
    ----------
    reference, made : Heart
        Label maps of the same frames and slices.

    Returns
    -------
    dict
        `rule`, `labels`, `voxel_mm`, `volumes_ml`, the quantities (`reference`, `reconstruction`
        and their difference `error`), `dice` and `hausdorff_mm`.

    Raises
    ------
    InputError
        If one of the maps has none of the structures (`labels-empty`).
    """
    for heart, what in ((reference, "reference"), (made, "reconstruction")):
        if not any(heart.masks(name).any() for name in STRUCTURES):
            labels = ", ".join(f"{name} {number}" for name, number in heart.numbers.items())
            raise InputError(
                "labels-empty",
                f"The label map of the {what} has none of the labels of the heart",
                f"The labels are {labels}",
                "Give the labels of your tool with --labels",
            )

    expected, found = function_of(reference), function_of(made)
    pairs = {key: (found[key], expected[key]) for key in QUANTITIES}
    return {
        "rule": RULE,
        "labels": dict(reference.numbers),
        "voxel_mm": reference.voxel_mm,
        "volumes_ml": {"reference": volumes_ml(reference), "reconstruction": volumes_ml(made)},
        "reference": expected,
        "reconstruction": found,
        "error": {
            key: None if one is None or other is None else one - other
            for key, (one, other) in pairs.items()
        },
        **agreement(reference, made),
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
