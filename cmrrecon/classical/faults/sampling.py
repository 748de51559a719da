"""Sampling that contradicts the axes, a centre of k-space far off, half a readout that is
missing."""

from cmrrecon.classical.faults.readings import Readings, concentration
from cmrrecon.data import LineMask, SampleMask, Scan

# How much more energy there is where it is centred: a logarithm of the mean.
CLEARLY = 0.7


def swapped(readings: Readings) -> float:
    """The part of the readout that no line measured, where all lines have the same gaps inside;
    else 0."""
    mask = readings.mask
    if not isinstance(mask, SampleMask):
        return 0.0

    share = mask.samples.double().mean(1)
    whole, empty = share > 0.99, share < 0.01
    if not bool((whole | empty).all()):
        return 0.0

    gaps = []
    for frame in whole:
        seen = frame.nonzero().flatten()
        inside = frame[int(seen[0]) : int(seen[-1]) + 1] if len(seen) else frame[:0]
        gaps.append(float((~inside).double().mean()) if len(inside) else 0.0)

    return max(gaps)


def field_too_large(scan: Scan) -> tuple[int, int] | None:
    """The field of view (y, x) of the header, if it fits the k-space only with y and x swapped."""
    field = None if scan.geometry is None else scan.geometry.field_of_view
    y, x = scan.image_shape
    if field is None or (field[0] <= y and field[1] <= x):
        return None
    return field if field[1] <= y and field[0] <= x else None


def off_centre(readings: Readings) -> tuple[float, tuple[int, int]]:
    """Distance of the energy's centre from that of k-space, as a part of the matrix, and its place.

    0 along an axis where there is hardly more energy than at the centre of k-space, as with noise.
    """
    y, x = readings.mask.centre or (readings.y // 2, readings.x // 2)
    found = (readings.row, readings.column)
    far = 0.0

    for energy, here, there in (
        (readings.row_energy, found[0], y),
        (readings.column_energy, found[1], x),
    ):
        near = concentration(energy)
        if float(near[here] - near[there % len(near)]) > CLEARLY:
            far = max(far, abs(here - there) / len(near))

    return far, found


def missing_readout(readings: Readings) -> float:
    """The part of lines of which one half of the readout holds nothing."""
    if not isinstance(readings.mask, LineMask):
        return 0.0
    ends = readings.parts[..., ::2].sum(1)[readings.measured]
    return float((ends.amin(-1) <= 1e-12 * ends.amax(-1)).double().mean())
