"""The unit of a trajectory, decided from how far it reaches.

A trajectory reaches the edge of k-space, or nearly: 0.5 in parts of k-space, pi in radians for each
pixel, n / 2 in cycles per field of view for n pixels, 1 / (2 voxel) in cycles per length. The unit
is the one whose edge lies nearest, but not inside.
"""

import math

import torch
from torch import Tensor

from cmrrecon.data.trajectory import EXCESS
from cmrrecon.tools.errors import InputError

PARTS, RADIANS, CYCLES = (
    "parts of k-space from -0.5 to 0.5",
    "radians from -pi to pi",
    "cycles per field of view",
)
EDGE = EXCESS - 1  # so near to the edge of a unit, it is this one
CLOSE = 0.97  # reaching less of it, a unit of length at whose edge it ends is likelier
LEAST = 0.4  # reaching less of parts or radians, it is more likely a unit that is not known
NEARLY = 0.7  # reaching less of a second unit than this, it is not this one
Sides = tuple[float, float]
HALF: Sides = (0.5, 0.5)
PI: Sides = (math.pi, math.pi)


def unit_of(reach: Sides, matrix: tuple[int, int], voxel_mm: Sides | None = None) -> str | None:
    """The unit of a trajectory; None if it is none that is known, or two are as likely.

    Units of length are named only where no other explains the reach as well; they look the same
    as parts or radians for pixels of 1 mm, where the numbers are the same.

    Parameters
    ----------
    reach : (y, x), the largest distances from the centre of k-space along the axes
    matrix : (y, x) of the images
    voxel_mm : (y, x), size of a pixel, if it is known
    """
    usual = _filled(reach, {PARTS: HALF, RADIANS: PI, CYCLES: (matrix[0] / 2, matrix[1] / 2)})
    lengths = _filled(reach, _edges_of_lengths(voxel_mm))

    best, part = _nearest(usual)
    length, of_length = _nearest(lengths)

    if (part < CLOSE and of_length >= 1 - EDGE) or (not part and of_length >= NEARLY):
        return length

    if part < LEAST and best != CYCLES:
        return None
    others = [other for unit, other in usual.items() if unit != best]
    alone = all(other < NEARLY for other in others)
    at_edge = part >= 1 - EDGE and all(other < 1 - EDGE for other in others)
    return best if alone or at_edge else None


def _filled(reach: Sides, edges: dict[str, Sides]) -> dict[str, float]:
    """How much of k-space is reached in each unit, of those in which it is not left."""
    filled = {
        unit: max(r / e for r, e in zip(reach, edge, strict=True)) for unit, edge in edges.items()
    }
    return {unit: part for unit, part in filled.items() if 0 < part <= EXCESS}


def _nearest(filled: dict[str, float]) -> tuple[str | None, float]:
    """The unit whose edge is nearest to the reach, and the part of k-space that is reached."""
    if not filled:
        return None, 0.0
    unit = min(filled, key=lambda name: abs(filled[name] - 1))
    return unit, filled[unit]


def in_cycles(
    positions: Tensor, matrix: tuple[int, int], where: str, voxel_mm: Sides | None = None
) -> tuple[Tensor, str]:
    """Positions in cycles per field of view, and a note on the unit that they were taken to be in.

    Parameters
    ----------
    positions : Tensor (..., 2) float32, (y, x)
    matrix : (y, x) of the images
    where : for messages
    voxel_mm : (y, x), size of a pixel, if it is known

    Raises
    ------
    InputError : `trajectory-units`
    """
    y, x = (float(r) for r in positions.abs().flatten(0, -2).amax(0))
    unit = unit_of((y, x), matrix, voxel_mm)
    scale = {PARTS: 1.0, RADIANS: 1 / (2 * math.pi)}.get(unit or "")

    if unit not in (PARTS, RADIANS, CYCLES):
        raise InputError(
            "trajectory-units",
            f"{where} has a trajectory that reaches {y:.4g}, {x:.4g} (y, x), "
            + (f"which are {unit}" if unit else "in a unit that is not clear"),
            f"It must reach 0.5 in parts of k-space, pi in radians, or half of the matrix {matrix}",
            "Store positions in cycles per field of view, or correct the matrix",
        )

    note = (
        f"{where}: the trajectory reaches {max(y, x):.4g} and was taken as {unit}, "
        f"for images of {matrix} (y, x)."
    )

    if scale is None:
        return positions, note
    return positions * (scale * torch.tensor(matrix, dtype=positions.dtype)), note


def _edges_of_lengths(voxel_mm: Sides | None) -> dict[str, Sides]:
    """The edge of k-space (y, x) in cycles and radians per length; none without the size of a
    pixel."""
    if voxel_mm is None or not all(side > 0 for side in voxel_mm):
        return {}

    edges: dict[str, Sides] = {}
    for name, mm in {"mm": 1.0, "cm": 10.0, "m": 1000.0}.items():
        y, x = (mm / (2 * side) for side in voxel_mm)
        edges[f"cycles per {name}"] = (y, x)
        edges[f"radians per {name}"] = (2 * math.pi * y, 2 * math.pi * x)
    return edges
