"""The chest around the heart in an oblique short-axis plane, as layers that do not move."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cmrrecon.simulation.shapes import cover, ellipse, generator, harmonics, strip, texture, uniform
from cmrrecon.simulation.tissues import Layer

BACK = 0.85  # direction of the spine from the centre of the body, in radians from x towards y

Parts = list[tuple[str, Tensor]]  # tissue and cover (y, x), from below


@dataclass(frozen=True)
class Thorax:
    """One person's chest. Lengths are in mm, the angle in radians from x towards y."""

    half: tuple[float, float]  # half axes (y, x) of the body
    turn: float
    fat: float  # mean thickness under the skin
    muscle: float  # mean thickness of the chest wall below the fat
    dome: float  # y of the top of the liver, at the base of the heart
    seed: int

    @staticmethod
    def draw(seed: int) -> "Thorax":
        """Draw an adult chest that fits into the field of view."""
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
        """Return the point (y, x) at a fraction of the way from the centre to the skin.

        The second value is the direction of the skin there, in radians.
        """
        (half_y, half_x), c, s = self.half, math.cos(angle), math.sin(angle)
        y, x = share * half_y * s, share * half_x * c
        turned = (
            y * math.cos(self.turn) + x * math.sin(self.turn),
            x * math.cos(self.turn) - y * math.sin(self.turn),
        )
        return turned, math.atan2(half_y * c, -half_x * s) + self.turn


def vessels(
    rows: Tensor, columns: Tensor, spacing: float, thickness: float, random: torch.Generator
) -> Tensor:
    """Return the cover (y, x) of the vessels: round spots, and short branches in the slice plane.

    Parameters
    ----------
    rows, columns : Tensor of shape (y, 1) and (1, x)
        The positions of the pixels in mm.
    spacing, thickness : float
        The distance between vessels and their thickness in mm.
    random : torch.Generator
        The source of randomness.
    """
    line, tone = (
        texture(rows, columns, spacing, random),
        texture(rows, columns, 0.7 * spacing, random),
    )

    spots = texture(rows, columns, 1.6 * thickness, random)
    # A field of unit variance changes by about 1 over its length, so scaling makes it a distance.
    along = strip(line * spacing, thickness * (tone - 0.8).clamp(max=1))
    return torch.maximum(along, cover((spots - 1.7) * thickness))


def thorax_layers(thorax: Thorax, position: float, rows: Tensor, columns: Tensor) -> list[Layer]:
    """Return the layers of the chest in one slice, from the skin inwards, without the heart.

    Parameters
    ----------
    thorax : Thorax
        The chest.
    position : float
        The position of the slice, from 0 at the base of the heart to 1 at its apex. The dome of the
        liver is higher in slices near the apex.
    rows, columns : Tensor of shape (y, 1) and (1, x)
        The positions of the pixels in mm.

    Returns
    -------
    list of Layer
        The layers; their cover has the shape (1, y, x).
    """
    random = generator(thorax.seed, "contours")  # shared by all slices
    local = generator(thorax.seed, "thorax in slice", round(position * 1000))
    view = _View(
        thorax,
        position,
        rows,
        columns,
        texture(rows, columns, 14.0, local),
        texture(rows, columns, 4.0, local),
    )

    inside, wall = _wall(view, random, local)
    parts = wall + _ribs(view, random, local)
    cavity, lungs = _lungs(view, inside, local)

    parts += (
        lungs
        + _front_fat(view, cavity, local)
        + _below_the_diaphragm(view, cavity, local)
        + _spine_and_aorta(view)
    )

    grain = (0.7 * view.coarse + 0.7 * view.fine)[None]
    return [Layer(tissue, covered[None], grain) for tissue, covered in parts]


@dataclass(frozen=True)
class _View:
    """One slice of a chest, with textures (y, x) that roughen its contours."""

    thorax: Thorax
    position: float
    rows: Tensor
    columns: Tensor
    coarse: Tensor
    fine: Tensor

    def ellipse(
        self, centre: tuple[float, float], half: tuple[float, float], turn: float = 0.0
    ) -> Tensor:
        """Return the level (y, x) of an ellipse; see `shapes.ellipse`."""
        return ellipse(self.rows, self.columns, centre, half, turn)

    def texture(self, length: float, random: torch.Generator) -> Tensor:
        """Return another texture (y, x) with this length in mm."""
        return texture(self.rows, self.columns, length, random)


def _wall(view: _View, random: torch.Generator, local: torch.Generator) -> tuple[Tensor, Parts]:
    """Return skin, fat and muscles of the chest wall, as nested contours around the body's centre.

    The first value is the level (y, x) of the contour inside the wall.
    """
    thorax, angle = view.thorax, torch.atan2(view.rows, view.columns)
    body = view.ellipse((0, 0), thorax.half, thorax.turn) + 2.0 * harmonics(
        angle, range(2, 6), random
    )

    wall = (
        body
        - 1.8
        - thorax.fat * (1 + 0.25 * harmonics(angle, range(1, 5), random).clamp(-1.5, 1.5))
    )
    inside = wall - thorax.muscle * (1 + 0.15 * harmonics(angle, range(1, 6), random).clamp(-2, 2))

    fat = cover(body - 1.8)
    threads = strip(11 * view.texture(11.0, local), 0.6 + 0.6 * view.coarse)
    between = strip(
        wall - 0.4 * thorax.muscle - 1.5 * view.coarse, 0.8 + 1.2 * view.texture(20.0, local)
    )

    skin, muscle = cover(body), cover(wall)
    return inside, [
        ("muscle", skin),
        ("fat", fat),
        ("muscle", 0.6 * fat * threads),
        ("muscle", muscle),
        ("fat", between),
    ]


