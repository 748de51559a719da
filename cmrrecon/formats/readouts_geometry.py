"""Geometry of readouts: where their slices are, and when their frames were measured."""

import numpy as np
from numpy.typing import NDArray

from cmrrecon.data import Geometry
from cmrrecon.data.geometry import Directions, Vector
from cmrrecon.formats.readouts import Encoding, Raw, Table

SKEW = 0.01  # tolerance of right angles (as cosine) and of unit lengths
NEAREST = 0.01  # mm, smallest distance between neighbouring slices


def geometry_of(
    raw: Raw, image: Table, encoding: Encoding, frame_counter: str
) -> tuple[Geometry, tuple[str, ...]]:
    """Return the geometry of the image's readouts.

    Slices keep the order of their counter; their positions show the true arrangement.

    Parameters
    ----------
    raw : Raw
        The measurement, for messages.
    image : dict of str to ndarray
        Readouts of the image.
    encoding : Encoding
        Their encoding.
    frame_counter : str
        The counter that counts frames.

    Returns
    -------
    geometry : Geometry
        What is known.
    notes : tuple of str
        What could not be used.
    """
    first = np.unique(image["slice"], return_index=True)[1]
    axes = np.stack([image[name][first] for name in ("along_y", "along_x", "across")], 1)
    notes: tuple[str, ...] = ()
    if not _perpendicular(axes):
        notes = (f"{raw.path} states no perpendicular directions for its slices.",)
        axes = axes[:0]
    positions = image["position"][first]
    if not _are_known(positions, len(axes) > 0):
        positions = positions[:0]

    geometry = Geometry(
        voxel_mm=_voxel(encoding, positions, axes),
        positions_mm=tuple(_vector(row) for row in positions) or None,
        directions=tuple(_directions(row) for row in axes) or None,
        frame_times_ms=_frame_times(image, frame_counter),
        field_of_view=encoding.image,
        recon_matrix=encoding.recon_matrix,
    )
    return geometry, notes


def _perpendicular(axes: NDArray[np.float64]) -> bool:
    """Return whether the vectors of all slices (slice, 3, 3) are perpendicular unit vectors."""
    if not np.isfinite(axes).all():
        return False
    products = axes @ axes.transpose(0, 2, 1)
    return bool((np.abs(products - np.eye(3)) <= SKEW).all())


def _are_known(positions: NDArray[np.float64], directed: bool) -> bool:
    """Return whether positions (slice, 3) are finite, distinct, and not just unset zeros."""
    if not np.isfinite(positions).all() or not (directed or positions.any()):
        return False
    return len(np.unique(positions, axis=0)) == len(positions)


def _voxel(
    encoding: Encoding, positions: NDArray[np.float64], axes: NDArray[np.float64]
) -> Vector | None:
    """Return the voxel size (y, x, slice) in mm; the last is the slice spacing, if known."""
    if encoding.field_of_view_mm is None:
        return None
    y, x, thickness = encoding.field_of_view_mm
    spacing = _spacing(positions, axes)
    return (
        y / encoding.matrix[0],
        x / encoding.matrix[1],
        thickness if spacing is None else spacing,
    )


def _spacing(positions: NDArray[np.float64], axes: NDArray[np.float64]) -> float | None:
    """Return the spacing of parallel slices in mm; None for a single slice or tilted slices."""
    if len(positions) < 2 or not len(axes):
        return None
    normal = axes[0, 2]
    if (axes[:, 2] @ normal < 1 - SKEW).any():
        return None
    steps = np.diff(np.sort(positions @ normal))
    return float(np.median(steps)) if steps.min() > NEAREST else None


def _frame_times(image: Table, frame_counter: str) -> tuple[float, ...] | None:
    """Return frame times in ms, after the trigger for cardiac phases, else after the first frame.

    The times are those of the first slice. Each is the mean of the times of a frame's first and
    last readouts, so that the order of lines does not matter. The result is None if times are
    missing or do not increase from frame to frame.
    """
    chosen = image["slice"] == 0
    frame = image["frame"][chosen]
    frames = int(image["frame"].max()) + 1
    names = ("trigger_ms", "time_ms") if frame_counter == "phase" else ("time_ms",)

    for name in names:
        times = image[name][chosen]
        if not np.isfinite(times).all():
            continue
        low, high = np.full(frames, np.inf), np.full(frames, -np.inf)
        np.minimum.at(low, frame, times)
        np.maximum.at(high, frame, times)
        middle = (low + high) / 2
        if frames > 1 and (np.diff(middle) > 0).all():
            start = 0.0 if name == "trigger_ms" else float(middle[0])
            return tuple(float(time - start) for time in middle)
    return None


def _vector(row: NDArray[np.float64]) -> Vector:
    x, y, z = (float(number) for number in row)
    return x, y, z


def _directions(axes: NDArray[np.float64]) -> Directions:
    """Return unit vectors in the directions of increasing y, x and slice."""
    y, x, z = (_vector(row / np.linalg.norm(row)) for row in axes)
    return y, x, z
