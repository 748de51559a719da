"""The position of a scan in the patient, and the times of its frames."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

Vector = tuple[float, float, float]
Directions = tuple[Vector, Vector, Vector]


@dataclass(frozen=True)
class Geometry:
    """Position, directions, sizes and times of a scan; None where the file does not state them.

    Pixels are counted from 0. The reference pixel is n // 2 along an axis of n pixels, where the
    Fourier transforms have phase zero. Cropping and interpolation keep it at the same place in the
    patient, so the positions are valid for images of any size.

    Attributes
    ----------
    voxel_mm : (float, float, float) or None
        Size of a voxel (y, x, slice) of the whole encoded images in mm, including the slice gap.
    positions_mm : tuple of (float, float, float) or None
        Centre of pixel (y // 2, x // 2) of each slice in patient coordinates (LPS), in mm. Pixel
        (i, j) is at position + (i - y // 2) voxel_y direction_y + (j - x // 2) voxel_x direction_x.
    directions : tuple of Directions or None
        Unit vectors of increasing y, x and slice of each slice in patient coordinates (LPS).
    frame_times_ms : tuple of float or None
        Time of each frame in ms after the first frame or after the trigger.
    field_of_view : (int, int) or None
        Size (y, x) in pixels of the central part of the encoded images that the scanner shows; the
        rest is oversampling. Along an axis of n pixels, a part of m pixels starts at
        n // 2 - m // 2.
    recon_matrix : (int, int) or None
        Size (y, x) in pixels to which the scanner interpolates the field of view.
    """

    voxel_mm: Vector | None = None
    positions_mm: tuple[Vector, ...] | None = None
    directions: tuple[Directions, ...] | None = None
    frame_times_ms: tuple[float, ...] | None = None
    field_of_view: tuple[int, int] | None = None
    recon_matrix: tuple[int, int] | None = None

    def of_slices(self, indices: Sequence[int]) -> "Geometry":
        """Return the geometry of some slices, with positions and directions if all are known."""
        wanted = max(indices, default=0)
        positions, directions = self.positions_mm, self.directions

        if positions is not None:
            fit = wanted < len(positions)
            positions = tuple(positions[index] for index in indices) if fit else None
        if directions is not None:
            fit = wanted < len(directions)
            directions = tuple(directions[index] for index in indices) if fit else None

        return replace(self, positions_mm=positions, directions=directions)
