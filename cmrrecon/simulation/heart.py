"""A beating heart in short-axis view, as layers that move with the phase of the cycle."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from cmrrecon.simulation.lesions import Lesion
from cmrrecon.simulation.shapes import cover, generator, harmonics, strip, texture, uniform
from cmrrecon.simulation.tissues import Layer

REACH = 100.0  # mm; no part of the heart is farther from the centre of the left ventricle


@dataclass(frozen=True)
class Heart:
    """One person's heart at end-diastole, and its motion.

    Lengths are in mm, angles in radians from x towards y.
    """

    centre: tuple[float, float]  # of the left ventricle, (y, x)
    radius: float  # of the left ventricular cavity near the base
    wall: float  # mean thickness of the left ventricular wall
    shortening: float  # systolic decrease of the cavity radius, as a fraction
    # Systolic growth of the wall's area in a slice, from long-axis shortening at constant volume.
    lengthening: float
    right: float  # width of the right ventricle near the base
    axis: float  # direction of the right ventricle as seen from the left one
    end_systole: float  # as a fraction of the cycle
    twist: float  # systolic rotation at the base
    shift: tuple[float, float]  # systolic displacement of the centre, (y, x)
    seed: int

    @staticmethod
    def draw(seed: int) -> "Heart":
        """Draw a healthy adult heart with values around textbook means."""
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
    """Return the ventricle's contraction, smooth and periodic: 0 at end-diastole, 1 at end-systole.

    The cycle consists of ejection, fast early filling (three quarters of the volume change), a
    pause, and the atrial kick just before the next beat.

    Parameters
    ----------
    phase : Tensor of shape (frame,)
        The time since the R wave as a fraction of the cycle.
    end_systole : float
        The time of greatest contraction as a fraction of the cycle.
    """

    def rise(start: float, stop: float) -> Tensor:
        return 0.5 - 0.5 * torch.cos(math.pi * ((phase % 1 - start) / (stop - start)).clamp(0, 1))

    return (
        rise(0.01, end_systole)
        - 0.76 * rise(end_systole + 0.03, end_systole + 0.27)
        - 0.24 * rise(0.82, 0.99)
    )


def surroundings(heart: Heart, rows: Tensor, columns: Tensor) -> tuple[slice, slice]:
    """Return slices along y and x of the part of the image that always contains the heart."""
    near = [
        ((axis - middle).abs() < REACH).flatten().nonzero().flatten()
        for axis, middle in zip((rows, columns), heart.centre, strict=True)
    ]
    return slice(int(near[0][0]), int(near[0][-1]) + 1), slice(
        int(near[1][0]), int(near[1][-1]) + 1
    )


def heart_layers(
    heart: Heart,
    position: float,
    phase: Tensor,
    rows: Tensor,
    columns: Tensor,
    moved: tuple[Tensor, Tensor] | None = None,
    lesion: Lesion | None = None,
) -> list[Layer]:
    """Return the layers of the heart in one slice at the given phases, from the outside inwards.

    All borders are star-shaped about the centre of the left ventricle: their distance from it is a
    function of angle and time. The wall keeps its volume,
    `epi^2 = endo^2 + area * (1 + lengthening * contraction)`, so it thickens as the cavity
    contracts. The texture of a point is looked up at the point's end-diastolic radius, so textures
    move with the tissue.

    Parameters
    ----------
    heart : Heart
        The heart.
    position : float
        The position of the slice, from 0 at the base to 1 at the apex.
    phase : Tensor of shape (frame,)
        The time since the R wave as a fraction of the cycle.
    rows, columns : Tensor of shape (y, 1) and (1, x)
        The positions of the pixels in mm.
    moved : (Tensor, Tensor) of shape (frame,), or None
        An additional displacement (y, x) of the whole heart in mm.
    lesion : Lesion or None
        A lesion of the left ventricular wall, which becomes the last layer.

    Returns
    -------
    list of Layer
        The layers; their cover has the shape (frame, y, x).
    """
    random = generator(heart.seed, "heart in slice", round(position * 1000))
    view = _view(heart, position, phase, rows, columns, moved)
    left = _left(view, random)
    right = _right(view, left, random)
    fat = _fat(view, left, right, random)
    grain = _grain(view, left, random)

    # The pericardium is the dark line around the fat.
    parts = [("bone", cover(fat + 1.4 - view.radius)), ("fat", cover(fat - view.radius))]
    parts += _right_parts(view, left, right) + _left_parts(view, left)

    if lesion is not None:
        parts.append((lesion.tissue, _lesion(view, left, lesion)))

    return [Layer(tissue, covered, grain) for tissue, covered in parts]


@dataclass(frozen=True)
class _View:
    """One slice of a beating heart, in polar coordinates about the left ventricle's centre."""

    heart: Heart
    position: float
    squeeze: Tensor  # (frame, 1, 1), 0 at end-diastole to 1 at end-systole
    radius: Tensor  # (frame, y, x) in mm
    angle: Tensor  # (frame, y, x) from the middle of the right ventricle

    @property
    def off_axis(self) -> Tensor:
        """Return the angle, mapped to -pi to pi."""
        return (self.angle + math.pi) % (2 * math.pi) - math.pi

    @property
    def size(self) -> float:
        """Width of the left ventricle relative to its width at the base."""
        return math.sqrt(1 - (0.88 * self.position) ** 2)

    @property
    def span(self) -> float:
        """Half the angle that the right ventricle spans."""
        return 1.42 - 0.55 * self.position**2


