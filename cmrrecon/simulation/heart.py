"""A beating heart in short axis, as layers that move with the phase of the cycle."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cmrrecon.simulation.lesions import Lesion
from cmrrecon.simulation.shapes import cover, generator, harmonics, strip, texture, uniform
from cmrrecon.simulation.tissues import Layer

REACH = 100.0  # mm; no part of the heart is farther from the centre of its left ventricle


@dataclass(frozen=True)
class Heart:
    """One person's heart at end-diastole and how it beats. Lengths in mm, angles in radians from x towards y."""

    centre: tuple[float, float]  # of the left ventricle, (y, x)
    radius: float  # of the left ventricular cavity near the base
    wall: float  # mean thickness of the left ventricular wall
    shortening: float  # systolic decrease of the cavity radius, as a fraction
    lengthening: float  # systolic growth of the wall's area in a slice, from long-axis shortening at constant volume
    right: float  # width of the right ventricle near the base
    axis: float  # direction of the right ventricle, seen from the left
    end_systole: float  # as a fraction of the cycle
    twist: float  # systolic rotation at the base
    shift: tuple[float, float]  # systolic displacement of the centre, (y, x)
    seed: int

    @staticmethod
    def draw(seed: int) -> "Heart":
        """A healthy adult heart: values spread about textbook means."""
        random = generator(seed, "heart")
        return Heart(
            centre=(uniform(-20, -13, random), uniform(-6, 6, random)),
            radius=uniform(23, 26.5, random),
            wall=uniform(8, 10, random),
            shortening=uniform(0.29, 0.35, random),
            lengthening=uniform(0.12, 0.2, random),
            right=uniform(27, 33, random),
            axis=math.pi + uniform(0.0, 0.35, random),
            end_systole=uniform(0.32, 0.37, random),
            twist=uniform(0.07, 0.14, random),
            shift=(uniform(1.5, 3.5, random), uniform(-3.0, -1.0, random)),
            seed=seed,
        )


def contraction(phase: Tensor, end_systole: float = 0.34) -> Tensor:
    """How far the ventricle has contracted, 0 at end-diastole and 1 at end-systole, smooth and periodic in the cycle.

    Ejection, fast early filling (three quarters of the volume change), a pause, and the atrial kick just before the next beat.

    Parameters
    ----------
    phase : Tensor (frame,), fraction of the cycle since the R wave
    end_systole : when contraction is greatest, as a fraction of the cycle
    """

    def rise(start: float, stop: float) -> Tensor:
        return 0.5 - 0.5 * torch.cos(math.pi * ((phase % 1 - start) / (stop - start)).clamp(0, 1))

    return rise(0.01, end_systole) - 0.76 * rise(end_systole + 0.03, end_systole + 0.27) - 0.24 * rise(0.82, 0.99)


def surroundings(heart: Heart, rows: Tensor, columns: Tensor) -> tuple[slice, slice]:
    """The part of the picture, as slices along y and x, that holds all the heart ever covers."""
    near = [
        ((axis - middle).abs() < REACH).flatten().nonzero().flatten() for axis, middle in zip((rows, columns), heart.centre, strict=True)
    ]
    return slice(int(near[0][0]), int(near[0][-1]) + 1), slice(int(near[1][0]), int(near[1][-1]) + 1)


