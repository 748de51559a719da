"""Find the unit of a trajectory from its extent.

A trajectory extends nearly to the edge of k-space. The edge is at 0.5 in fractions of k-space, pi
in radians per pixel, n / 2 in cycles per field of view of n pixels, and 1 / (2 voxel) in cycles per
length. The chosen unit is the one with the nearest edge that the trajectory does not cross.
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
# A trajectory that ends within this fraction of the edge of a unit is in that unit.
EDGE = EXCESS - 1
# Below this fraction of the edge, a unit of length is more likely if its own edge is reached.
CLOSE = 0.97
# Below this fraction of the edge in parts or radians, the unit is more likely an unknown one.
LEAST = 0.4
# Below this fraction of its edge, a second unit is ruled out.
NEARLY = 0.7
Sides = tuple[float, float]
HALF: Sides = (0.5, 0.5)
PI: Sides = (math.pi, math.pi)


def unit_of(reach: Sides, matrix: tuple[int, int], voxel_mm: Sides | None = None) -> str | None:
    """Find the unit of a trajectory; None if it is unknown or two units are equally likely.

    A unit of length is returned only if no other unit explains the extent as well, because with
    pixels of 1 mm, cycles and radians per mm equal parts and radians.

    Parameters
    ----------
    reach : (float, float)
        Largest distances (y, x) from the centre of k-space along the axes.
    matrix : (int, int)
        Size (y, x) of the images in pixels.
    voxel_mm : (float, float) or None
        Size (y, x) of a pixel in mm; None if unknown.
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
    """Return the fraction of k-space reached, in each unit whose edges contain the trajectory."""
    filled = {
        unit: max(r / e for r, e in zip(reach, edge, strict=True)) for unit, edge in edges.items()
    }
    return {unit: part for unit, part in filled.items() if 0 < part <= EXCESS}


def _nearest(filled: dict[str, float]) -> tuple[str | None, float]:
    """Return the unit whose edge is nearest, and the fraction of k-space reached in it."""
    if not filled:
        return None, 0.0
    unit = min(filled, key=lambda name: abs(filled[name] - 1))
    return unit, filled[unit]


def in_cycles(
    positions: Tensor, matrix: tuple[int, int], where: str, voxel_mm: Sides | None = None
) -> tuple[Tensor, str]:
    """Convert positions to cycles per field of view, and describe the unit found.

    Parameters
    ----------
    positions : Tensor of shape (..., 2), float32
        Positions (y, x) in an unknown unit.
    matrix : (int, int)
        Size (y, x) of the images in pixels.
    where : str
        Name of the file with the trajectory, for messages.
    voxel_mm : (float, float) or None
        Size (y, x) of a pixel in mm; None if unknown.

    Returns
    -------
    Tensor of shape (..., 2), float32
        Positions in cycles per field of view.
    str
        A note for the user about the unit that was assumed.

    Raises
    ------
    InputError
        If the unit is unclear, or is a unit of length (`trajectory-units`).
    """
    y, x = (float(r) for r in positions.abs().flatten(0, -2).amax(0))
    unit = unit_of((y, x), matrix, voxel_mm)
    scale = {PARTS: 1.0, RADIANS: 1 / (2 * math.pi)}.get(unit or "")

    if unit not in (PARTS, RADIANS, CYCLES):
        raise InputError(
            "trajectory-units",
            f"{where} has a trajectory that reaches {y:.4g}, {x:.4g} (y, x), "
            + (f"which are {unit}" if unit else "in an unclear unit"),
            f"It must reach 0.5 in parts of k-space, pi in radians, or half of the matrix {matrix}",
            "Store positions in cycles per field of view, or correct the matrix",
        )

    note = (
        f"{where}: the trajectory reaches {max(y, x):.4g} and is read as {unit}, "
        f"for images of {matrix} (y, x)."
    )

    if scale is None:
        return positions, note
    return positions * (scale * torch.tensor(matrix, dtype=positions.dtype)), note


def _edges_of_lengths(voxel_mm: Sides | None) -> dict[str, Sides]:
    """Return the edges of k-space (y, x) in cycles and radians per length; empty if unknown."""
    if voxel_mm is None or not all(side > 0 for side in voxel_mm):
        return {}

    edges: dict[str, Sides] = {}
    for name, mm in {"mm": 1.0, "cm": 10.0, "m": 1000.0}.items():
        y, x = (mm / (2 * side) for side in voxel_mm)
        edges[f"cycles per {name}"] = (y, x)
        edges[f"radians per {name}"] = (2 * math.pi * y, 2 * math.pi * x)
    return edges
