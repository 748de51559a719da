"""What the labels of a store's entry mean for a slice: which kinds of lesions are present, and where; and how well these are shown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cmrrecon.evaluation.regions import MARGIN, Region, average, focused
from cmrrecon.formats.labels import is_normal
from cmrrecon.training.loss_terms import Losses

LESION_SCORES = ("lesion_psnr", "lesion_ssim")


def presence(entry: Mapping[str, Any], index: int, classes: Sequence[str]) -> Tensor:
    """Tensor (class,) float: 1 for the kinds that a slice is labelled with, 0 for the others; NaN for all of a slice without labels.

    A label that is no class, such as `normal`, makes a labelled slice all the same.
    """
    names = {row["label"].casefold() for row in _rows(entry, index)}
    return torch.tensor(
        [float(name.casefold() in names) if names else torch.nan for name in classes]
    )


def painted(entry: Mapping[str, Any], index: int, classes: Sequence[str]) -> Tensor:
    """Tensor (y, x) bool: true inside the boxes of a slice, those of these classes, or all boxes if no class is named."""
    lesion = torch.zeros(entry["shape"][-2:], dtype=torch.bool)
    for row in _rows(entry, index):
        if row["box"] and (not classes or _is_class(row["label"], classes)):
            y0, y1, x0, x1 = row["box"]
            lesion[y0:y1, x0:x1] = True
    return lesion


def notes(
    losses: Losses, classes: Sequence[str], entries: Iterable[Mapping[str, Any]]
) -> list[str]:
    """What the user should know of the labels of the scans that are trained on, in sentences."""
    rows = [row for entry in entries for row in entry.get("labels") or ()]
    told = []

    if losses.classification.weight and not rows:
        told.append(
            "the classification loss is left out: no scan has labels, which `cmrrecon preprocess --labels` gives"
        )
    if losses.lesion.weight and not any(
        row["box"] and (not classes or _is_class(row["label"], classes)) for row in rows
    ):
        told.append(
            "the lesion loss is left out: no scan has boxes of lesions, which `cmrrecon preprocess --labels` gives"
        )

    others = {
        row["label"]
        for row in rows
        if not is_normal(row["label"]) and not _is_class(row["label"], classes)
    }

    if losses.classification.weight and others:
        told.append(
            f"these labels are none of data.classes, and slices with no other have no lesion: {', '.join(sorted(others))}"
        )

    return told


def lesion_scores(image: Tensor, target: Tensor, lesion: Tensor) -> dict[str, float]:
    """LF-PSNR in dB and LF-SSIM of an image (1, y, x) inside boxes (y, x), see `evaluation.regions.focused`; all boxes are one region.

    Empty if there is no box, or none in which a window of the SSIM is centred.
    """
    if not bool(lesion[MARGIN:-MARGIN, MARGIN:-MARGIN].any()):
        return {}

    table = focused(image[:, None], target[:, None], [Region("lesion", lesion[None, None])])
    return dict(zip(LESION_SCORES, average(table, [0]), strict=True))


def _rows(entry: Mapping[str, Any], index: int) -> list[Mapping[str, Any]]:
    return [row for row in entry.get("labels") or () if row["slice"] in (None, index)]


def _is_class(label: str, classes: Sequence[str]) -> bool:
    return label.casefold() in {name.casefold() for name in classes}
