"""Where the pixels of images are in the patient, for NIfTI and DICOM.

Patient coordinates are those of DICOM: x to the left, y to the back, z to the head (LPS), in mm.
NIfTI counts x to the right and y to the front (RAS); only `affine_of` returns such coordinates.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrrecon.data import Geometry
from cmrrecon.data.geometry import Vector
from cmrrecon.formats.export import DICOM, NIFTI, Export
from cmrrecon.formats.names import suffix_of
from cmrrecon.tools.errors import UsageError

Array = NDArray[np.float64]

UNKNOWN_MM = 1.0
# Slices along the axes of the scanner: rows of an image go to the left, columns to the back.
DEFAULT_AXES = ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
PARALLEL = 1e-3  # largest difference of unit vectors
STRAIGHT = 0.02  # largest distance of a slice from its place in a stack, in slice spacings
RAS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Placement:
    """Position, directions, sizes and times of images.

    Attributes
    ----------
    corners : ndarray of shape (slice, 3)
        Centre of pixel (0, 0) of each slice in mm.
    along_y, along_x, across : ndarray of shape (slice, 3)
        Unit vectors of increasing y, x and slice.
    pixel_mm : (float, float)
        Pixel size (y, x).
    thickness_mm : float
        Slice thickness, including the gap to the next slice.
    known : bool
        Whether positions and directions are known; otherwise they are placeholders.
    times_ms : tuple of float or None
        Time of each frame; None if unknown.
    """

    corners: Array
    along_y: Array
    along_x: Array
    across: Array
    pixel_mm: tuple[float, float]
    thickness_mm: float
    known: bool
    times_ms: tuple[float, ...] | None

    def sorted(self, order: list[int]) -> "Placement":
        """Return the placement of the slices in another order."""
        names = ("corners", "along_y", "along_x", "across")
        return replace(self, **{name: getattr(self, name)[order] for name in names})

    @property
    def step_ms(self) -> float | None:
        """Mean time from frame to frame; None for a single frame, or if it is not positive."""
        if self.times_ms is None or len(self.times_ms) < 2:
            return None
        step = (self.times_ms[-1] - self.times_ms[0]) / (len(self.times_ms) - 1)
        return step if step > 0 else None


def placement_of(
    geometry: Geometry | None, shape: tuple[int, ...], voxel_mm: Vector | None = None
) -> Placement:
    """Return the placement of images.

    Parameters
    ----------
    geometry : Geometry or None
        Geometry of the images.
    shape : tuple of int
        Shape of the images, (frame, slice, y, x).
    voxel_mm : (float, float, float) or None
        Voxel size (y, x, slice) if the geometry does not state it; None for 1 mm.

    Returns
    -------
    Placement
        What is not known is replaced: slices along the axes of the scanner, stacked without gaps,
        with the middle of the stack at the centre of the scanner.
    """
    known = geometry or Geometry()
    frames, slices, y, x = shape
    voxel = known.voxel_mm or voxel_mm or (UNKNOWN_MM,) * 3

    directed = known.directions is not None and len(known.directions) == slices
    axes = known.directions if directed and known.directions else (DEFAULT_AXES,) * slices
    along_y, along_x, across = _perpendicular(np.array(axes, np.float64))

    positioned = directed and known.positions_mm is not None and len(known.positions_mm) == slices
    if positioned:
        centres = np.array(known.positions_mm, np.float64)
    else:
        centres = across * voxel[2] * (np.arange(slices) - slices // 2)[:, None]

    times = known.frame_times_ms
    corners = centres - (y // 2) * voxel[0] * along_y - (x // 2) * voxel[1] * along_x
    return Placement(
        corners,
        along_y,
        along_x,
        across,
        (voxel[0], voxel[1]),
        voxel[2],
        positioned,
        times if times is not None and len(times) == frames else None,
    )


def notes_of(path: Path, geometry: Geometry | None, export: Export) -> tuple[str, ...]:
    """Return what an output assumes about the place of its images, as sentences for the user.

    Parameters
    ----------
    path : Path
        The output; only NIfTI and DICOM place images.
    geometry : Geometry or None
        Geometry of the images.
    export : Export
        The voxel size to use if the geometry does not state it.
    """
    if suffix_of(path) not in (*NIFTI, DICOM):
        return ()
    known, voxel_mm = geometry or Geometry(), export.voxel_mm
    notes = []

    if known.voxel_mm is None and voxel_mm is None:
        notes.append(
            "the voxel size is not known, so 1 mm is assumed in every direction; state it with "
            "--voxel-size (voxel_mm in Python)"
        )
    if known.voxel_mm is not None and voxel_mm is not None and known.voxel_mm != tuple(voxel_mm):
        notes.append("the voxel size that was given is not used, because the file states its own")

    if known.directions is None:
        notes.append("orientation and position are not known; left and right may be exchanged")
    elif known.positions_mm is None:
        notes.append("the positions of the slices are not known, only their orientation")
    return tuple(notes)


def affine_of(placement: Placement) -> tuple[list[int], Array]:
    """Return the order of the slices and the matrix from voxel indices to mm, both for NIfTI.

    Parameters
    ----------
    placement : Placement
        The placement of the images.

    Returns
    -------
    order : list of int
        The slices in the order of their positions; unchanged if that is regular already.
    affine : ndarray of shape (4, 4)
        Turns (x, y, slice, 1) into coordinates to the right, front and head (RAS) in mm.

    Raises
    ------
    UsageError
        If the slices are not parallel or not equally spaced (`slices-not-stacked`).
    """
    order = _order(placement)
    corners = placement.corners[order]
    step = placement.across[0] * placement.thickness_mm
    if len(order) > 1:
        step = (corners[-1] - corners[0]) / (len(order) - 1)

    y, x = placement.pixel_mm
    affine = np.eye(4)
    columns = (placement.along_x[0] * x, placement.along_y[0] * y, step, corners[0])
    affine[:3] = RAS @ np.stack(columns, axis=1)
    # Zeros without a sign: -0.0 would be confusing in headers.
    return order, affine + 0.0


def order_of(placement: Placement) -> list[int]:
    """Return the slices in the order of their positions; unchanged if they are no stack."""
    try:
        return _order(placement)
    except UsageError:
        return list(range(len(placement.corners)))


def spacing_of(placement: Placement) -> float | None:
    """Return the distance of neighbouring slices in mm; None if they are not a regular stack."""
    if len(placement.corners) == 1:
        return placement.thickness_mm
    try:
        order = _order(placement)
    except UsageError:
        return None
    first, second = placement.corners[order[:2]]
    return float(np.linalg.norm(second - first))


def _order(placement: Placement) -> list[int]:
    """Return the order in which the slices are a regular stack."""
    corners = placement.corners
    count = len(corners)
    tilted = any(
        np.abs(axes - axes[0]).max() > PARALLEL for axes in (placement.along_y, placement.along_x)
    )

    if not tilted:
        normal = np.cross(placement.along_x[0], placement.along_y[0])
        for order in (list(range(count)), [int(z) for z in np.argsort(corners @ normal)]):
            if _is_straight(corners[order]):
                return order

    raise UsageError(
        "slices-not-stacked",
        f"The {count} slices are not parallel and equally spaced",
        "A NIfTI file describes the place of all its slices with one matrix",
        "Write DICOM instead, or reconstruct each slice on its own with --slices",
    )


def _is_straight(corners: Array) -> bool:
    """Return whether corners are equally spaced on a line."""
    if len(corners) < 2:
        return True
    step = (corners[-1] - corners[0]) / (len(corners) - 1)
    expected = corners[0] + np.arange(len(corners))[:, None] * step
    spacing = float(np.linalg.norm(step))
    return spacing > 0 and float(np.abs(corners - expected).max()) <= STRAIGHT * spacing


def _perpendicular(axes: Array) -> tuple[Array, Array, Array]:
    """Return perpendicular unit vectors (slice, 3) of y, x and slice; x keeps its direction."""
    y, x, across = axes.transpose(1, 0, 2)
    x = x / _length(x)
    y = y - (y * x).sum(1, keepdims=True) * x
    y = y / _length(y)

    normal = np.cross(x, y)
    side = np.sign((normal * across).sum(1, keepdims=True))
    return y, x, normal * np.where(side == 0, 1, side)


def _length(vectors: Array) -> Any:
    return np.linalg.norm(vectors, axis=1, keepdims=True)
