"""Detect swapped axes, a misplaced centre of k-space, and a missing half of the readout."""

from cmrrecon.classical.faults.readings import Readings, concentration
from cmrrecon.data import LineMask, SampleMask, Scan

# The energy must be larger by this much at its own centre than at the centre of k-space. This is a
# difference of mean logarithms.
CLEARLY = 0.7


def swapped(readings: Readings) -> float:
    """Return the fraction of the readout that no line measured, if all lines have the same gaps.

    Only gaps within the measured extent count. The result is 0 if lines have different gaps.
    """
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
    """Return the field of view (y, x) if it fits the k-space only with y and x swapped."""
    field = None if scan.geometry is None else scan.geometry.field_of_view
    y, x = scan.image_shape
    if field is None or (field[0] <= y and field[1] <= x):
        return None
    return field if field[1] <= y and field[0] <= x else None


def off_centre(readings: Readings) -> tuple[float, tuple[int, int]]:
    """Measure how far the centre of the energy is from the centre of k-space.

    The result is the distance as a fraction of the matrix, and the position (y, x) of the centre of
    the energy. The distance is 0 along an axis if the energy is hardly larger there than at the
    centre of k-space, as in noise.
    """
    y, x = readings.mask.centre or (readings.y // 2, readings.x // 2)
    found = (readings.row, readings.column)
    distance = 0.0

    for energy, centre, expected in (
        (readings.row_energy, found[0], y),
        (readings.column_energy, found[1], x),
    ):
        level = concentration(energy)
        if float(level[centre] - level[expected % len(level)]) > CLEARLY:
            distance = max(distance, abs(centre - expected) / len(level))

    return distance, found


def missing_readout(readings: Readings) -> float:
    """Return the fraction of lines with an empty half of the readout."""
    if not isinstance(readings.mask, LineMask):
        return 0.0
    ends = readings.parts[..., ::2].sum(1)[readings.measured]
    return float((ends.amin(-1) <= 1e-12 * ends.amax(-1)).double().mean())
