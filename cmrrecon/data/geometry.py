"""Where a scan lies in the patient, and when its frames were measured."""

from dataclasses import dataclass

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Geometry:
    """Position, directions, sizes and times of a scan; None where a file does not say.

    Attributes
    ----------
    voxel_mm : size of a voxel (y, x, slice) in mm; the slice's includes the gap
    position_mm : centre of the first slice in patient coordinates (LPS), mm
    directions : unit vectors of the axes y, x and slice in patient coordinates (LPS)
    frame_times_ms : time of each frame in ms after the first, or after the trigger
    readout_oversampling : factor by which the readout exceeds the field of view of the images
    """

    voxel_mm: Vector | None = None
    position_mm: Vector | None = None
    directions: tuple[Vector, Vector, Vector] | None = None
    frame_times_ms: tuple[float, ...] | None = None
    readout_oversampling: float | None = None
