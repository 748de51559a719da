"""Drawing tools: a grid in mm, soft-edged shapes, smooth random textures, seeded generators."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

# Field of view (y, x) in mm. The readout has twofold oversampling, as in CMRxRecon files, so the
# body fits in its central 360 mm; 204 x 448 samples then give nearly square pixels of 1.6 mm. Other
# matrix sizes cover the same field with other pixels.
FIELD_OF_VIEW = (320.0, 720.0)
EDGE_WIDTH = 1.6  # width of an edge in pixels; its steep middle half spans about one pixel
LATTICE = 129  # random values along each side of a texture
UNIT_VARIANCE = 1.18  # interpolation averages neighbours; this restores a variance of about 1


def generator(*keys: int | str) -> torch.Generator:
    """Return a CPU random generator for the given keys, such as (seed, "noise", slice).

    Different keys lead to unrelated numbers.
    """
    numbers = [int.from_bytes(key.encode(), "big") if isinstance(key, str) else key for key in keys]
    # The count comes first because a seed sequence ignores trailing zeros.

    return torch.Generator().manual_seed(
        int(np.random.SeedSequence([len(keys), *numbers]).generate_state(1, np.uint64)[0])
    )


def uniform(low: float, high: float, random: torch.Generator) -> float:
    """Draw a number uniformly between `low` and `high`."""
    return low + (high - low) * float(torch.rand((), generator=random))


def happens(share: float, random: torch.Generator) -> bool:
    """Return True with probability `share`."""
    return bool(torch.rand((), generator=random) < share)


def grid(y: int, x: int) -> tuple[Tensor, Tensor]:
    """Return the pixel positions in mm, (y, 1) and (1, x), float32.

    The pixel at n // 2, the centre of the centred FFT, is at zero.
    """
    rows, columns = (
        (torch.arange(n) - n // 2) * (extent / n)
        for n, extent in zip((y, x), FIELD_OF_VIEW, strict=True)
    )
    return rows[:, None], columns[None, :]


def cover(level: Tensor) -> Tensor:
    """Return the fraction of each pixel that a shape covers; its edge is about one pixel wide.

    Parameters
    ----------
    level : Tensor of shape (..., y, x), float
        Any smooth function that is positive inside the shape and negative outside.

    Returns
    -------
    Tensor of shape (..., y, x), float
        The cover, from 0 to 1.

    Notes
    -----
    To first order, the distance to the edge in pixels is `level / |gradient of level|`. Edges are
    therefore equally sharp for every shape and pixel size.
    """
    slopes = torch.gradient(level, dim=(-2, -1))
    distance = level / torch.hypot(*slopes).clamp(min=1e-6)
    rise = (distance / EDGE_WIDTH + 0.5).clamp(0, 1)
    return rise * rise * (3 - 2 * rise)


def strip(level: Tensor, width: Tensor | float) -> Tensor:
    """Return the fraction of each pixel that a line along `level = 0` covers, even a very thin one.

    Parameters
    ----------
    level : Tensor of shape (..., y, x), float
        The signed distance from the line in mm.
    width : Tensor or float, broadcastable to `level`
        The width of the line in mm; where it is negative, there is no line.
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
    """Return a level function of an ellipse, in mm near its edge.

    Parameters
    ----------
    rows, columns : Tensor
        The positions in mm, which are broadcast against each other.
    centre : (float, float)
        The centre (y, x) in mm.
    half : (float, float)
        The half axes (y, x) in mm, before rotation.
    turn : float
        The angle of rotation in radians, from x towards y.
    """
    dy, dx = rows - centre[0], columns - centre[1]
    along, across = (
        dx * math.cos(turn) + dy * math.sin(turn),
        dy * math.cos(turn) - dx * math.sin(turn),
    )
    return (1 - torch.hypot(across / half[0], along / half[1])) * min(half)


def texture(rows: Tensor, columns: Tensor, length: float, random: torch.Generator) -> Tensor:
    """Return a smooth random field with zero mean and about unit variance at given positions.

    Random values on a lattice are interpolated bicubically, and mirrored beyond the lattice. The
    positions may move with the tissue.

    Parameters
    ----------
    rows, columns : Tensor of shape ((frame,) y, x)
        The positions in mm.
    length : float
        The spacing of the lattice in mm, which is the length over which the field changes.
    random : torch.Generator
        The source of the lattice values.
    """
    lattice = torch.randn((1, 1, LATTICE, LATTICE), generator=random)

    shape = np.broadcast_shapes(rows.shape, columns.shape)
    rows, columns = rows.expand(shape), columns.expand(shape)
    points = torch.stack((columns, rows), -1) / (length * (LATTICE // 2))
    points = points.reshape(1, -1, points.shape[-2], 2)

    values = grid_sample(
        lattice, points, mode="bicubic", padding_mode="reflection", align_corners=True
    )
    return values.reshape(shape) * UNIT_VARIANCE


def harmonics(angle: Tensor, orders: range, random: torch.Generator) -> Tensor:
    """Draw a random periodic function of the angle with about unit variance.

    It is a sum of cosines of the given orders with random weights and phases.
    """
    weights = torch.randn(len(orders), generator=random) * math.sqrt(2 / len(orders))
    phases = torch.rand(len(orders), generator=random) * (2 * math.pi)
    total = torch.zeros_like(angle)
    for order, weight, phase in zip(orders, weights, phases, strict=True):
        total = total + weight * torch.cos(order * angle + phase)
    return total