def heart_layers(
    heart: Heart,
    position: float,
    phase: Tensor,
    rows: Tensor,
    columns: Tensor,
    moved: tuple[Tensor, Tensor] | None = None,
    lesion: Lesion | None = None,
) -> list[Layer]:
    """The heart in one slice at the given phases, from the outside in.

    All borders are star-shaped about the centre of the left ventricle: distance as a function of angle and time. The wall
    keeps its volume, epi^2 = endo^2 + area * (1 + lengthening * contraction), so it thickens as the cavity contracts, and
    textures are read at the radius a point has at end-diastole, so they move with it.

    Parameters
    ----------
    heart : Heart
    position : of the slice, 0 at the base to 1 at the apex
    phase : Tensor (frame,), fraction of the cycle
    rows, columns : Tensor (y, 1) and (1, x), positions in mm
    moved : extra displacement (y, x) of the whole heart, each Tensor (frame,) in mm
    lesion : of the left ventricular wall, which becomes the last layer

    Returns
    -------
    list of Layer with cover (frame, y, x)
    """
    random = generator(heart.seed, "heart in slice", round(position * 1000))
    squeeze = contraction(phase - 0.03 * position, heart.end_systole)[:, None, None]
    drift_y, drift_x = (d[:, None, None] for d in moved) if moved else (0.0, 0.0)
    dy = rows - (heart.centre[0] + 4 * position + heart.shift[0] * squeeze + drift_y)
    dx = columns - (heart.centre[1] + 6 * position + heart.shift[1] * squeeze + drift_x)
    radius = torch.hypot(dy, dx)
    # The base and the apex turn in opposite directions when the heart wrings itself out.
    angle = torch.atan2(dy, dx) - heart.axis - heart.twist * (1 - 2 * position) * squeeze

    size = math.sqrt(1 - (0.88 * position) ** 2)
    inner_rest = heart.radius * size * (1 + 0.035 * harmonics(angle, range(2, 5), random))
    wall_rest = heart.wall * (1 - 0.2 * position) * (1 - 0.12 * torch.cos(angle)) * (1 + 0.05 * harmonics(angle, range(2, 6), random))
    trabeculae = harmonics(angle, range(7, 17), random)
    # The free wall (opposite the right ventricle) moves more than the septum.
    inner = inner_rest * (1 - heart.shortening * (1 + 0.15 * position - 0.12 * torch.cos(angle)) * squeeze)
    area = (inner_rest + wall_rest) ** 2 - inner_rest**2
    outer = torch.sqrt(inner**2 + area * (1 + heart.lengthening * squeeze))
    border = inner + (0.5 + 0.5 * position) * trabeculae

    # Right ventricle: a crescent on the septum, wider below, that ends 2 mm inside the wall where its width falls to zero.
    off_axis = (angle + math.pi) % (2 * math.pi) - math.pi
    span = 1.42 - 0.55 * position**2
    across = off_axis / span
    crescent = (1 - across**2).clamp(min=0) ** 0.7 * (1 - 0.4 * across)
    width = heart.right * math.sqrt(1 - 0.85 * position**2) * (1 - 0.36 * squeeze) * crescent
    rough = 1.1 * harmonics(angle, range(8, 24), random) * crescent
    right_inner = outer - 2 + width + rough
    right_outer = outer - 2 + width + 5 * crescent.clamp(max=0.7)

    # Fat fills the grooves where the ventricles meet and lies on the right ventricle; the pericardium is a dark line outside.
    grooves = torch.exp(-(((off_axis.abs() - span) / 0.22) ** 2))
    outline = torch.maximum(outer, right_outer)
    fat = outline + 1.2 + (8 - 3 * position) * grooves + 3.5 * crescent.clamp(max=1) + 0.6 * harmonics(angle, range(2, 9), random)

    rest = torch.where(radius < inner, radius / inner * inner_rest, inner_rest + (radius - inner) / (outer - inner) * wall_rest)
    rest = torch.where(radius < outer, rest, inner_rest + wall_rest + radius - outer)
    rest_rows, rest_columns = rest * torch.sin(angle), rest * torch.cos(angle)
    grain = 0.8 * texture(rest_rows, rest_columns, 5.0, random) + 0.6 * texture(rest_rows, rest_columns, 2.5, random)

    layers: list[Layer] = []

    def add(tissue: str, covered: Tensor) -> Tensor:
        layers.append(Layer(tissue, covered, grain))
        return covered

    add("bone", cover(fat + 1.4 - radius))
    add("fat", cover(fat - radius))
    add("myocardium", cover(right_outer - radius))
    cavity = add("right blood", cover(right_inner - radius))
    # The moderator band crosses the middle of the right ventricle.
    band = strip(radius * torch.sin(off_axis - 0.3) + 1.5 * trabeculae, 2.4)
    add("myocardium", band * cavity * math.exp(-(((position - 0.55) / 0.2) ** 2)))
    add("myocardium", cover(outer - radius))
    add("left blood", cover(border - radius))
    # Papillary muscles keep their volume: they get thicker as they shorten, and come closer to each other.
    along, beside = radius * torch.cos(angle), radius * torch.sin(angle)
    reach = heart.radius * size * (1 - heart.shortening * squeeze) * (0.63 + 0.2 * position - 0.04 * squeeze)
    presence = max(0.0, 1.15 * math.exp(-(((position - 0.58) / 0.27) ** 2)) - 0.15)
    for side, thickness in ((math.pi - 0.9, 5.0), (math.pi + 1.1, 4.4)):
        distance = torch.hypot(along - reach * math.cos(side), beside - reach * math.sin(side))
        level = thickness * presence * (1 + 0.08 * squeeze) * (1 + 0.08 * trabeculae) - distance
        add("myocardium", cover(level) * cover(border + 1 - radius))
    # Where the supply of blood is poor: the inner half of the front wall.
    inner_half = cover(inner + 0.5 * (outer - inner) - radius) * cover(radius - border)
    add("ischaemia", inner_half * torch.exp(-((((angle - 1.5 + math.pi) % (2 * math.pi) - math.pi) / 0.65) ** 4)))
    if lesion is not None:
        add(lesion.tissue, lesion.covered(angle, radius, inner, outer) * cover(outer - radius) * cover(radius - border))
    return layers
