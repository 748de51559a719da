"""The chest around the heart in an oblique short-axis plane, as layers that do not move."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cmrrecon.simulation.shapes import cover, ellipse, generator, harmonics, strip, texture, uniform
from cmrrecon.simulation.tissues import Layer

BACK = 0.85  # direction of the spine from the middle of the body, in radians from x towards y


@dataclass(frozen=True)
class Thorax:
    """One person's chest. Lengths in mm, angle in radians from x towards y."""

    half: tuple[float, float]  # half axes (y, x) of the body
    turn: float
    fat: float  # mean thickness under the skin
    muscle: float  # mean thickness of the chest wall inside it
    dome: float  # y of the top of the liver at the base of the heart
    seed: int

    @staticmethod
    def draw(seed: int) -> "Thorax":
        """An adult chest that fits into the field of view."""
        random = generator(seed, "thorax")
        return Thorax(
            half=(uniform(112, 130, random), uniform(146, 162, random)),
            turn=uniform(0.0, 0.2, random),
            fat=uniform(9, 20, random),
            muscle=uniform(12, 16, random),
            dome=uniform(19, 26, random),
            seed=seed,
        )

    def point(self, share: float, angle: float) -> tuple[tuple[float, float], float]:
        """The point (y, x) at this share of the way from the middle to the skin, and the direction of the skin there."""
        (half_y, half_x), c, s = self.half, math.cos(angle), math.sin(angle)
        y, x = share * half_y * s, share * half_x * c
        turned = (y * math.cos(self.turn) + x * math.sin(self.turn), x * math.cos(self.turn) - y * math.sin(self.turn))
        return turned, math.atan2(half_y * c, -half_x * s) + self.turn


def vessels(rows: Tensor, columns: Tensor, spacing: float, thickness: float, random: torch.Generator) -> Tensor:
    """Cover (y, x) of vessels cut by the slice: round spots, and short branches where a vessel runs in it. Lengths in mm."""
    line, tone = texture(rows, columns, spacing, random), texture(rows, columns, 0.7 * spacing, random)
    spots = texture(rows, columns, 1.6 * thickness, random)
    # A field of unit variance changes by about 1 over its length, which makes it a distance.
    along = strip(line * spacing, thickness * (tone - 0.8).clamp(max=1))
    return torch.maximum(along, cover((spots - 1.7) * thickness))


