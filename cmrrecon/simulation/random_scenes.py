"""Random dynamic scenes, without any data: what a network for reconstruction learns from.

A scene is a material image of overlapping textured shapes ("dead leaves", Lee, Mumford and Huang, Int J Comput Vis 2001;41:35) with large
organs, a body, fat, vessels and beating ventricles in it. It is carried by a motion (heart beats, breathing, drift), seen through a phase
and, in part of the scenes, changes in contrast, is tagged, or has flow in it. Everything follows from the seed and the number of the
scene alone.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from cmrrecon.physics.fourier import fft2c, ifft2c
from cmrrecon.simulation.shapes import generator, happens, uniform

# Material pixels per image pixel: edges and thin lines fall between pixels, as they do in a body.
FINE = 2
# How often scenes have what; the rest follows from these.
STATIC, APERIODIC, BREATHING, BODY, FAT = 0.10, 0.40, 0.5, 0.6, 0.3
CONTRAST, TAGGED, FLOW, BLACK_BLOOD = 0.25, 0.07, 0.10, 0.08
DRIFTING, SOFT = 0.25, 0.4
# Magnitude images of scanners are nowhere zero: how often there is a haze, up to which part of the brightest, and how grainy it is.
HAZY, HAZE, GRAIN = 0.6, 0.06, 0.4
# Standard deviation in radians of the phase by which tissues differ (chemical shift, off-resonance).
LOCAL_PHASE = 0.25


@dataclass(frozen=True)
class Ventricle:
    """A cavity of radius `inner` in a wall up to `outer`, in pixels; it shortens by `stroke` of its radius when the heart contracts."""

    centre: tuple[float, float]
    inner: float
    outer: float
    stroke: float


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
    still, irregular = happens(STATIC, draw), happens(APERIODIC, draw)
    kinds = ["static"] if still else ["aperiodic"] if irregular else []
    kinds += [
        name
        for name, share in (("contrast", CONTRAST), ("tagged", TAGGED), ("flow", FLOW), ("black blood", BLACK_BLOOD))
        if happens(share, draw)
    ]
    ventricles = _ventricles(y, x, draw)
    materials = _materials(y, x, ventricles, "contrast" in kinds, "black blood" in kinds, draw)
    beat = torch.zeros(frames) if "static" in kinds else heart_beat(frames, draw, periodic="aperiodic" not in kinds)
    places = _motion(frames, y, x, ventricles, beat, draw, still="static" in kinds, periodic="aperiodic" not in kinds)
    layers = _carried(materials, places)
    weights = _contrast(frames, len(materials) - 1, draw)
    magnetisation = torch.einsum("tk,tkyx->tyx", weights, layers[:, :-1])
    if "tagged" in kinds:
        magnetisation = magnetisation * _tags(places, draw)
    phase = _phase(frames, y, x, draw) + layers[:, -1]
    if "flow" in kinds:
        blood = magnetisation.abs() > 0.5 * magnetisation.abs().amax()
        phase = phase + uniform(1, 3, draw) * beat[:, None, None] * smooth_field((y, x), 6, draw) * blood
    if happens(HAZY, draw):
        grain = 1 + GRAIN * torch.randn(magnetisation.shape, generator=draw)
        magnetisation = magnetisation + uniform(0, HAZE, draw) * float(magnetisation.abs().amax()) * grain.clamp(min=0)
    images = magnetisation * torch.polar(torch.ones_like(phase), phase)
    if happens(SOFT, draw):
        images = _softened(images, uniform(0.6, 1.0, draw), uniform(0.6, 1.0, draw))
    bright = torch.quantile(images.abs().flatten()[:: max(1, images.numel() // 100_000)], 0.99).clamp(min=1e-3)
    return Scene(images / bright, tuple(kinds))


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


def smooth_field(shape: tuple[int, int], cells: int, draw: torch.Generator) -> Tensor:
    """Random (y, x) of zero mean and about unit size, that changes over a `cells`-th of the image; one cell: a constant."""
    lattice = torch.randn((1, 1, cells + 1, cells + 1), generator=draw)
    return interpolate(lattice, shape, mode="bicubic", align_corners=True)[0, 0]


def _ventricles(y: int, x: int, draw: torch.Generator) -> list[Ventricle]:
    side = min(y, x)
    found = []
    for _ in range(int(torch.randint(1, 4, (), generator=draw))):
        inner = uniform(0.06, 0.16, draw) * side
        centre = (y * uniform(0.3, 0.7, draw), x * uniform(0.3, 0.7, draw))
        found.append(Ventricle(centre, inner, inner * uniform(1.25, 1.7, draw), uniform(0.15, 0.4, draw)))
    return found


def _materials(y: int, x: int, ventricles: list[Ventricle], changing: bool, black_blood: bool, draw: torch.Generator) -> Tensor:
    """Material images (component, fine y, fine x): one, or three of the same shapes whose intensities change apart; the last is a phase."""
    ny, nx = FINE * y, FINE * x
    components = 3 if changing else 1
    rows, columns = torch.arange(ny)[:, None] / FINE, torch.arange(nx)[None] / FINE
    canvas = torch.zeros((components + 1, ny, nx))

    def paint(level: Tensor, place: tuple[slice, slice], value: Tensor, blur: float) -> None:
        """Cover what is inside of a level function, in pixels, with a value for every component and a phase."""
        cover = torch.sigmoid(level * (4 / blur))
        patch = canvas[:, place[0], place[1]]
        everything = torch.cat([value, LOCAL_PHASE * torch.randn(1, generator=draw)])
        patch.lerp_(everything[:, None, None].expand_as(patch), cover)

    def blob(centre: tuple[float, float], half: tuple[float, float], value: Tensor, wobble: float) -> None:
        """A turned ellipse whose outline wobbles."""
        reach = 1.3 * max(half) + 3
        place = tuple(slice(max(0, int(FINE * (c - reach))), max(1, int(FINE * (c + reach)))) for c in centre)
        dy, dx = rows[place[0]] - centre[0], columns[:, place[1]] - centre[1]
        turn = uniform(0, math.pi, draw)
        along, across = dx * math.cos(turn) + dy * math.sin(turn), dy * math.cos(turn) - dx * math.sin(turn)
        angle = torch.atan2(across / half[0], along / half[1])
        order, shift = int(torch.randint(2, 7, (), generator=draw)), uniform(0, 2 * math.pi, draw)
        outline = 1 + wobble * torch.cos(order * angle + shift)
        paint((outline - torch.hypot(across / half[0], along / half[1])) * min(half), (place[0], place[1]), value, uniform(0.3, 1.2, draw))

    def intensity(top: float = 1.0) -> Tensor:
        return top * torch.rand(components, generator=draw) ** 1.3

    body = happens(BODY, draw)
    half = (y * uniform(0.38, 0.55, draw), x * uniform(0.35, 0.55, draw)) if body else (2.0 * y, 2.0 * x)
    if body and happens(FAT, draw):
        rim = uniform(2, 0.06 * min(y, x) + 2, draw)
        blob((y / 2, x / 2), half, 0.7 + 0.3 * torch.rand(components, generator=draw), 0.03)
        half = (half[0] - rim, half[1] - rim)
    blob((y / 2, x / 2), half, intensity(0.6), 0.03)
    for _ in range(4):
        size = uniform(0.15, 0.4, draw) * min(y, x)
        blob(
            (y * uniform(0.1, 0.9, draw), x * uniform(0.1, 0.9, draw)),
            (size * uniform(0.5, 1, draw), size),
            intensity(),
            uniform(0, 0.2, draw),
        )
    smallest, largest = 1.2, 0.2 * min(y, x)
    for _ in range(int(torch.randint(30, 180, (), generator=draw))):
        # Radii by a power law with exponent -2.6 or so: many small ones.
        size = (uniform(largest**-1.6, smallest**-1.6, draw)) ** (-1 / 1.6)
        blob((y * uniform(0, 1, draw), x * uniform(0, 1, draw)), (size * uniform(0.3, 1, draw), size), intensity(), uniform(0, 0.25, draw))
    for ventricle in ventricles:
        wall, blood = intensity(0.5), 0.6 + 0.4 * torch.rand(components, generator=draw)
        blood = 0.1 * blood if black_blood else blood
        for radius, value in ((ventricle.outer, wall), (ventricle.inner, blood)):
            blob(ventricle.centre, (radius, radius), value, 0.04)
        for _ in range(int(torch.randint(0, 5, (), generator=draw))):
            angle, size = uniform(0, 2 * math.pi, draw), uniform(0.5, 0.2 * ventricle.inner + 0.6, draw)
            centre = (
                ventricle.centre[0] + 0.75 * ventricle.inner * math.sin(angle),
                ventricle.centre[1] + 0.75 * ventricle.inner * math.cos(angle),
            )
            blob(centre, (size, size * uniform(1, 3, draw)), wall, 0.0)
    for size in (4, 16):
        grain = smooth_field((ny, nx), int(min(ny, nx) / uniform(size, 3 * size, draw)), draw)
        canvas[:-1] *= (1 + uniform(0.0, 0.1, draw) * grain).clamp(min=0)
    return canvas


def _motion(
    frames: int, y: int, x: int, ventricles: list[Ventricle], beat: Tensor, draw: torch.Generator, *, still: bool, periodic: bool
) -> Tensor:
    """Where in the material each pixel looks: (frame, y, x, 2) in pixels, rows first."""
    rows, columns = torch.meshgrid(torch.arange(y, dtype=torch.float32), torch.arange(x, dtype=torch.float32), indexing="ij")
    places = torch.stack((rows, columns), -1).expand(frames, y, x, 2).clone()
    if still:
        return places
    time = torch.arange(frames) / max(1, frames)
    if happens(BREATHING, draw):
        cycles = 1.0 if periodic else uniform(0.2, 2.0, draw)
        size = uniform(0, 2.0, draw) if periodic else uniform(1, 8, draw)
        breath = size * torch.sin(2 * math.pi * (cycles * time + uniform(0, 1, draw)))
        # The inside of the chest moves, its wall stays.
        inside = (1 - ((rows / y - 0.5) / 0.45) ** 4).clamp(min=0) * (1 - ((columns / x - 0.5) / 0.45) ** 4).clamp(min=0)
        way = uniform(0, 2 * math.pi, draw)
        shift = torch.tensor([math.sin(way), math.cos(way)])
        places = places + breath[:, None, None, None] * inside[None, ..., None] * shift
    if not periodic and happens(DRIFTING, draw):
        places = places + time[:, None, None, None] * torch.tensor([uniform(-4, 4, draw), uniform(-4, 4, draw)])
    for ventricle in ventricles:
        places = places + beat_displacement(places, ventricle, beat)
    return places


def beat_displacement(places: Tensor, ventricle: Ventricle, beat: Tensor) -> Tensor:
    """What takes places (frame, y, x, 2) back to where their tissue is at rest, when a ventricle has contracted by `beat` (frame,).

    Outside the cavity areas are kept, so that the wall thickens: R^2 = r^2 + inner^2 - inner(t)^2; inside the cavity radii are stretched.
    Far away the displacement fades.
    """
    offset = places - torch.tensor(ventricle.centre)
    r = offset.norm(dim=-1).clamp(min=1e-3)
    now = (ventricle.inner * (1 - ventricle.stroke * beat))[:, None, None]
    outside = (r.square() + ventricle.inner**2 - now.square()).clamp(min=0).sqrt()
    rest = torch.where(r < now, r * ventricle.inner / now, outside)
    fade = torch.exp(-((r / (4 * ventricle.outer)) ** 2))
    displacement: Tensor = offset * ((rest / r - 1) * fade)[..., None]
    return displacement


def _carried(materials: Tensor, places: Tensor) -> Tensor:
    """The material images at these places: (frame, component, y, x)."""
    ny, nx = materials.shape[-2:]
    fine = FINE * places
    unit = torch.stack((2 * fine[..., 1] / (nx - 1) - 1, 2 * fine[..., 0] / (ny - 1) - 1), -1)
    carried: Tensor = grid_sample(
        materials[None].expand(len(places), *materials.shape), unit, mode="bilinear", padding_mode="border", align_corners=True
    )
    return carried


def _contrast(frames: int, components: int, draw: torch.Generator) -> Tensor:
    """Weights (frame, component): constant, or a bolus that passes or magnetisation that recovers, which may change its sign."""
    if components == 1:
        return torch.ones((frames, 1))
    time = torch.arange(frames) / max(1, frames - 1)
    if happens(0.5, draw):
        bolus = [
            torch.relu(time - start) * torch.exp(-((time - start).clamp(min=0) / width)) for start, width in ((0.1, 0.15), (0.25, 0.3))
        ]
        return torch.stack([0.3 * torch.ones(frames), *(b / b.max().clamp(min=1e-6) for b in bolus)], 1)
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
    pattern = (0.5 + 0.5 * torch.cos(2 * math.pi / period * along)) * (0.5 + 0.5 * torch.cos(2 * math.pi / period * across)).sqrt()
    return 1 - fading * (1 - pattern)


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
