"""Detect faults in the data, and describe the evidence for the user to check.

Faults only cause warnings; no method or decision depends on them. For each kind of fault, a
function returns a severity, which is larger for worse data. Each limit separates the good scans
from the broken scans that `benchmarks/faults.py` makes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from cmrrecon.classical.faults import conjugates, intensities, order, sampling, slices, spokes
from cmrrecon.classical.faults.readings import Readings
from cmrrecon.data import Scan, Series, SpokeMask

__all__ = ["LIMITS", "Fault", "faults_of_scan", "faults_of_series", "findings"]

# Severities above these limits cause warnings; each function documents its unit.
LIMITS = {
    "axes-swapped": 0.1,
    "centre-off": 0.125,
    "coil-loud": 4.0,
    "coils-as-slices": 2.2,
    "coils-conjugated": 1.1,
    "frames-conjugated": 0.6,
    "frames-disordered": 1.3,
    "lines-conjugated": 0.015,
    "line-outlying": 3.5,
    "readout-half": 0.05,
    "spike": 6.0,
    "trajectory-delay": 0.4,
    "value-lone": 10.0,
}

SENTENCES = {
    "axes-swapped": "y and x look swapped: {}. Check the order of the axes",
    "centre-off": "The centre of k-space looks far off: most energy lies at (y, x) = {}. "
    "Check for a missing shift of the Fourier transform, and the centre in the header",
    "coil-loud": "Coil {} is {} times louder than any other. Check its scale in the export and its "
    "noise",
    "coils-as-slices": "Coils seem to be stored as slices: neighbouring slices predict each other "
    "{} times better than similar images would, as only coils do. Check the order of the axes",
    "coils-conjugated": "Coils {} look complex-conjugated: the other coils predict their "
    "conjugates {} times better. Check the sign of the imaginary part in the export",
    "frames-conjugated": "Frames {} look complex-conjugated: compared with the others, their "
    "profiles along x are mirrored (correlation {}). Check the sign of the imaginary part in the "
    "export",
    "frames-disordered": "Frames look out of order: the changes from frame to frame are {} times "
    "larger than in the best order found. Check how they were sorted",
    "lines-conjugated": "{} of the central lines look complex-conjugated: compared with the "
    "others, their profiles along x are mirrored. Check the sign of alternate lines in the export",
    "line-outlying": "Line {} of frame {} is {} times larger than its neighbours. "
    "Check for a spike or a wrong gain",
    "readout-half": "Half of the readout is empty in {} of the lines. Check whether the export cut "
    "off part of the readout",
    "spike": "A spike at (frame, y, x) = {} is {} times larger than its neighbours. Remove the "
    "sample from the mask and the data; otherwise, it will cause stripes in the images",
    "trajectory-delay": "Spokes look shifted by {} cycles per field of view along their readout. "
    "Correct the trajectory for gradient delays",
    "value-lone": "A single value at (frame, coil, y, x) = {} is {} times larger than all others. "
    "Check the copy and the export; one damaged byte is enough",
}


@dataclass(frozen=True)
class Fault:
    """Something in the data that looks broken.

    Attributes
    ----------
    kind : str
        A key of `LIMITS`.
    severity : float
        The number that exceeded the limit.
    words : str
        What looks wrong, the evidence, and what to check.
    """

    kind: str
    severity: float
    words: str


Finding = tuple[str, float, tuple[object, ...]]


def faults_of_series(series: Series) -> list[Fault]:
    """Find the faults in one slice over time; the list is empty if there are none."""
    return _beyond(_found(Readings(series)))


def faults_of_scan(scan: Scan, series: Series, index: int) -> list[Fault]:
    """Find the faults in a scan, judging by slice `index`, which has been read already.

    Other slices are read only if the scan has a single coil.

    Parameters
    ----------
    scan : Scan
        The scan.
    series : Series
        Slice `index` of the scan.
    index : int
        Number of the slice.

    Returns
    -------
    list of Fault
        The faults; empty if there are none.
    """
    readings = Readings(series)
    severity = slices.as_coils(scan, readings, index)
    found: list[Finding] = [("coils-as-slices", severity, (f"{severity:.1f}",))]
    if (fields := sampling.field_too_large(scan)) is not None:
        words = f"the field of view is {fields} pixels (y, x), the k-space {scan.shape[3:]}"
        found.append(("axes-swapped", 1.0, (words,)))

    return _beyond(_found(readings) + found)


def findings(series: Series) -> dict[str, float]:
    """Return the severity of each kind of fault in one slice, above or below its limit."""
    return {kind: severity for kind, severity, _ in _found(Readings(series))}


def _found(readings: Readings) -> list[Finding]:
    checks = ALONG_SPOKES if isinstance(readings.mask, SpokeMask) else CARTESIAN
    return [finding for check in checks for finding in check(readings)]


def _beyond(found: list[Finding]) -> list[Fault]:
    return [
        Fault(kind, severity, SENTENCES[kind].format(*evidence))
        for kind, severity, evidence in found
        if severity > LIMITS[kind]
    ]


def _axes(readings: Readings) -> list[Finding]:
    severity = sampling.swapped(readings)
    words = f"{severity:.0%} of the samples along x are missing in every line, but none along y"
    return [("axes-swapped", severity, (words,))]


def _centre(readings: Readings) -> list[Finding]:
    severity, place = sampling.off_centre(readings)
    return [("centre-off", severity, (place,))]


def _readout(readings: Readings) -> list[Finding]:
    severity = sampling.missing_readout(readings)
    return [("readout-half", severity, (f"{severity:.0%}",))]


def _loud(readings: Readings) -> list[Finding]:
    severity, coil = intensities.loudness(readings)
    return [("coil-loud", severity, (coil, f"{severity:.0f}"))]


def _outlying(readings: Readings) -> list[Finding]:
    """Check for spikes and outlying lines; the line of a spike is reported only as a spike."""
    lines = intensities.standing_out(readings)
    spike, position = intensities.spikes(readings, lines)
    found: list[Finding] = [("spike", spike, (position, f"{spike:.0f}"))]
    ratio, place = float(lines.max()), divmod(int(lines.argmax()), readings.y)
    lone, where = intensities.lone_value(readings)
    found.append(("value-lone", lone, (where, f"{lone:.0f}")))
    same = spike > LIMITS["spike"] and place == position[:2]
    severity = 1.0 if same else ratio
    return [*found, ("line-outlying", severity, (place[1], place[0], f"{ratio:.0f}"))]


def _conjugates(readings: Readings) -> list[Finding]:
    """Check for complex conjugates; lines are checked only if no whole frame is conjugated."""
    white = readings.white
    leanings = conjugates.leanings(white)
    against, frames = conjugates.conjugated_frames(white, leanings)
    found: list[Finding] = [("frames-conjugated", against, (listed(frames), f"{-against:.2f}"))]
    fraction, _ = conjugates.conjugated_lines(white, leanings) if not frames else (0.0, 0)
    improvement, coils = conjugates.conjugated_coils(readings)
    return [
        *found,
        ("lines-conjugated", fraction, (f"{fraction:.0%}",)),
        ("coils-conjugated", improvement, (listed(coils), f"{math.exp(improvement):.1f}")),
    ]


def _order(readings: Readings) -> list[Finding]:
    severity = order.disorder(readings)
    return [("frames-disordered", severity, (f"{severity:.1f}",))]


def _delay(readings: Readings) -> list[Finding]:
    severity = spokes.delay(readings)
    return [("trajectory-delay", severity, (f"{severity:.1f}",))]


def listed(numbers: list[int]) -> str:
    """List the first five numbers, and count the others."""
    shown = ", ".join(map(str, numbers[:5]))
    return shown if len(numbers) <= 5 else f"{shown} and {len(numbers) - 5} more"


Check = Callable[[Readings], list[Finding]]
CARTESIAN: tuple[Check, ...] = (_axes, _centre, _readout, _loud, _outlying, _conjugates, _order)
ALONG_SPOKES: tuple[Check, ...] = (_loud, _delay)
