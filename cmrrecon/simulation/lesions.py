"""Lesions of the left ventricular wall, in every second slice, with the boxes they fill.

They span about what one coronary artery supplies, and their contrast is stronger than in patients: of lesions half as long, with half the
contrast, a classifier learnt nothing from a thousand slices.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cmrrecon.simulation.shapes import cover, generator, uniform

Box = tuple[int, int, int, int]  # (y0, y1, x0, x1) in pixels, half-open
KINDS = (
    "haemorrhage",
    "oedema",
)  # of `tissues.TISSUES`: darker and brighter than healthy myocardium in cine and T2 maps


@dataclass(frozen=True)
class Lesion:
    """A patch of the wall that begins at the cavity, in coordinates that move with the wall."""

    tissue: str
    angle: float  # of its middle, in radians from the right ventricle
    half: float  # half the angle that it spans
    depth: float  # how far it reaches through the wall, as a fraction of the wall

    @staticmethod
    def draw(seed: int, index: int) -> "Lesion | None":
        """The lesion of a person's slice, or None. Every second slice has one; whether the first does is drawn."""
        first = int(torch.randint(2, (), generator=generator(seed, "lesions")))
        if index % 2 != first:
            return None

        random = generator(seed, "lesion in slice", index)
        return Lesion(
            tissue=KINDS[int(torch.randint(len(KINDS), (), generator=random))],
            angle=uniform(-math.pi, math.pi, random),
            half=uniform(0.6, 1.0, random),
            depth=uniform(0.8, 1.0, random),
        )

    def covered(self, angle: Tensor, radius: Tensor, inner: Tensor, outer: Tensor) -> Tensor:
        """How much of each pixel it covers, Tensor (frame, y, x); what lies outside the wall is not taken away.

        Parameters
        ----------
        angle : Tensor (frame, y, x), in radians, turning with the heart
        radius, inner, outer : Tensor (frame, y, x), distance in mm from the ventricle's centre: of the pixel, and of the wall's borders
        """
        away = ((angle - self.angle + math.pi) % (2 * math.pi) - math.pi).abs()
        along, through = (self.half - away) * radius, inner + self.depth * (outer - inner) - radius
        return cover(along) * cover(through)


def box_of(covered: Tensor) -> Box:
    """The box around all that is covered by half or more of the most, in any frame; of covers (frame, y, x) that are not all zero."""
    most = covered.amax(0)
    shown = most >= most.max() / 2
    (y0, y1), (x0, x1) = (
        (int(at[0]), int(at[-1]) + 1)
        for at in (shown.any(1).nonzero()[:, 0], shown.any(0).nonzero()[:, 0])
    )
    return y0, y1, x0, x1
