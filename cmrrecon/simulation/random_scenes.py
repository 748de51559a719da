"""Random dynamic scenes, made without any data, from which a reconstruction network learns.

A scene is a material image (`random_materials`) that is moved (heartbeat, breathing, drift) and
multiplied by a phase. Some scenes change in contrast, are tagged, contain flow, or wrap around at
the edge of the field of view. The seed and the number of a scene determine everything.
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
from cmrrecon.simulation.random_motion import heart_beat, random_bend, random_motion
from cmrrecon.simulation.shapes import generator, happens, uniform

# The probabilities of the properties of a scene.
STATIC, APERIODIC, SOFT = 0.15, 0.43, 0.3
CONTRAST, TAGGED, FLOW, BLACK_BLOOD = 0.20, 0.05, 0.08, 0.08
# The probability that tissue and blood around ventricles change over time (the heart moves through
# the slice, blood flows), the number of patterns, and the largest standard deviation of the
# logarithm of each.
THROUGH, CHANGES, CHANGE = 0.7, 3, 0.2
# Magnitude images of scanners are nowhere zero: the probability of haze, its largest value as a
# fraction of the maximum, and its graininess.
HAZY, HAZE, GRAIN = 0.6, 0.05, 0.4
# The probability that fat near the coils is clipped, as in images where it outshines everything
# else, and the range of the limit as a fraction of the maximum.
CLIPPED, CLIP = 0.4, (0.3, 0.9)
# The probability that the body is larger than the field of view along y and wraps around, and the
# largest factor by which it is larger.
FOLDED, TALL = 0.3, 1.3


@dataclass(frozen=True)
class Scene:
    """A random scene.

    Attributes
    ----------
    images : Tensor of shape (frame, y, x), complex64
        The images; the brightest tissue is about one.
    kinds : tuple of str
        The special properties of the scene, such as "tagged".
    """

    images: Tensor
    kinds: tuple[str, ...]


def random_scene(seed: int, number: int, frames: int, y: int, x: int) -> Scene:
    """Draw scene `number` of a seed.

    Parameters
    ----------
    seed, number : int
        The seed and the number of the scene.
    frames, y, x : int
        The number of frames, and the size in pixels.
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
    places = random_motion(frames, y, x, ventricles, beat, draw, still=still, periodic=periodic)
    layers = _materials_at(materials, places + random_bend(y, x, draw))

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
    magnetisation = _like_scanner(magnetisation, draw)
    images = _wrapped(magnetisation * torch.polar(torch.ones_like(phase), phase), rows)
    if happens(SOFT, draw):
        images = _smoothed(images, uniform(0.75, 1.0, draw), uniform(0.75, 1.0, draw))
    return Scene(images / _brightness(images), tuple(kinds))


def _random_kinds(draw: torch.Generator) -> list[str]:
    """Draw the special properties of a scene."""
    still, irregular = happens(STATIC, draw), happens(APERIODIC, draw)
    kinds = ["static"] if still else ["aperiodic"] if irregular else []
    shares = {"contrast": CONTRAST, "tagged": TAGGED, "flow": FLOW, "black blood": BLACK_BLOOD}
    return kinds + [kind for kind, share in shares.items() if happens(share, draw)]


def _flow(magnetisation: Tensor, beat: Tensor, draw: torch.Generator) -> Tensor:
    """Draw the phase (frame, y, x) that moving blood, the brightest tissue, adds in each beat."""
    blood = magnetisation.abs() > 0.5 * magnetisation.abs().amax()
    strength = uniform(1, 3, draw) * beat[:, None, None]
    return strength * smooth_field((blood.shape[1], blood.shape[2]), 6, draw) * blood


