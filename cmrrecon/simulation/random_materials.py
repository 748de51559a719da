"""Materials of random scenes: overlapping textured shapes.

They show large organs, a body with fat, vessels and ventricles. Shapes cover each other as in the
dead leaves model (Lee, Mumford and Huang, Int J Comput Vis 2001;41:35). All tissue has a texture
whose spectrum falls as a power of the frequency, as in images of real bodies.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from cmrrecon.simulation.shapes import happens, uniform

# Material pixels per image pixel: edges and thin lines can be between pixels, as in a real body.
FINE = 2
# The probabilities that a scene has a body, that a body has fat around it, and that an organ is as
# dark as a lung.
BODY, FAT, DARK = 0.7, 0.6, 0.4
# The smallest number of small shapes and of thin lines, and the exclusive upper limit.
LEAVES, LINES = (150, 600), (10, 80)
# Ranges of three numbers: the exponent of the fall of the texture's amplitude, the standard
# deviation of its logarithm, and the power that turns uniform numbers into intensities, because
# most tissue is dark compared with fat and blood.
FALL, TEXTURE, POWER = (0.35, 1.1), (0.05, 0.5), (1.0, 3.0)
# Standard deviation in radians of the phase difference between tissues (chemical shift,
# off-resonance).
LOCAL_PHASE = 0.15


@dataclass(frozen=True)
class Ventricle:
    """A cavity of radius `inner` in a wall up to `outer`, in pixels.

    When the heart contracts, the radius of the cavity shortens by the fraction `stroke`.
    """

    centre: tuple[float, float]
    inner: float
    outer: float
    stroke: float


def random_ventricles(y: int, x: int, draw: torch.Generator) -> list[Ventricle]:
    """Draw one to three ventricles near the middle; they may touch."""
    side = min(y, x)
    found = []
    for _ in range(int(torch.randint(1, 4, (), generator=draw))):
        inner = uniform(0.06, 0.16, draw) * side
        centre = (y * uniform(0.3, 0.7, draw), x * uniform(0.3, 0.7, draw))
        found.append(
            Ventricle(centre, inner, inner * uniform(1.25, 1.7, draw), uniform(0.15, 0.4, draw))
        )
    return found


def random_materials(
    y: int,
    x: int,
    ventricles: list[Ventricle],
    changing: bool,
    black_blood: bool,
    draw: torch.Generator,
) -> Tensor:
    """Draw material images (component + 1, fine y, fine x); the last one is a phase.

    There is one component, or there are three with the same shapes and independent intensities.

    Parameters
    ----------
    y, x : int
        The size of the image in pixels; the materials are finer by the factor `FINE`.
    ventricles : list of Ventricle
        The ventricles to draw on top.
    changing : bool
        Whether the contrast changes, which needs three components.
    black_blood : bool
        Whether blood is dark.
    draw : torch.Generator
        The source of randomness.
    """
    pixels = torch.zeros(((3 if changing else 1) + 1, FINE * y, FINE * x))
    rows, columns = torch.arange(FINE * y)[:, None] / FINE, torch.arange(FINE * x)[None] / FINE
    canvas = _Canvas(pixels, rows, columns, uniform(*POWER, draw), draw)

    _add_body(canvas)
    _add_organs(canvas)
    _add_leaves(canvas)
    _add_lines(canvas)
    for ventricle in ventricles:
        _add_ventricle(canvas, ventricle, black_blood)

    pixels[:-1] *= torch.exp(
        uniform(*TEXTURE, draw) * fractal(FINE * y, FINE * x, uniform(*FALL, draw), draw)
    )
    return pixels


@dataclass(frozen=True)
class _Canvas:
    """A canvas on which later shapes cover earlier ones. Lengths are in pixels of the image."""

    pixels: Tensor  # (component + 1, fine y, fine x), the last a phase
    rows: Tensor  # (fine y, 1), positions in the image
    columns: Tensor  # (1, fine x)
    power: float  # exponent of intensities
    draw: torch.Generator

    @property
    def shape(self) -> tuple[int, int]:
        """Size (y, x) of the image in pixels."""
        return self.pixels.shape[1] // FINE, self.pixels.shape[2] // FINE

    def intensity(self, top: float = 1.0) -> Tensor:
        """Draw a random value for each component, up to `top`."""
        return top * torch.rand(len(self.pixels) - 1, generator=self.draw) ** self.power

    def bright(self, least: float) -> Tensor:
        """Draw a random value for each component, from `least` to 1."""
        return least + (1 - least) * torch.rand(len(self.pixels) - 1, generator=self.draw)

    def place(self, low: float = 0.0, high: float = 1.0) -> tuple[float, float]:
        """Draw a random point (y, x) between the fractions `low` and `high` of the image."""
        y, x = self.shape
        return y * uniform(low, high, self.draw), x * uniform(low, high, self.draw)

    def blob(
        self, centre: tuple[float, float], half: tuple[float, float], value: Tensor, wobble: float
    ) -> None:
        """Paint a rotated ellipse with a wavy outline."""
        draw, reach = self.draw, 1.3 * max(half) + 3
        box = [
            slice(max(0, int(FINE * (c - reach))), max(1, int(FINE * (c + reach)))) for c in centre
        ]

        dy, dx = self.rows[box[0]] - centre[0], self.columns[:, box[1]] - centre[1]
        turn = uniform(0, math.pi, draw)
        along, across = (
            dx * math.cos(turn) + dy * math.sin(turn),
            dy * math.cos(turn) - dx * math.sin(turn),
        )

        angle = torch.atan2(across / half[0], along / half[1])
        order, shift = int(torch.randint(2, 7, (), generator=draw)), uniform(0, 2 * math.pi, draw)
        outline = 1 + wobble * torch.cos(order * angle + shift)
        level = (outline - torch.hypot(across / half[0], along / half[1])) * min(half)
        self._cover(box, torch.sigmoid(level * (4 / uniform(0.3, 1.2, draw))), value)

    def _cover(self, box: list[slice], cover: Tensor, value: Tensor) -> None:
        """Cover a box with a value for each component and a random phase."""
        patch = self.pixels[:, box[0], box[1]]
        everything = torch.cat([value, LOCAL_PHASE * torch.randn(1, generator=self.draw)])
        patch.lerp_(everything[:, None, None].expand_as(patch), cover)


def _add_body(canvas: _Canvas) -> None:
    """Paint a body, sometimes with fat around it, or tissue that fills the image."""
    (y, x), draw = canvas.shape, canvas.draw
    body = happens(BODY, draw)
    half = (
        (y * uniform(0.38, 0.55, draw), x * uniform(0.35, 0.55, draw))
        if body
        else (2.0 * y, 2.0 * x)
    )

    if body and happens(FAT, draw):
        rim = uniform(2, 0.1 * min(y, x) + 2, draw)
        canvas.blob((y / 2, x / 2), half, canvas.bright(0.7), 0.03)
        half = (half[0] - rim, half[1] - rim)
    canvas.blob((y / 2, x / 2), half, canvas.intensity(0.6), 0.03)


def _add_organs(canvas: _Canvas) -> None:
    draw = canvas.draw
    for _ in range(4):
        size = uniform(0.15, 0.4, draw) * min(canvas.shape)
        centre, half = canvas.place(0.1, 0.9), (size * uniform(0.5, 1, draw), size)
        value = canvas.intensity(0.1 if happens(DARK, draw) else 1.0)
        canvas.blob(centre, half, value, uniform(0, 0.2, draw))


def _add_leaves(canvas: _Canvas) -> None:
    """Paint shapes whose radii follow a power law with exponent -2.6: many are small."""
    draw, smallest, largest = canvas.draw, 1.2, 0.2 * min(canvas.shape)
    for _ in range(int(torch.randint(*LEAVES, (), generator=draw))):
        size = (uniform(largest**-1.6, smallest**-1.6, draw)) ** (-1 / 1.6)
        centre, half = canvas.place(), (size * uniform(0.3, 1, draw), size)
        canvas.blob(centre, half, canvas.intensity(), uniform(0, 0.25, draw))


def _add_lines(canvas: _Canvas) -> None:
    draw = canvas.draw
    for _ in range(int(torch.randint(*LINES, (), generator=draw))):
        half = (uniform(0.3, 1.0, draw), uniform(4, 0.15 * min(canvas.shape) + 4, draw))
        canvas.blob(canvas.place(), half, canvas.intensity(), 0.0)


def _add_ventricle(canvas: _Canvas, ventricle: Ventricle, black_blood: bool) -> None:
    """Paint a wall, the blood in it, and up to four muscles near the wall."""
    draw, (y, x) = canvas.draw, ventricle.centre
    wall, blood = canvas.intensity(0.5), canvas.bright(0.6)
    canvas.blob((y, x), (ventricle.outer, ventricle.outer), wall, 0.04)
    canvas.blob(
        (y, x), (ventricle.inner, ventricle.inner), 0.1 * blood if black_blood else blood, 0.04
    )

    for _ in range(int(torch.randint(0, 5, (), generator=draw))):
        angle, size = uniform(0, 2 * math.pi, draw), uniform(0.5, 0.2 * ventricle.inner + 0.6, draw)
        reach = 0.75 * ventricle.inner
        centre = (y + reach * math.sin(angle), x + reach * math.cos(angle))
        canvas.blob(centre, (size, size * uniform(1, 3, draw)), wall, 0.0)


def fractal(y: int, x: int, fall: float, draw: torch.Generator) -> Tensor:
    """Draw a random texture (y, x) with zero mean and unit variance.

    Its amplitudes fall as the frequency to the power of `-fall`.
    """
    frequency = torch.hypot(torch.fft.fftfreq(y)[:, None], torch.fft.rfftfreq(x)[None])
    frequency[0, 0] = math.inf
    noise = torch.fft.irfft2(
        torch.fft.rfft2(torch.randn((y, x), generator=draw)) * frequency**-fall, s=(y, x)
    )
    unit: Tensor = noise / noise.std().clamp(min=torch.finfo(torch.float32).tiny)
    return unit


def smooth_field(shape: tuple[int, int], cells: int, draw: torch.Generator) -> Tensor:
    """Draw a smooth random field (y, x) with zero mean and about unit variance.

    It varies on the scale of the image size divided by `cells`; with `cells` 1 it is almost linear.
    """
    lattice = torch.randn((1, 1, cells + 1, cells + 1), generator=draw)
    return interpolate(lattice, shape, mode="bicubic", align_corners=True)[0, 0]