def _ribs(view: _View, random: torch.Generator, local: torch.Generator) -> Parts:
    """Return the ribs, cut obliquely: marrow in a dark shell, in the inner half of the wall."""
    thorax, parts = view.thorax, []
    depth = (1.8 + thorax.fat + 0.75 * thorax.muscle) / min(thorax.half)
    start = uniform(0, 0.4, random) + 0.35 * view.position
    for i in range(14):
        centre, tangent = thorax.point(
            1 - depth, start + i * math.pi / 7 + uniform(-0.07, 0.07, local)
        )

        half = (uniform(3.8, 5, local), uniform(7, 12, local))
        rib = view.ellipse(centre, half, tangent + uniform(-0.15, 0.15, local)) + 0.5 * view.fine
        parts += [("bone", cover(rib)), ("marrow", cover(rib - 1.3))]
    return parts


def _lungs(view: _View, inside: Tensor, local: torch.Generator) -> tuple[Tensor, Parts]:
    """Return the chest cavity, narrowed by the long back muscles, and the lungs in it."""
    muscles = view.ellipse(
        view.thorax.point(0.8, BACK)[0], (24, 50), view.thorax.point(0.54, BACK)[1]
    )

    cavity = cover(inside) * (1 - cover(muscles))
    # Near the chest wall pulmonary vessels are thinner than a pixel, so they are fewer and fainter.
    pulmonary = (
        0.75
        * (inside / 70).clamp(0, 1)
        * vessels(view.rows, view.columns, 15.0, 2.6, local)
        * cavity
    )
    return cavity, [("lung", cavity), ("pulmonary", pulmonary)]


def _front_fat(view: _View, cavity: Tensor, local: torch.Generator) -> Parts:
    """Return the fat in front of the heart, which is uncovered as the heart contracts."""
    middle, along = view.thorax.point(0.41, math.pi + 0.38)
    front = (
        cover(
            view.ellipse(middle, (21 + 5 * view.position, 46), along) + 4 * view.coarse.clamp(-2, 1)
        )
        * cavity
    )

    threads = strip(14 * view.texture(14.0, local), 0.8 + 0.6 * view.fine)
    return [("fat", front), ("muscle", 0.5 * front * threads)]


def _below_the_diaphragm(view: _View, cavity: Tensor, local: torch.Generator) -> Parts:
    """Return the liver on the left of the image, and stomach and spleen on the right."""
    coarse, dome, spine = (
        view.coarse,
        view.thorax.dome - 12 * view.position,
        view.thorax.point(0.54, BACK)[0],
    )

    liver = view.ellipse((dome + 74, -52), (74, 112), 0.12) + 2.5 * coarse
    stomach = view.ellipse((dome + 46, 38), (36, 34), 0.5) + 1.5 * coarse
    spleen = view.ellipse((spine[0] - 12, spine[1] + 42), (15, 28), 1.9) + 0.8 * coarse

    return [
        ("muscle", cover(torch.maximum(liver, stomach) + 2.5) * cavity),
        ("fat", cover(stomach + 0.5) * cavity),
        ("muscle", cover(stomach - 2) * cavity),
        ("stomach", cover(stomach - 5 - 1.5 * coarse.abs()) * cavity),
        ("spleen", cover(spleen) * cavity),
        ("liver", cover(liver) * cavity),
        ("venous", vessels(view.rows, view.columns, 26.0, 4.0, local) * cover(liver - 6) * cavity),
        ("venous", cover(view.ellipse((dome + 30, -22), (8, 11), 0.4)) * cavity),
    ]


def _spine_and_aorta(view: _View) -> Parts:
    spine, tangent = view.thorax.point(0.54, BACK)
    vertebra = view.ellipse(spine, (17, 21), tangent) + 0.5 * view.fine
    canal = (spine[0] + 25 * math.sin(BACK), spine[1] + 25 * math.cos(BACK))
    aorta = (spine[0] - 14, spine[1] - 28)
    return [
        ("bone", cover(vertebra)),
        ("marrow", cover(vertebra - 1.5)),
        ("bone", cover(view.ellipse(canal, (9, 13), tangent))),
        ("fluid", cover(view.ellipse(canal, (6.5, 9), tangent))),
        ("fat", cover(view.ellipse(aorta, (14, 15)) + view.coarse)),
        ("muscle", cover(view.ellipse(aorta, (11.5, 11.5)))),
        ("systemic", cover(view.ellipse(aorta, (10, 10)))),
    ]