def thorax_layers(thorax: Thorax, position: float, rows: Tensor, columns: Tensor) -> list[Layer]:
    """The chest in one slice, from the skin inwards, without the heart.

    Parameters
    ----------
    thorax : Thorax
    position : of the slice, 0 at the heart's base to 1 at its apex; the liver's dome is higher towards the apex
    rows, columns : Tensor (y, 1) and (1, x), positions in mm

    Returns
    -------
    list of Layer with cover (1, y, x)
    """
    random = generator(thorax.seed, "contours")  # what all slices share
    local = generator(thorax.seed, "thorax in slice", round(position * 1000))
    coarse, fine = texture(rows, columns, 14.0, local), texture(rows, columns, 4.0, local)
    grain = (0.7 * coarse + 0.7 * fine)[None]
    layers: list[Layer] = []

    def add(tissue: str, covered: Tensor) -> Tensor:
        layers.append(Layer(tissue, covered[None], grain))
        return covered

    # Skin, fat, muscles of the chest wall: nested contours around the middle of the body.
    angle = torch.atan2(rows, columns)
    body = ellipse(rows, columns, (0, 0), thorax.half, thorax.turn) + 2.0 * harmonics(angle, range(2, 6), random)
    wall = body - 1.8 - thorax.fat * (1 + 0.25 * harmonics(angle, range(1, 5), random).clamp(-1.5, 1.5))
    inside = wall - thorax.muscle * (1 + 0.15 * harmonics(angle, range(1, 6), random).clamp(-2, 2))
    add("muscle", cover(body))
    fat = add("fat", cover(body - 1.8))
    threads = strip(11 * texture(rows, columns, 11.0, local), 0.6 + 0.6 * coarse)
    add("muscle", 0.6 * fat * threads)
    add("muscle", cover(wall))
    add("fat", strip(wall - 0.4 * thorax.muscle - 1.5 * coarse, 0.8 + 1.2 * texture(rows, columns, 20.0, local)))

    # Ribs, cut obliquely: marrow in a dark shell, in the inner half of the chest wall.
    depth = (1.8 + thorax.fat + 0.75 * thorax.muscle) / min(thorax.half)
    start = uniform(0, 0.4, random) + 0.35 * position
    for i in range(14):
        centre, tangent = thorax.point(1 - depth, start + i * math.pi / 7 + uniform(-0.07, 0.07, local))
        half = (uniform(3.8, 5, local), uniform(7, 12, local))
        rib = ellipse(rows, columns, centre, half, tangent + uniform(-0.15, 0.15, local)) + 0.5 * fine
        add("bone", cover(rib))
        add("marrow", cover(rib - 1.3))

    # The back: long muscles narrow the cavity behind, and the spine stands in front of them.
    spine, tangent = thorax.point(0.54, BACK)
    long_muscles = ellipse(rows, columns, thorax.point(0.8, BACK)[0], (24, 50), tangent)
    cavity = add("lung", cover(inside) * (1 - cover(long_muscles)))
    # Pulmonary vessels are fewer and fainter near the chest wall, where they are too thin to fill a pixel.
    add("pulmonary", 0.75 * (inside / 70).clamp(0, 1) * vessels(rows, columns, 15.0, 2.6, local) * cavity)

    # Fat between the heart and the front of the chest, which the heart uncovers as it contracts.
    middle, along = thorax.point(0.41, math.pi + 0.38)
    front = cover(ellipse(rows, columns, middle, (21 + 5 * position, 46), along) + 4 * coarse.clamp(-2, 1)) * cavity
    add("fat", front)
    add("muscle", 0.5 * front * strip(14 * texture(rows, columns, 14.0, local), 0.8 + 0.6 * fine))

    # Under the diaphragm: liver on the left of the picture, stomach and spleen on the right.
    dome = thorax.dome - 12 * position
    liver = ellipse(rows, columns, (dome + 74, -52), (74, 112), 0.12) + 2.5 * coarse
    stomach = ellipse(rows, columns, (dome + 46, 38), (36, 34), 0.5) + 1.5 * coarse
    add("muscle", cover(torch.maximum(liver, stomach) + 2.5) * cavity)
    add("fat", cover(stomach + 0.5) * cavity)
    add("muscle", cover(stomach - 2) * cavity)
    add("stomach", cover(stomach - 5 - 1.5 * coarse.abs()) * cavity)
    add("spleen", cover(ellipse(rows, columns, (spine[0] - 12, spine[1] + 42), (15, 28), 1.9) + 0.8 * coarse) * cavity)
    add("liver", cover(liver) * cavity)
    add("venous", vessels(rows, columns, 26.0, 4.0, local) * cover(liver - 6) * cavity)
    add("venous", cover(ellipse(rows, columns, (dome + 30, -22), (8, 11), 0.4)) * cavity)

    vertebra = ellipse(rows, columns, spine, (17, 21), tangent) + 0.5 * fine
    add("bone", cover(vertebra))
    add("marrow", cover(vertebra - 1.5))
    canal = (spine[0] + 25 * math.sin(BACK), spine[1] + 25 * math.cos(BACK))
    add("bone", cover(ellipse(rows, columns, canal, (9, 13), tangent)))
    add("fluid", cover(ellipse(rows, columns, canal, (6.5, 9), tangent)))
    aorta = (spine[0] - 14, spine[1] - 28)
    add("fat", cover(ellipse(rows, columns, aorta, (14, 15)) + coarse))
    add("muscle", cover(ellipse(rows, columns, aorta, (11.5, 11.5))))
    add("systemic", cover(ellipse(rows, columns, aorta, (10, 10))))
    return layers
