"""Where a scan lies in the patient, and when its frames were measured."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

Vector = tuple[float, float, float]
Directions = tuple[Vector, Vector, Vector]


@dataclass(frozen=True)
class Geometry:
    """Position, directions, sizes and times of a scan; None where a file does not say.

    Pixels are counted from 0. The reference pixel of an image of n pixels is n // 2 along y and x,
    where the Fourier transforms put the phase zero. A cut or an interpolation keeps it at the same
    place in the patient, so positions hold for images of any size.

    Attributes
    ----------
    voxel_mm : size of a voxel (y, x, slice) of the whole encoded images in mm; the slice's includes
        the gap
    positions_mm : of each slice the centre of pixel (y // 2, x // 2) in patient coordinates (LPS),
        mm; pixel (i, j) lies at position + (i - y // 2) voxel_y direction_y + (j - x // 2) voxel_x
        direction_x
    directions : of each slice the unit vectors of increasing y, x and slice in patient coordinates
        (LPS)
    frame_times_ms : time of each frame in ms after the first, or after the trigger
    field_of_view : (y, x), the central pixels of the encoded images that lie in the field of view
        of the scanner's images; the rest is oversampling. Of n pixels these m begin at
        n // 2 - m // 2
    recon_matrix : (y, x), the pixels to which the scanner interpolates these
    """

    voxel_mm: Vector | None = None
    positions_mm: tuple[Vector, ...] | None = None
    directions: tuple[Directions, ...] | None = None
    frame_times_ms: tuple[float, ...] | None = None
    field_of_view: tuple[int, int] | None = None
    recon_matrix: tuple[int, int] | None = None

    def of_slices(self, indices: Sequence[int]) -> "Geometry":
        """The geometry of some slices, by their numbers; those without a known place give None."""
        wanted = max(indices, default=0)
        positions, directions = self.positions_mm, self.directions

        if positions is not None:
            fit = wanted < len(positions)
            positions = tuple(positions[index] for index in indices) if fit else None
        if directions is not None:
            fit = wanted < len(directions)
            directions = tuple(directions[index] for index in indices) if fit else None

        return replace(self, positions_mm=positions, directions=directions)
