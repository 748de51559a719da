"""What random scenes are made of: overlapping textured shapes with large organs, a body, fat, vessels and ventricles in it.

Shapes cover each other as dead leaves do (Lee, Mumford and Huang, Int J Comput Vis 2001;41:35); all tissue has a texture whose spectrum
falls as a power of the frequency, as that of images of bodies does.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from cmrrecon.simulation.shapes import happens, uniform

# Material pixels per image pixel: edges and thin lines fall between pixels, as they do in a body.
FINE = 2
# How often scenes have a body, and a body fat around it; how often an organ is as dark as a lung.
BODY, FAT, DARK = 0.7, 0.6, 0.4
# Fewest small shapes and thin lines, and one more than the most.
LEAVES, LINES = (150, 600), (10, 80)
# Power by which the amplitude of the texture falls, the standard deviation of its logarithm, and the power of evenly drawn numbers that
# intensities are: most tissue is dark beside fat and blood.
FALL, TEXTURE, POWER = (0.35, 1.1), (0.05, 0.5), (1.0, 3.0)
# Standard deviation in radians of the phase by which tissues differ (chemical shift, off-resonance).
LOCAL_PHASE = 0.15


@dataclass(frozen=True)
class Ventricle:
    """A cavity of radius `inner` in a wall up to `outer`, in pixels; it shortens by `stroke` of its radius when the heart contracts."""

    centre: tuple[float, float]
    inner: float
    outer: float
    stroke: float


def random_ventricles(y: int, x: int, draw: torch.Generator) -> list[Ventricle]:
    """One to three of them near the middle, which may touch."""
    side = min(y, x)
    found = []
    for _ in range(int(torch.randint(1, 4, (), generator=draw))):
        inner = uniform(0.06, 0.16, draw) * side
        centre = (y * uniform(0.3, 0.7, draw), x * uniform(0.3, 0.7, draw))
        found.append(Ventricle(centre, inner, inner * uniform(1.25, 1.7, draw), uniform(0.15, 0.4, draw)))
    return found


def random_materials(y: int, x: int, ventricles: list[Ventricle], changing: bool, black_blood: bool, draw: torch.Generator) -> Tensor:
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

    power = uniform(*POWER, draw)

    def intensity(top: float = 1.0) -> Tensor:
        return top * torch.rand(components, generator=draw) ** power

    body = happens(BODY, draw)
    half = (y * uniform(0.38, 0.55, draw), x * uniform(0.35, 0.55, draw)) if body else (2.0 * y, 2.0 * x)
    if body and happens(FAT, draw):
        rim = uniform(2, 0.1 * min(y, x) + 2, draw)
        blob((y / 2, x / 2), half, 0.7 + 0.3 * torch.rand(components, generator=draw), 0.03)
        half = (half[0] - rim, half[1] - rim)
    blob((y / 2, x / 2), half, intensity(0.6), 0.03)
    for _ in range(4):
        size = uniform(0.15, 0.4, draw) * min(y, x)
        blob(
            (y * uniform(0.1, 0.9, draw), x * uniform(0.1, 0.9, draw)),
            (size * uniform(0.5, 1, draw), size),
            intensity(0.1 if happens(DARK, draw) else 1.0),
            uniform(0, 0.2, draw),
        )
    smallest, largest = 1.2, 0.2 * min(y, x)
    for _ in range(int(torch.randint(*LEAVES, (), generator=draw))):
        # Radii by a power law with exponent -2.6 or so: many small ones.
        size = (uniform(largest**-1.6, smallest**-1.6, draw)) ** (-1 / 1.6)
        blob((y * uniform(0, 1, draw), x * uniform(0, 1, draw)), (size * uniform(0.3, 1, draw), size), intensity(), uniform(0, 0.25, draw))
    for _ in range(int(torch.randint(*LINES, (), generator=draw))):
        half = (uniform(0.3, 1.0, draw), uniform(4, 0.15 * min(y, x) + 4, draw))
        blob((y * uniform(0, 1, draw), x * uniform(0, 1, draw)), half, intensity(), 0.0)
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
    canvas[:-1] *= torch.exp(uniform(*TEXTURE, draw) * fractal(ny, nx, uniform(*FALL, draw), draw))
    return canvas


def fractal(y: int, x: int, fall: float, draw: torch.Generator) -> Tensor:
    """Random (y, x) of zero mean and unit size, whose amplitudes fall as the frequency to the power of -`fall`."""
    frequency = torch.hypot(torch.fft.fftfreq(y)[:, None], torch.fft.rfftfreq(x)[None])
    frequency[0, 0] = math.inf
    noise = torch.fft.irfft2(torch.fft.rfft2(torch.randn((y, x), generator=draw)) * frequency**-fall, s=(y, x))
    unit: Tensor = noise / noise.std().clamp(min=torch.finfo(torch.float32).tiny)
    return unit


def smooth_field(shape: tuple[int, int], cells: int, draw: torch.Generator) -> Tensor:
    """Random (y, x) of zero mean and about unit size, that changes over a `cells`-th of the image; one cell: a constant."""
    lattice = torch.randn((1, 1, cells + 1, cells + 1), generator=draw)
    return interpolate(lattice, shape, mode="bicubic", align_corners=True)[0, 0]