def _brightness(images: Tensor) -> Tensor:
    """Return the 99th percentile of the magnitude, from a subset of pixels if there are many."""
    magnitudes = images.abs().flatten()[:: max(1, images.numel() // 100_000)]
    return torch.quantile(magnitudes, 0.99).clamp(min=1e-3)


def _like_scanner(magnetisation: Tensor, draw: torch.Generator) -> Tensor:
    """Return magnetisation with clipped highlights and haze, like a scanner's magnitude images."""
    if happens(CLIPPED, draw):
        limit = uniform(*CLIP, draw) * float(magnetisation.abs().amax())
        magnetisation = magnetisation.clamp(-limit, limit)
    if happens(HAZY, draw):
        grain = 1 + GRAIN * torch.randn(magnetisation.shape, generator=draw)
        magnetisation = magnetisation + uniform(0, HAZE, draw) * float(
            magnetisation.abs().amax()
        ) * grain.clamp(min=0)
    return magnetisation


def _materials_at(materials: Tensor, places: Tensor) -> Tensor:
    """Return the material images at the given places: (frame, component, y, x)."""
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
    """Draw weights (frame, component): constant, a passing bolus, or recovering magnetisation.

    Recovering magnetisation may change its sign.
    """
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
    """Draw a grid of dark lines that moves with the material and fades."""
    period, direction = uniform(4, 9, draw), uniform(0, math.pi, draw)
    time = torch.arange(len(places)) / max(1, len(places) - 1)
    fading = torch.exp(-time / uniform(0.5, 3, draw))[:, None, None]
    along = places[..., 0] * math.sin(direction) + places[..., 1] * math.cos(direction)
    across = places[..., 0] * math.cos(direction) - places[..., 1] * math.sin(direction)

    pattern = (0.5 + 0.5 * torch.cos(2 * math.pi / period * along)) * (
        0.5 + 0.5 * torch.cos(2 * math.pi / period * across)
    ).sqrt()
    return 1 - fading * (1 - pattern)


def _changes(beat: Tensor, y: int, x: int, draw: torch.Generator) -> Tensor:
    """Draw changes (frame, y, x) of the logarithm of the intensities.

    Textures come and go: the first one with the beat, each of the others with its own sine wave.
    """
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
    """Return the proximity (y, x) to ventricles: one in the middle, fading to zero around them."""
    rows, columns = torch.arange(y)[:, None], torch.arange(x)

    squares = torch.stack(
        [
            ((rows - v.centre[0]) ** 2 + (columns - v.centre[1]) ** 2) / v.outer**2
            for v in ventricles
        ]
    )
    return torch.exp(-0.5 * squares.amin(0))


def _wrapped(images: Tensor, rows: int) -> Tensor:
    """Wrap images (frame, y, x) into a field of view with fewer rows.

    Tissue beyond one edge appears at the opposite one. Here it gets the coil maps of the place
    where it appears. In a scanner it keeps the coil maps of its true place, so that one pixel has
    two sets of maps.
    """
    above = (images.shape[1] - rows) // 2
    below = images.shape[1] - rows - above
    inside = images[:, above : above + rows].clone()
    inside[:, rows - above :] += images[:, :above]
    inside[:, :below] += images[:, above + rows :]
    return inside


def _smoothed(images: Tensor, y_share: float, x_share: float) -> Tensor:
    """Return images (frame, y, x) from a smoothly cut centre of k-space, as scanners do."""
    windows = []
    for n, share in zip(images.shape[-2:], (y_share, x_share), strict=True):
        place = (torch.arange(n) - n // 2).abs() / (share * n / 2)
        windows.append(torch.cos(math.pi / 2 * ((place - 0.8) / 0.2).clamp(0, 1)).square())
    return ifft2c(fft2c(images) * windows[0][:, None] * windows[1])


def _phase(frames: int, y: int, x: int, draw: torch.Generator) -> Tensor:
    """Draw a phase (frame, y, x): a constant, a smooth field and a slow drift."""
    phase = uniform(-math.pi, math.pi, draw) + uniform(0, 2.5, draw) * smooth_field(
        (y, x), int(torch.randint(1, 8, (), generator=draw)), draw
    )
    drift = uniform(0, 0.3, draw) * smooth_field((y, x), 2, draw)
    return phase + torch.linspace(-0.5, 0.5, frames)[:, None, None] * drift