def _view(
    heart: Heart,
    position: float,
    phase: Tensor,
    rows: Tensor,
    columns: Tensor,
    moved: tuple[Tensor, Tensor] | None,
) -> _View:
    squeeze = contraction(phase - 0.03 * position, heart.end_systole)[:, None, None]

    drift_y, drift_x = (d[:, None, None] for d in moved) if moved else (0.0, 0.0)
    dy = rows - (heart.centre[0] + 4 * position + heart.shift[0] * squeeze + drift_y)
    dx = columns - (heart.centre[1] + 6 * position + heart.shift[1] * squeeze + drift_x)

    # The base and the apex turn in opposite directions when the heart wrings itself out.
    angle = torch.atan2(dy, dx) - heart.axis - heart.twist * (1 - 2 * position) * squeeze
    return _View(heart, position, squeeze, torch.hypot(dy, dx), angle)


@dataclass(frozen=True)
class _Left:
    """Borders of the left ventricle (frame, y, x) in each direction, in mm from its centre."""

    inner_rest: Tensor  # inner border of the wall at end-diastole
    wall_rest: Tensor  # thickness at end-diastole
    inner: Tensor
    outer: Tensor
    trabeculae: Tensor  # roughness of unit size
    border: Tensor  # between blood and wall


def _left(view: _View, random: torch.Generator) -> _Left:
    heart, position, squeeze, angle = view.heart, view.position, view.squeeze, view.angle
    inner_rest = heart.radius * view.size * (1 + 0.035 * harmonics(angle, range(2, 5), random))
    wall_rest = (
        heart.wall
        * (1 - 0.2 * position)
        * (1 - 0.12 * torch.cos(angle))
        * (1 + 0.05 * harmonics(angle, range(2, 6), random))
    )

    trabeculae = harmonics(angle, range(7, 17), random)
    # The free wall (opposite the right ventricle) moves more than the septum.
    inner = inner_rest * (
        1 - heart.shortening * (1 + 0.15 * position - 0.12 * torch.cos(angle)) * squeeze
    )

    area = (inner_rest + wall_rest) ** 2 - inner_rest**2
    outer = torch.sqrt(inner**2 + area * (1 + heart.lengthening * squeeze))
    return _Left(
        inner_rest, wall_rest, inner, outer, trabeculae, inner + (0.5 + 0.5 * position) * trabeculae
    )


@dataclass(frozen=True)
class _Right:
    """Borders of the right ventricle (frame, y, x), in mm from the centre of the left one."""

    crescent: Tensor  # relative width
    inner: Tensor
    outer: Tensor


def _right(view: _View, left: _Left, random: torch.Generator) -> _Right:
    """Return the right ventricle, a crescent on the septum that is wider below.

    It ends 2 mm inside the wall, with zero width.
    """
    across = view.off_axis / view.span
    crescent = (1 - across**2).clamp(min=0) ** 0.7 * (1 - 0.4 * across)
    width = (
        view.heart.right
        * math.sqrt(1 - 0.85 * view.position**2)
        * (1 - 0.36 * view.squeeze)
        * crescent
    )

    rough = 1.1 * harmonics(view.angle, range(8, 24), random) * crescent
    return _Right(
        crescent,
        left.outer - 2 + width + rough,
        left.outer - 2 + width + 5 * crescent.clamp(max=0.7),
    )


