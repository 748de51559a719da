"""The left ventricular wall in the 16 segments of the American Heart Association (AHA).

Angles are measured about the centre of the left ventricle, from x towards y. In images displayed as
seen from the apex they increase clockwise.

References
----------
Cerqueira et al., Circulation 2002;105:539.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from cmrrecon.tools.errors import InputError, UsageError

# Labels in the challenge's label maps.
CAVITY, MYOCARDIUM, RIGHT = 1, 2, 3
LEVELS = ("basal", "mid", "apical")
LEFT_OUT = "-"
NAMES = (
    *(
        f"{level} {wall}"
        for level in LEVELS[:2]
        for wall in (
            "anterior",
            "anteroseptal",
            "inferoseptal",
            "inferior",
            "inferolateral",
            "anterolateral",
        )
    ),
    *(f"apical {wall}" for wall in ("anterior", "septal", "inferior", "lateral")),
)
# Segments from the anterior insertion through the septum and back, at the basal level.
FREE_WALL = (4, 5, 6, 1)
# Apical segments from the middle of the septum onwards.
APICAL = (14, 15, 16, 13)
TOUCH = 2  # pixels; the right ventricle touches the wall if it is at most this far away

# Anterior and inferior insertion of the right ventricle in pixels: (y, x, y, x).
Insertion = tuple[float, float, float, float]


@dataclass(frozen=True)
class Segment:
    """The fitted values in one AHA segment.

    Attributes
    ----------
    number : int
        Number of the segment, 1 to 16.
    name : str
        Its name.
    mean, deviation : float
        Mean and standard deviation over its fitted pixels, in ms; NaN if there are none.
    pixels, failed : int
        Number of its fitted pixels, and of those that could not be fitted.
    """

    number: int
    name: str
    mean: float
    deviation: float
    pixels: int
    failed: int


def aha_segments(
    labels: Tensor,
    *,
    insertions: Sequence[Insertion] | None = None,
    levels: Sequence[str] | None = None,
    aspect: float = 1.0,
) -> Tensor:
    """Divide the myocardium into the 16 AHA segments.

    The septum lies between the two insertions of the right ventricle. At the basal and mid level
    it is divided into two segments and the rest of the wall into four, of equal angles. At the
    apical level there are four segments of 90 degrees, the septal one in the middle of the septum.

    Without `insertions`, they are the ends of the wall that touches label 3, the right ventricle;
    the anterior one is the first clockwise, as in images displayed as seen from the apex. A slice
    without this label uses the angles of the nearest slice.

    Parameters
    ----------
    labels : Tensor of shape (slice, y, x), int
        Label map: 1 cavity of the left ventricle, 2 myocardium, 3 right ventricle.
    insertions : sequence of (float, float, float, float), optional
        Anterior and inferior insertion (y, x, y, x) in pixels, for all slices or for each slice.
        The septum is the shorter way from one to the other.
    levels : sequence of str, optional
        `basal`, `mid`, `apical` or `-` (left out) for each slice. None: the slices with myocardium
        are divided into thirds, the first at the base; a single one is at the mid level.
    aspect : float
        Height of a pixel divided by its width.

    Returns
    -------
    Tensor of shape (slice, y, x), int64
        The number of the segment, 1 to 16; 0 outside the myocardium.

    Raises
    ------
    InputError
        If there is no myocardium (`labels-empty`), or the insertions cannot be found
        (`insertions-missing`).
    UsageError
        If there is not one level for each slice (`option-value`), or the insertions are not inside
        the images or are not one for each slice (`box-outside`, `option-value`).
    """
    wall = labels == MYOCARDIUM
    shown = [z for z in range(len(labels)) if bool(wall[z].any())]
    if not shown:
        raise InputError(
            "labels-empty",
            f"No pixel is labelled {MYOCARDIUM} in these slices",
            "The label map must contain the myocardium, which has this label",
            "Use the label map of these slices",
        )
    heights = _levels(levels, shown, len(labels))
    if insertions is not None:
        _check_insertions(insertions, labels.shape)

    angles = {z: _angles(labels[z], _middle(labels[z]), aspect) for z in shown}
    septa = {
        z: _given_septum(insertions[z if len(insertions) > 1 else 0], labels[z], aspect)
        if insertions is not None
        else _touched_septum(labels[z], angles[z])
        for z in shown
    }
    known = [z for z in shown if septa[z] is not None]
    if not known:
        raise InputError(
            "insertions-missing",
            f"The label map has no label {RIGHT} that touches the myocardium",
            "The segments start where the right ventricle is attached to the left one",
            "Give the two points with --insertion, or label the right ventricle",
        )

    found = torch.zeros_like(labels, dtype=torch.int64)
    for z in shown:
        if heights[z] is None:
            continue
        start, span = septa[min(known, key=lambda other: abs(other - z))] or (0.0, 1.0)
        numbers = _numbers(angles[z], start, span, str(heights[z]))
        found[z] = torch.where(wall[z], numbers, 0)
    return found


def segment_values(values: Tensor, segments: Tensor) -> tuple[Segment, ...]:
    """Return mean and standard deviation of fitted values (slice, y, x) in every segment present.

    Pixels that are NaN could not be fitted; they are counted, but excluded from the mean.
    """
    rows = []
    for number, name in enumerate(NAMES, 1):
        inside = values[segments == number].double()
        if not len(inside):
            continue

        fitted = inside[inside.isfinite()]
        rows.append(
            Segment(
                number=number,
                name=name,
                mean=float(fitted.mean()),
                deviation=float(fitted.std(correction=0)) if len(fitted) else math.nan,
                pixels=len(fitted),
                failed=len(inside) - len(fitted),
            )
        )
    return tuple(rows)


def _levels(given: Sequence[str] | None, shown: Sequence[int], count: int) -> dict[int, str | None]:
    """Return the level of each slice with myocardium; None leaves it out."""
    if given is None:
        if len(shown) == 1:
            return {shown[0]: LEVELS[1]}
        return {z: LEVELS[3 * place // len(shown)] for place, z in enumerate(shown)}

    if len(given) != count or set(given) - {*LEVELS, LEFT_OUT}:
        raise UsageError(
            "option-value",
            f"The levels are {','.join(map(str, given))}",
            f"Each of the {count} slices needs one of {', '.join(LEVELS)} or {LEFT_OUT}",
            "For example, write --levels basal,mid,apical",
        )
    return {z: None if given[z] == LEFT_OUT else given[z] for z in shown}


def _check_insertions(insertions: Sequence[Insertion], shape: Sequence[int]) -> None:
    """Refuse points outside the images, and another number than one or one for each slice."""
    slices, y, x = shape
    if len(insertions) not in (1, slices):
        raise UsageError(
            "option-value",
            f"There are {len(insertions)} pairs of insertion points for {slices} slices",
            "One pair for all slices or one for each is needed",
            "Give one pair, or one for each slice in order",
        )

    for top, left, bottom, right in insertions:
        inside = all(0 <= row < y for row in (top, bottom)) and all(
            0 <= column < x for column in (left, right)
        )
        if not inside or (top, left) == (bottom, right):
            raise UsageError(
                "box-outside",
                f"The insertion points are ({top:g}, {left:g}) and ({bottom:g}, {right:g})",
                f"They must be two different points in images of {y} x {x} pixels (y, x)",
                "Give them as y,x,y,x: the anterior one, then the inferior one",
            )


def _middle(labels: Tensor) -> tuple[float, float]:
    """Return the centre (y, x) of the left ventricle: that of the cavity, or else of the wall."""
    inside = labels == CAVITY
    if not bool(inside.any()):
        inside = labels == MYOCARDIUM
    y, x = inside.nonzero().double().mean(0).tolist()
    return y, x


def _angles(labels: Tensor, middle: tuple[float, float], aspect: float) -> Tensor:
    """Return the angle of each pixel about a centre, (y, x)."""
    rows = torch.arange(labels.shape[0], dtype=torch.float64, device=labels.device) - middle[0]
    columns = torch.arange(labels.shape[1], dtype=torch.float64, device=labels.device) - middle[1]
    return torch.atan2(aspect * rows[:, None], columns[None])


def _given_septum(insertion: Insertion, labels: Tensor, aspect: float) -> tuple[float, float]:
    """Return the angle of the anterior insertion, and the signed angle from it to the inferior."""
    y, x = _middle(labels)
    anterior, inferior = (
        math.atan2(aspect * (row - y), column - x) for row, column in (insertion[:2], insertion[2:])
    )
    return anterior, math.remainder(inferior - anterior, math.tau)


def _touched_septum(labels: Tensor, angles: Tensor) -> tuple[float, float] | None:
    """Return the septum as `_given_septum` does, from the wall that the right ventricle touches."""
    right = (labels == RIGHT).double()
    near = max_pool2d(right[None], 2 * TOUCH + 1, stride=1, padding=TOUCH)[0] > 0
    touched = angles[near & (labels == MYOCARDIUM)]
    if len(touched) < 2:
        return None

    towards = math.atan2(float(touched.sin().sum()), float(touched.cos().sum()))
    offset = torch.remainder(touched - towards + math.pi, math.tau) - math.pi
    first, last = float(offset.max()), float(offset.min())
    return None if first == last else (towards + first, last - first)


def _numbers(angles: Tensor, start: float, span: float, level: str) -> Tensor:
    """Return the number of the segment at each angle of a level."""
    way = torch.remainder((angles - start) * math.copysign(1.0, span), math.tau)
    septum = abs(span)
    if level == LEVELS[2]:
        quarter = math.tau / 4
        place = torch.remainder(way - septum / 2 + quarter / 2, math.tau) / quarter
        return torch.tensor(APICAL, device=angles.device)[place.long().clamp(max=3)]

    free = (way - septum) / ((math.tau - septum) / len(FREE_WALL))
    rest = torch.tensor(FREE_WALL, device=angles.device)[free.long().clamp(0, 3)]
    numbers = torch.where(way < septum, torch.where(way < septum / 2, 2, 3), rest)
    return numbers + (6 if level == LEVELS[1] else 0)
