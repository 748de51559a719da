"""Random dynamic scenes, without any data: what a network for reconstruction learns from.

A scene is a material image (`random_materials`) that is carried by a motion (heart beats, breathing, drift), seen through a phase and, in
part of the scenes, changes in contrast, is tagged, has flow in it, or folds over at the edge of the field of view. Everything follows from
the seed and the number of the scene alone.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from cmrrecon.operators.fourier import fft2c, ifft2c
from cmrrecon.simulation.random_materials import (
    FALL,
    FINE,
    Ventricle,
    fractal,
    random_materials,
    random_ventricles,
    smooth_field,
)
from cmrrecon.simulation.shapes import generator, happens, uniform

# How often scenes have what; the rest follows from these.
STATIC, APERIODIC, BREATHING = 0.15, 0.43, 0.2
CONTRAST, TAGGED, FLOW, BLACK_BLOOD = 0.20, 0.05, 0.08, 0.08
DRIFTING, SOFT = 0.15, 0.3
# How often tissue and blood change over time around ventricles, as where the heart moves through the slice and blood flows; in how many
# patterns, and the greatest standard deviation of the logarithm of each.
THROUGH, CHANGES, CHANGE = 0.7, 3, 0.2
# How far from its wall tissue moves with a ventricle, in multiples of its radius. How much shapes are bent, in parts of the shorter side.
REACH, BENT = (0.3, 1.5), 0.2
# Magnitude images of scanners are nowhere zero: how often there is a haze, up to which part of the brightest, and how grainy it is.
HAZY, HAZE, GRAIN = 0.6, 0.05, 0.4
# How often fat near the coils is so bright that the rest lies below this part of it, as a clipped image would show it.
CLIPPED, CLIP = 0.4, (0.3, 0.9)
# How often the body is larger than the field of view along y and folds over, and how much larger at most.
FOLDED, TALL = 0.3, 1.3


@dataclass(frozen=True)
class Scene:
    """What was drawn.

    Attributes
    ----------
    images : Tensor (frame, y, x) complex64, brightest tissue about one
    kinds : what is special about it, such as "tagged"
    """

    images: Tensor
    kinds: tuple[str, ...]


def random_scene(seed: int, number: int, frames: int, y: int, x: int) -> Scene:
    """Scene `number` of a seed, of any size.

    Parameters
    ----------
    frames, y, x : how many frames, and pixels
    """
    draw = generator(seed, "scene", number)
    kinds = _random_kinds(draw)
    still, periodic = "static" in kinds, "aperiodic" not in kinds
    rows, y = y, int(y * uniform(1, TALL, draw)) if happens(FOLDED, draw) else y

    ventricles = random_ventricles(y, x, draw)
    materials = random_materials(
        y, x, ventricles, "contrast" in kinds, "black blood" in kinds, draw
    )
    beat = torch.zeros(frames) if still else heart_beat(frames, draw, periodic=periodic)
    places = _motion(frames, y, x, ventricles, beat, draw, still=still, periodic=periodic)
    layers = _carried(materials, places + _bend(y, x, draw))

    weights = _contrast(frames, len(materials) - 1, draw)
    magnetisation = torch.einsum("tk,tkyx->tyx", weights, layers[:, :-1])
    if happens(THROUGH, draw) and not still:
        changes = _near(ventricles, y, x) * _changes(beat, y, x, draw)
        magnetisation = magnetisation * torch.exp(changes)
    if "tagged" in kinds:
        magnetisation = magnetisation * _tags(places, draw)

    phase = _phase(frames, y, x, draw) + layers[:, -1]
    if "flow" in kinds:
        phase = phase + _flow(magnetisation, beat, draw)
    magnetisation = _as_shown(magnetisation, draw)
    images = _folded(magnetisation * torch.polar(torch.ones_like(phase), phase), rows)
    if happens(SOFT, draw):
        images = _softened(images, uniform(0.75, 1.0, draw), uniform(0.75, 1.0, draw))
    return Scene(images / _brightness(images), tuple(kinds))


def _random_kinds(draw: torch.Generator) -> list[str]:
    """What is special about a scene."""
    still, irregular = happens(STATIC, draw), happens(APERIODIC, draw)
    kinds = ["static"] if still else ["aperiodic"] if irregular else []
    shares = {"contrast": CONTRAST, "tagged": TAGGED, "flow": FLOW, "black blood": BLACK_BLOOD}
    return kinds + [kind for kind, share in shares.items() if happens(share, draw)]


def _flow(magnetisation: Tensor, beat: Tensor, draw: torch.Generator) -> Tensor:
    """The phase (frame, y, x) that moving blood, the brightest tissue, adds with the beat."""
    blood = magnetisation.abs() > 0.5 * magnetisation.abs().amax()
    strength = uniform(1, 3, draw) * beat[:, None, None]
    return strength * smooth_field((blood.shape[1], blood.shape[2]), 6, draw) * blood


def _brightness(images: Tensor) -> Tensor:
    """The magnitude that nearly all pixels stay below, from a part of them where there are many."""
    magnitudes = images.abs().flatten()[:: max(1, images.numel() // 100_000)]
    return torch.quantile(magnitudes, 0.99).clamp(min=1e-3)


def _as_shown(magnetisation: Tensor, draw: torch.Generator) -> Tensor:
    """Magnetisation clipped where it is brightest and with a haze over it, as scanners show it."""
    if happens(CLIPPED, draw):
        limit = uniform(*CLIP, draw) * float(magnetisation.abs().amax())
        magnetisation = magnetisation.clamp(-limit, limit)
    if happens(HAZY, draw):
        grain = 1 + GRAIN * torch.randn(magnetisation.shape, generator=draw)
        magnetisation = magnetisation + uniform(0, HAZE, draw) * float(
            magnetisation.abs().amax()
        ) * grain.clamp(min=0)
    return magnetisation


def heart_beat(frames: int, draw: torch.Generator, *, periodic: bool) -> Tensor:
    """Contraction (frame,) from 0 to 1: fast systole, slow diastole; one beat over the frames, or beats of changing length and strength."""
    if periodic:
        return pulse((torch.arange(frames) / frames + uniform(0, 1, draw)) % 1)

    place, phases, strengths = uniform(0, 1, draw), [], []
    length, strength = uniform(4, 24, draw), uniform(0.6, 1, draw)

    for _ in range(frames):
        phases.append(place % 1)
        strengths.append(strength)
        place += 1 / length
        if place >= 1:
            place -= 1
            # The next beat may come early and be weak.
            length, strength = length * uniform(0.7, 1.3, draw), uniform(0.5, 1, draw)
            length = min(max(length, 4.0), 30.0)

    return pulse(torch.tensor(phases)) * torch.tensor(strengths)


def pulse(phase: Tensor) -> Tensor:
    """Contraction at phases in [0, 1): up within a third of the beat, down in the rest, with a diastole at rest."""
    rise, fall = 0.35, 0.45
    up = torch.sin(math.pi / 2 * (phase / rise).clamp(0, 1)).square()
    down = torch.cos(math.pi / 2 * ((phase - rise) / fall).clamp(0, 1)).square()
    return torch.where(phase < rise, up, down)


def _motion(
    frames: int,
    y: int,
    x: int,
    ventricles: list[Ventricle],
    beat: Tensor,
    draw: torch.Generator,
    *,
    still: bool,
    periodic: bool,
) -> Tensor:
    """Where in the material each pixel looks: (frame, y, x, 2) in pixels, rows first."""
    rows, columns = torch.meshgrid(
        torch.arange(y, dtype=torch.float32), torch.arange(x, dtype=torch.float32), indexing="ij"
    )
    places = torch.stack((rows, columns), -1).expand(frames, y, x, 2).clone()
    if still:
        return places

    time = torch.arange(frames) / max(1, frames)
    if happens(BREATHING, draw):
        cycles = 1.0 if periodic else uniform(0.2, 2.0, draw)
        size = uniform(0, 1.0, draw) if periodic else uniform(1, 8, draw)
        breath = size * torch.sin(2 * math.pi * (cycles * time + uniform(0, 1, draw)))

        # The inside of the chest moves, its wall stays.
        inside = (1 - ((rows / y - 0.5) / 0.45) ** 4).clamp(min=0) * (
            1 - ((columns / x - 0.5) / 0.45) ** 4
        ).clamp(min=0)

        way = uniform(0, 2 * math.pi, draw)
        shift = torch.tensor([math.sin(way), math.cos(way)])
        places = places + breath[:, None, None, None] * inside[None, ..., None] * shift

    if not periodic and happens(DRIFTING, draw):
        places = places + time[:, None, None, None] * torch.tensor(
            [uniform(-4, 4, draw), uniform(-4, 4, draw)]
        )

    reach = uniform(*REACH, draw)
    for ventricle in ventricles:
        places = places + beat_displacement(places, ventricle, beat, reach)
    return places


def beat_displacement(places: Tensor, ventricle: Ventricle, beat: Tensor, reach: float) -> Tensor:
    """What takes places (frame, y, x, 2) back to where their tissue is at rest, when a ventricle has contracted by `beat` (frame,).

    Outside the cavity areas are kept, so that the wall thickens: R^2 = r^2 + inner^2 - inner(t)^2; inside the cavity radii are stretched.
    Outside of the wall the displacement fades within `reach` of its radii.
    """
    offset = places - torch.tensor(ventricle.centre)
    r = offset.norm(dim=-1).clamp(min=1e-3)
    now = (ventricle.inner * (1 - ventricle.stroke * beat))[:, None, None]
    outside = (r.square() + ventricle.inner**2 - now.square()).clamp(min=0).sqrt()

    rest = torch.where(r < now, r * ventricle.inner / now, outside)
    fade = torch.exp(-(((r - ventricle.outer).clamp(min=0) / (reach * ventricle.outer)) ** 2))
    displacement: Tensor = offset * ((rest / r - 1) * fade)[..., None]
    return displacement


def _carried(materials: Tensor, places: Tensor) -> Tensor:
    """The material images at these places: (frame, component, y, x)."""
    ny, nx = materials.shape[-2:]
    fine = FINE * places
    unit = torch.stack((2 * fine[..., 1] / (nx - 1) - 1, 2 * fine[..., 0] / (ny - 1) - 1), -1)
    carried: Tensor = grid_sample(
        materials[None].expand(len(places), *materials.shape),
        unit,
        mode="bilinear",
        padding_mode="border",
        align_corners=True,
    )
    return carried


def _contrast(frames: int, components: int, draw: torch.Generator) -> Tensor:
    """Weights (frame, component): constant, or a bolus that passes or magnetisation that recovers, which may change its sign."""
    if components == 1:
        return torch.ones((frames, 1))
    time = torch.arange(frames) / max(1, frames - 1)
    if happens(0.5, draw):
        bolus = [
            torch.relu(time - start) * torch.exp(-((time - start).clamp(min=0) / width))
            for start, width in ((0.1, 0.15), (0.25, 0.3))
        ]
        return torch.stack(
            [0.3 * torch.ones(frames), *(b / b.max().clamp(min=1e-6) for b in bolus)], 1
        )

    rates = [uniform(0.15, 1.5, draw) for _ in range(2)]
    depth = uniform(1, 2, draw)
    recovery = [1 - depth * torch.exp(-time / rate) for rate in rates]
    return torch.stack([0.2 * recovery[0], *recovery], 1)


def _tags(places: Tensor, draw: torch.Generator) -> Tensor:
    """A grid of dark lines that moves with the material and fades."""
    period, way = uniform(4, 9, draw), uniform(0, math.pi, draw)
    time = torch.arange(len(places)) / max(1, len(places) - 1)
    fading = torch.exp(-time / uniform(0.5, 3, draw))[:, None, None]
    along = places[..., 0] * math.sin(way) + places[..., 1] * math.cos(way)
    across = places[..., 0] * math.cos(way) - places[..., 1] * math.sin(way)

    pattern = (0.5 + 0.5 * torch.cos(2 * math.pi / period * along)) * (
        0.5 + 0.5 * torch.cos(2 * math.pi / period * across)
    ).sqrt()
    return 1 - fading * (1 - pattern)


def _bend(y: int, x: int, draw: torch.Generator) -> Tensor:
    """Smooth displacements (y, x, 2) in pixels, which make ellipses the irregular shapes of organs."""
    cells = int(torch.randint(2, 5, (), generator=draw))
    size = uniform(0, BENT, draw) * min(y, x) / cells
    return size * torch.stack(
        (smooth_field((y, x), cells, draw), smooth_field((y, x), cells, draw)), -1
    )


def _changes(beat: Tensor, y: int, x: int, draw: torch.Generator) -> Tensor:
    """The logarithm of intensities over time (frame, y, x): textures that come and go with the beat, or at a time of their own."""
    time = 2 * math.pi * torch.arange(len(beat)) / len(beat)
    waves = [
        beat,
        *(torch.sin(order * time + uniform(0, 2 * math.pi, draw)) for order in range(1, CHANGES)),
    ]

    textures = [
        uniform(0, CHANGE, draw) / order * fractal(y, x, uniform(*FALL, draw), draw)
        for order in range(1, CHANGES + 1)
    ]
    return torch.stack(
        [wave[:, None, None] * texture for wave, texture in zip(waves, textures, strict=True)]
    ).sum(0)


def _near(ventricles: list[Ventricle], y: int, x: int) -> Tensor:
    """(y, x): one in the middle of ventricles, fading to zero around them."""
    rows, columns = torch.arange(y)[:, None], torch.arange(x)

    squares = torch.stack(
        [
            ((rows - v.centre[0]) ** 2 + (columns - v.centre[1]) ** 2) / v.outer**2
            for v in ventricles
        ]
    )
    return torch.exp(-0.5 * squares.amin(0))


def _folded(images: Tensor, rows: int) -> Tensor:
    """Images (frame, y, x) in a field of view of fewer rows: what lies beyond an edge comes in at the other one.

    Here with the coil maps of where it comes to lie; in a scanner with those of where it was, so that two tissues have two sets of maps.
    """
    above = (images.shape[1] - rows) // 2
    below = images.shape[1] - rows - above
    inside = images[:, above : above + rows].clone()
    inside[:, rows - above :] += images[:, :above]
    inside[:, :below] += images[:, above + rows :]
    return inside


def _softened(images: Tensor, y_share: float, x_share: float) -> Tensor:
    """Images (frame, y, x) of which only the central part of k-space was measured, with smooth ends: as scanners interpolate."""
    windows = []
    for n, share in zip(images.shape[-2:], (y_share, x_share), strict=True):
        place = (torch.arange(n) - n // 2).abs() / (share * n / 2)
        windows.append(torch.cos(math.pi / 2 * ((place - 0.8) / 0.2).clamp(0, 1)).square())
    return ifft2c(fft2c(images) * windows[0][:, None] * windows[1])


def _phase(frames: int, y: int, x: int, draw: torch.Generator) -> Tensor:
    """Phase (frame, y, x): a constant, a smooth field, and a slow drift of it."""
    phase = uniform(-math.pi, math.pi, draw) + uniform(0, 2.5, draw) * smooth_field(
        (y, x), int(torch.randint(1, 8, (), generator=draw)), draw
    )
    drift = uniform(0, 0.3, draw) * smooth_field((y, x), 2, draw)
    return phase + torch.linspace(-0.5, 0.5, frames)[:, None, None] * drift
