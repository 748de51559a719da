"""The scenes: a chest with a beating heart as each kind of scan shows it, without coils or noise.

The seed determines everything: equal seeds lead to the same numbers, different seeds to different
people. Shapes are defined in millimetres of `shapes.FIELD_OF_VIEW`, so every matrix size shows
the same chest.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from cmrrecon.simulation.heart import Heart, heart_layers, surroundings
from cmrrecon.simulation.kinetics import bolus
from cmrrecon.simulation.lesions import Box, Lesion, box_of
from cmrrecon.simulation.shapes import generator, grid, uniform
from cmrrecon.simulation.thorax import Thorax, thorax_layers
from cmrrecon.simulation.tissues import (
    cine_signals,
    inversion_recovery,
    paint,
    saturation_recovery,
    t2_preparation,
)
from cmrrecon.tools.errors import UsageError

# Sorted inversion times in ms of MOLLI 4-(1)-3-(1)-2 with 900 ms between beats and three inversions
# 80 ms apart, and the T2 preparation times in ms of CMRxRecon.
INVERSION_TIMES = (100.0, 180.0, 260.0, 1000.0, 1080.0, 1160.0, 1900.0, 1980.0, 2800.0)
PREPARATION_TIMES = (0.0, 35.0, 55.0)
DIASTASIS = 0.72  # phase of the cycle when the heart is nearly still and single images are acquired
PASSAGE = 40.0  # s, duration of a perfusion scan
SATURATION_DELAY = 100.0  # ms
RELAXIVITY = 4.5e-3  # 1/ms per mmol/l, of a gadolinium agent in blood at 3 T


class Phantom(NamedTuple):
    """The image of a scene and its ground truth.

    Attributes
    ----------
    image : Tensor of shape (frame, slice, y, x), complex64
        The noise-free image.
    times : Tensor of shape (frame, slice), or None
        The weighting times in ms, for mapping.
    lesions : tuple of (Box or None), or None
        For each slice the bounding box of its lesion over all frames, or None if it has no lesion;
        None if lesions were not requested.
    """

    image: Tensor
    times: Tensor | None = None
    lesions: tuple[Box | None, ...] | None = None


def positions(slices: int) -> list[float]:
    """Return the positions of the slices from base (0) to apex (1): the centres of equal parts."""
    return [(i + 0.5) / slices for i in range(slices)]


def receive_field(rows: Tensor, columns: Tensor, seed: int) -> Tensor:
    """Return the smooth complex field (y, x) that multiplies the image.

    Surface coils brighten the front. The phase is a polynomial of second order plus a blob below
    the heart, where lung and liver disturb the main field.
    """
    random = generator(seed, "receive field")
    v, u = rows / 160, columns / 160
    c = torch.randn(6, generator=random) * torch.tensor([1.5, 0.8, 0.8, 0.4, 0.4, 0.4])

    blob = torch.exp(
        -((rows - uniform(5, 35, random)) ** 2 + (columns - uniform(-20, 40, random)) ** 2)
        / (2 * 35.0**2)
    )

    phase = (
        c[0]
        + c[1] * u
        + c[2] * v
        + c[3] * u * v
        + c[4] * u**2
        + c[5] * v**2
        + uniform(0.5, 1.1, random) * blob
    )

    shade = 0.9 * torch.exp(-0.35 * v - 0.15 * u + 0.12 * (u**2 + v**2))
    return torch.polar(shade.expand_as(phase), phase)


def scene(
    slices: int,
    y: int,
    x: int,
    seed: int,
    phase: Tensor,
    signals: dict[str, Tensor],
    moved: tuple[Tensor, Tensor] | None = None,
    *,
    lesions: bool = False,
) -> Phantom:
    """Return the images of one person, without weighting times.

    Phase and signals may each change from frame to frame or stay constant.

    Parameters
    ----------
    slices, y, x : int
        The number of slices, and the size in pixels.
    seed : int
        Identifies the person.
    phase : Tensor of shape (frame|1,)
        The time since the R wave as a fraction of the cycle.
    signals : dict of Tensor of shape (frame|1,)
        The signal of each tissue, from the functions in `tissues`.
    moved : (Tensor, Tensor) of shape (frame,), or None
        The displacement (y, x) of the whole heart in mm.
    lesions : bool
        Whether every second slice has a lesion; see `Lesion.draw`.
    """
    rows, columns = grid(y, x)
    thorax, heart = Thorax.draw(seed), Heart.draw(seed)
    field = receive_field(rows, columns, seed)
    frames = max(len(phase), *(len(signal) for signal in signals.values()))
    near = surroundings(heart, rows, columns)

    images, boxes = [], []
    for index, position in enumerate(positions(slices)):
        image = (
            paint(thorax_layers(thorax, position, rows, columns), signals)
            .expand(frames, y, x)
            .clone()
        )

        lesion = Lesion.draw(seed, index) if lesions else None
        layers = heart_layers(
            heart, position, phase, rows[near[0]], columns[:, near[1]], moved, lesion
        )

        image[:, *near] = paint(layers, signals, image[:, *near])
        images.append(image * field)
        boxes.append(_shifted_box(box_of(layers[-1].cover), near) if lesion else None)

    return Phantom(torch.stack(images, 1), lesions=tuple(boxes) if lesions else None)


def _shifted_box(box: Box, near: tuple[slice, slice]) -> Box:
    """Convert a box in a part of the image to coordinates of the whole image."""
    y0, y1, x0, x1 = box
    return y0 + near[0].start, y1 + near[0].start, x0 + near[1].start, x1 + near[1].start


def cine(frames: int, slices: int, y: int, x: int, seed: int, lesions: bool = False) -> Phantom:
    """Return a balanced SSFP cine of one cycle from the R wave; the frames are periodic."""
    return scene(slices, y, x, seed, torch.arange(frames) / frames, cine_signals(), lesions=lesions)


def perfusion(
    frames: int, slices: int, y: int, x: int, seed: int, lesions: bool = False
) -> Phantom:
    """Return the first pass of a contrast bolus, imaged by saturation recovery.

    Part of the wall has poor flow in its inner half. The frames are equally spaced over 40 s. Each
    is acquired at nearly the same phase of the heart, which moves by a few millimetres as the
    breath-hold relaxes.
    """
    random = generator(seed, "perfusion")
    times = PASSAGE * (torch.arange(frames) + 0.5) / frames
    added_rate = {
        tissue: RELAXIVITY * concentration for tissue, concentration in bolus(times).items()
    }

    phase = DIASTASIS + 0.01 * torch.randn(frames, generator=random)
    breath = torch.sin(
        2 * math.pi * times / uniform(6, 9, random)
    ) * times / PASSAGE + 0.2 * torch.randn(frames, generator=random)

    moved = (2.0 * breath, 0.6 * breath)
    return scene(
        slices,
        y,
        x,
        seed,
        phase,
        saturation_recovery(SATURATION_DELAY, added_rate),
        moved,
        lesions=lesions,
    )


def t1map(frames: int, slices: int, y: int, x: int, seed: int, lesions: bool = False) -> Phantom:
    """Return inversion recovery images at the first `frames` of the MOLLI times.

    The signal is signed: tissue that is still inverted has the opposite phase.

    Raises
    ------
    UsageError
        If there are more frames than inversion times (`option-value`).
    """
    times = weighting_times("t1map", INVERSION_TIMES, frames)
    made = scene(
        slices, y, x, seed, torch.tensor([DIASTASIS]), inversion_recovery(times), lesions=lesions
    )
    return made._replace(times=times[:, None].repeat(1, slices))


def t2map(frames: int, slices: int, y: int, x: int, seed: int, lesions: bool = False) -> Phantom:
    """Return images of the T2 decay at the first `frames` of the T2 preparation times.

    Raises
    ------
    UsageError
        If there are more frames than preparation times (`option-value`).
    """
    times = weighting_times("t2map", PREPARATION_TIMES, frames)
    made = scene(
        slices, y, x, seed, torch.tensor([DIASTASIS]), t2_preparation(times), lesions=lesions
    )
    return made._replace(times=times[:, None].repeat(1, slices))


def weighting_times(kind: str, times: tuple[float, ...], frames: int) -> Tensor:
    """Return the first `frames` of the times in ms, (frame,)."""
    if frames > len(times):
        raise UsageError(
            "option-value",
            f"{frames} frames of {kind} were requested",
            f"There are {len(times)} weightings, one per frame",
            f"Request at most {len(times)} frames",
        )
    return torch.tensor(times[:frames])
