"""What scenes are drawn with: a grid in millimetres, soft-edged shapes, smooth random textures, seeded generators."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

# Field of view (y, x) in mm. The readout holds 2x oversampling as CMRxRecon files do, so the body fits in its central 360 mm;
# 204 x 448 samples then make nearly square pixels of 1.6 mm. Other sizes cover the same field with other pixels.
FIELD_OF_VIEW = (320.0, 720.0)
EDGE_WIDTH = 1.6  # pixels over which an edge rises; its steep middle half takes about one pixel
LATTICE = 129  # random values per side of a texture
SPREAD = 1.18  # interpolation averages neighbours, which lowers the variance; this restores about 1


def generator(*keys: int | str) -> torch.Generator:
    """A CPU random generator for these keys, such as (seed, "noise", slice); different keys give unrelated numbers."""
    numbers = [int.from_bytes(key.encode(), "big") if isinstance(key, str) else key for key in keys]
    # The count goes first because a seed sequence takes trailing zeros for nothing.

    return torch.Generator().manual_seed(
        int(np.random.SeedSequence([len(keys), *numbers]).generate_state(1, np.uint64)[0])
    )


def uniform(low: float, high: float, random: torch.Generator) -> float:
    """One number drawn evenly between `low` and `high`."""
    return low + (high - low) * float(torch.rand((), generator=random))


def happens(share: float, random: torch.Generator) -> bool:
    """True as often as `share`, from 0 to 1, says."""
    return bool(torch.rand((), generator=random) < share)


def grid(y: int, x: int) -> tuple[Tensor, Tensor]:
    """Pixel positions in mm, as (y, 1) and (1, x) float32; the pixel at n // 2, the centre of the centred FFT, is at zero."""
    rows, columns = (
        (torch.arange(n) - n // 2) * (extent / n)
        for n, extent in zip((y, x), FIELD_OF_VIEW, strict=True)
    )
    return rows[:, None], columns[None, :]


def cover(level: Tensor) -> Tensor:
    """How much of each pixel a shape covers, 0 to 1, with a smooth edge about one pixel wide.

    Parameters
    ----------
    level : Tensor (..., y, x) float, any smooth function that is positive inside the shape and negative outside

    Returns
    -------
    Tensor (..., y, x) float. The distance to the edge is level / |gradient of level| in pixels, to first order, so that
    edges are equally sharp whatever the shape and the pixel.
    """
    slopes = torch.gradient(level, dim=(-2, -1))
    distance = level / torch.hypot(*slopes).clamp(min=1e-6)
    rise = (distance / EDGE_WIDTH + 0.5).clamp(0, 1)
    return rise * rise * (3 - 2 * rise)


def strip(level: Tensor, width: Tensor | float) -> Tensor:
    """How much of each pixel a line covers that runs where `level` is zero; right for lines thinner than a pixel too.

    Parameters
    ----------
    level : Tensor (..., y, x) float, distance from the line in mm, signed
    width : of the line in mm, broadcastable; none where it is negative
    """
    half = torch.as_tensor(width).clamp(min=0) / 2
    return (cover(level + half) - cover(level - half)).clamp(min=0)


def ellipse(
    rows: Tensor,
    columns: Tensor,
    centre: tuple[float, float],
    half: tuple[float, float],
    turn: float = 0.0,
) -> Tensor:
    """A level function of an ellipse, in mm near its edge.

    Parameters
    ----------
    rows, columns : Tensor, positions in mm, broadcast against each other
    centre : (y, x) in mm
    half : (y, x) half axes in mm, before turning
    turn : angle in radians from x towards y
    """
    dy, dx = rows - centre[0], columns - centre[1]
    along, across = (
        dx * math.cos(turn) + dy * math.sin(turn),
        dy * math.cos(turn) - dx * math.sin(turn),
    )
    return (1 - torch.hypot(across / half[0], along / half[1])) * min(half)


def texture(rows: Tensor, columns: Tensor, length: float, random: torch.Generator) -> Tensor:
    """A smooth random field, zero mean and about unit variance, read at positions that may move with the tissue.

    Random values on a lattice `length` mm apart, interpolated bicubically; beyond the lattice they are mirrored.

    Parameters
    ----------
    rows, columns : Tensor ((frame,) y, x), positions in mm
    length : distance in mm over which the field changes
    random : the source of the lattice values
    """
    lattice = torch.randn((1, 1, LATTICE, LATTICE), generator=random)

    shape = np.broadcast_shapes(rows.shape, columns.shape)
    rows, columns = rows.expand(shape), columns.expand(shape)
    points = torch.stack((columns, rows), -1) / (length * (LATTICE // 2))
    points = points.reshape(1, -1, points.shape[-2], 2)

    values = grid_sample(
        lattice, points, mode="bicubic", padding_mode="reflection", align_corners=True
    )
    return values.reshape(shape) * SPREAD


def harmonics(angle: Tensor, orders: range, random: torch.Generator) -> Tensor:
    """A random periodic function of the angle with about unit variance: cosines of these orders with random weight and phase."""
    weights = torch.randn(len(orders), generator=random) * math.sqrt(2 / len(orders))
    phases = torch.rand(len(orders), generator=random) * (2 * math.pi)
    total = torch.zeros_like(angle)
    for order, weight, phase in zip(orders, weights, phases, strict=True):
        total = total + weight * torch.cos(order * angle + phase)
    return total