def _fat(view: _View, left: _Left, right: _Right, random: torch.Generator) -> Tensor:
    """Return the outer border of the fat between the ventricles and on the right ventricle."""
    grooves = torch.exp(-(((view.off_axis.abs() - view.span) / 0.22) ** 2))

    outline = torch.maximum(left.outer, right.outer)
    rough = 0.6 * harmonics(view.angle, range(2, 9), random)
    return (
        outline
        + 1.2
        + (8 - 3 * view.position) * grooves
        + 3.5 * right.crescent.clamp(max=1)
        + rough
    )


def _grain(view: _View, left: _Left, random: torch.Generator) -> Tensor:
    """Return a texture that moves with the tissue: it is looked up at end-diastolic positions."""
    radius, inner, outer = view.radius, left.inner, left.outer
    in_wall = left.inner_rest + (radius - inner) / (outer - inner) * left.wall_rest
    rest = torch.where(radius < inner, radius / inner * left.inner_rest, in_wall)
    rest = torch.where(radius < outer, rest, left.inner_rest + left.wall_rest + radius - outer)

    rows, columns = rest * torch.sin(view.angle), rest * torch.cos(view.angle)
    return 0.8 * texture(rows, columns, 5.0, random) + 0.6 * texture(rows, columns, 2.5, random)


def _right_parts(view: _View, left: _Left, right: _Right) -> list[tuple[str, Tensor]]:
    """Return wall and blood of the right ventricle, and the moderator band across its middle."""
    cavity = cover(right.inner - view.radius)
    band = strip(view.radius * torch.sin(view.off_axis - 0.3) + 1.5 * left.trabeculae, 2.4)
    band = band * cavity * math.exp(-(((view.position - 0.55) / 0.2) ** 2))
    return [
        ("myocardium", cover(right.outer - view.radius)),
        ("right blood", cavity),
        ("myocardium", band),
    ]


def _left_parts(view: _View, left: _Left) -> list[tuple[str, Tensor]]:
    """Return wall and blood of the left ventricle, papillary muscles, and poorly perfused wall."""
    parts = [
        ("myocardium", cover(left.outer - view.radius)),
        ("left blood", cover(left.border - view.radius)),
    ]
    parts += [("myocardium", muscle) for muscle in _papillary_muscles(view, left)]
    return [*parts, ("ischaemia", _poor_supply(view, left))]


def _papillary_muscles(view: _View, left: _Left) -> Iterator[Tensor]:
    """Return the papillary muscles, which thicken and approach each other as they shorten."""
    position, squeeze, radius = view.position, view.squeeze, view.radius

    along, beside = radius * torch.cos(view.angle), radius * torch.sin(view.angle)
    reach = (
        view.heart.radius
        * view.size
        * (1 - view.heart.shortening * squeeze)
        * (0.63 + 0.2 * position - 0.04 * squeeze)
    )

    presence = max(0.0, 1.15 * math.exp(-(((position - 0.58) / 0.27) ** 2)) - 0.15)
    for side, thickness in ((math.pi - 0.9, 5.0), (math.pi + 1.1, 4.4)):
        distance = torch.hypot(along - reach * math.cos(side), beside - reach * math.sin(side))
        level = (
            thickness * presence * (1 + 0.08 * squeeze) * (1 + 0.08 * left.trabeculae) - distance
        )
        yield cover(level) * cover(left.border + 1 - radius)


def _poor_supply(view: _View, left: _Left) -> Tensor:
    """Return the poorly perfused region, the inner half of the anterior wall."""
    inner_half = cover(left.inner + 0.5 * (left.outer - left.inner) - view.radius) * cover(
        view.radius - left.border
    )

    from_front = (view.angle - 1.5 + math.pi) % (2 * math.pi) - math.pi
    return inner_half * torch.exp(-((from_front / 0.65) ** 4))


def _lesion(view: _View, left: _Left, lesion: Lesion) -> Tensor:
    """Return the part of the lesion inside the wall."""
    in_wall = cover(left.outer - view.radius) * cover(view.radius - left.border)
    return lesion.covered(view.angle, view.radius, left.inner, left.outer) * in_wall
