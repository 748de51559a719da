"""Lesions of the left ventricular wall, in every second slice, and their bounding boxes.

A lesion covers about the territory of one coronary artery, and its contrast is stronger than in
patients. From a thousand slices with lesions of half this length and contrast, a classifier learnt
nothing.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cmrrecon.simulation.shapes import cover, generator, uniform

Box = tuple[int, int, int, int]  # (y0, y1, x0, x1) in pixels, half-open
# Names in `tissues.TISSUES`, darker and brighter than healthy myocardium in cine and T2 maps.
KINDS = ("haemorrhage", "oedema")


@dataclass(frozen=True)
class Lesion:
    """A patch of the wall that starts at the cavity, in coordinates that move with the wall."""

    tissue: str
    angle: float  # of its centre, in radians from the right ventricle
    half: float  # half the angle that it spans
    depth: float  # depth in the wall, as a fraction of the wall's thickness

    @staticmethod
    def draw(seed: int, index: int) -> "Lesion | None":
        """Draw the lesion of a slice, or return None: every second slice has a lesion.

        The seed decides whether the first slice has one.
        """
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
        """Return how much of each pixel the lesion covers; it may reach beyond the wall.

        Parameters
        ----------
        angle : Tensor of shape (frame, y, x)
            The direction of the pixel in radians; it turns with the heart.
        radius, inner, outer : Tensor of shape (frame, y, x)
            The distance in mm from the ventricle's centre to the pixel and to the borders of the
            wall.

        Returns
        -------
        Tensor of shape (frame, y, x)
            The cover, from 0 to 1.
        """
        away = ((angle - self.angle + math.pi) % (2 * math.pi) - math.pi).abs()
        along, through = (self.half - away) * radius, inner + self.depth * (outer - inner) - radius
        return cover(along) * cover(through)


def box_of(covered: Tensor) -> Box:
    """Return the box around all pixels with at least half of the maximum cover.

    Parameters
    ----------
    covered : Tensor of shape (frame, y, x)
        The cover from 0 to 1, not zero everywhere. A pixel counts if it is covered in any frame.
    """
    most = covered.amax(0)
    shown = most >= most.max() / 2
    (y0, y1), (x0, x1) = (
        (int(at[0]), int(at[-1]) + 1)
        for at in (shown.any(1).nonzero()[:, 0], shown.any(0).nonzero()[:, 0])
    )
    return y0, y1, x0, x1
