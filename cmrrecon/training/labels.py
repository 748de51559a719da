"""The labels of a slice: which lesions are present, where they are, and how well they are shown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cmrrecon.evaluation.regions import MARGIN, Region, average, focused
from cmrrecon.formats.labels import is_normal
from cmrrecon.training.loss_terms import Losses

LESION_SCORES = ("lesion_psnr", "lesion_ssim")


def presence(entry: Mapping[str, Any], index: int, classes: Sequence[str]) -> Tensor:
    """Return the classes of lesions in the labels of a slice.

    A slice whose only label is not a class, such as `normal`, still counts as labelled.

    Returns
    -------
    Tensor of shape (class,), float
        1 for classes that are present and 0 for the others; NaN everywhere if the slice has no
        labels.
    """
    names = {row["label"].casefold() for row in _rows(entry, index)}
    return torch.tensor(
        [float(name.casefold() in names) if names else torch.nan for name in classes]
    )


def inside_boxes(entry: Mapping[str, Any], index: int, classes: Sequence[str]) -> Tensor:
    """Return the pixels inside the boxes of a slice's lesions.

    Parameters
    ----------
    entry : Entry
        The scan.
    index : int
        The slice.
    classes : sequence of str
        The labels whose boxes count; if empty, all boxes count.

    Returns
    -------
    Tensor of shape (y, x), bool
        True inside the boxes.
    """
    lesion = torch.zeros(entry["shape"][-2:], dtype=torch.bool)
    for row in _rows(entry, index):
        if row["box"] and (not classes or _is_class(row["label"], classes)):
            y0, y1, x0, x1 = row["box"]
            lesion[y0:y1, x0:x1] = True
    return lesion


def notes(
    losses: Losses, classes: Sequence[str], entries: Iterable[Mapping[str, Any]]
) -> list[str]:
    """Return notes for the user about the labels of the training scans."""
    rows = [row for entry in entries for row in entry.get("labels") or ()]
    found = []

    if losses.classification.weight and not rows:
        found.append(
            "the classification loss is left out: no scan has labels, "
            "which `cmrrecon preprocess --labels` adds"
        )
    if losses.lesion.weight and not any(
        row["box"] and (not classes or _is_class(row["label"], classes)) for row in rows
    ):
        found.append(
            "the lesion loss is left out: no scan has boxes of lesions, "
            "which `cmrrecon preprocess --labels` adds"
        )

    others = {
        row["label"]
        for row in rows
        if not is_normal(row["label"]) and not _is_class(row["label"], classes)
    }

    if losses.classification.weight and others:
        found.append(
            "these labels are not in data.classes, so slices without another label count as slices "
            f"without lesions: {', '.join(sorted(others))}"
        )

    return found


def lesion_scores(image: Tensor, target: Tensor, lesion: Tensor) -> dict[str, float]:
    """Return LF-PSNR in dB and LF-SSIM inside lesion boxes; see `evaluation.regions.focused`.

    Parameters
    ----------
    image, target : Tensor of shape (1, y, x)
        Reconstruction and reference.
    lesion : Tensor of shape (y, x), bool
        True inside the boxes, which form one region.

    Returns
    -------
    dict of float
        The scores by name; empty if there is no box, or if no box contains the centre of an SSIM
        window.
    """
    if not bool(lesion[MARGIN:-MARGIN, MARGIN:-MARGIN].any()):
        return {}

    table = focused(image[:, None], target[:, None], [Region("lesion", lesion[None, None])])
    return dict(zip(LESION_SCORES, average(table, [0]), strict=True))


def _rows(entry: Mapping[str, Any], index: int) -> list[Mapping[str, Any]]:
    return [row for row in entry.get("labels") or () if row["slice"] in (None, index)]


def _is_class(label: str, classes: Sequence[str]) -> bool:
    return label.casefold() in {name.casefold() for name in classes}
