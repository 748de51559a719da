"""Where a scan lies in the patient, and when its frames were measured."""

from dataclasses import dataclass

Vector = tuple[float, float, float]
Directions = tuple[Vector, Vector, Vector]


@dataclass(frozen=True)
class Geometry:
    """Position, directions, sizes and times of a scan; None where a file does not say.

    Attributes
    ----------
    voxel_mm : size of a voxel (y, x, slice) of the whole encoded images in mm; the slice's includes
        the gap
    positions_mm : centre of each slice in patient coordinates (LPS), mm
    directions : of each slice the unit vectors of increasing y, x and slice in patient coordinates
        (LPS)
    frame_times_ms : time of each frame in ms after the first, or after the trigger
    field_of_view : (y, x), the central pixels of the encoded images that lie in the field of view
        of the scanner's images; the rest is oversampling
    recon_matrix : (y, x), the pixels to which the scanner interpolates these
    """

    voxel_mm: Vector | None = None
    positions_mm: tuple[Vector, ...] | None = None
    directions: tuple[Directions, ...] | None = None
    frame_times_ms: tuple[float, ...] | None = None
    field_of_view: tuple[int, int] | None = None
    recon_matrix: tuple[int, int] | None = None
