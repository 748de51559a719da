"""Assembles a scan from single readouts."""

from dataclasses import replace

from cmrrecon.data import Acquisition, SamplingMask, Scan
from cmrrecon.formats.readouts import Encoding, Raw, Table
from cmrrecon.formats.readouts_choice import Chosen, choose
from cmrrecon.formats.readouts_geometry import geometry_of
from cmrrecon.formats.readouts_lines import Lines, place_lines
from cmrrecon.formats.readouts_noise import noise_of
from cmrrecon.formats.readouts_reference import references
from cmrrecon.formats.readouts_spokes import Spokes, is_non_cartesian, spokes_of, trajectory_of

PATTERNS = {"radial": "radial", "goldenangle": "radial", "spiral": "spiral"}


def assemble(raw: Raw, noise: Raw | None = None) -> Scan:
    """Assemble a scan from readouts.

    The first of these counters that varies becomes the frames: cardiac phases, repetitions,
    contrasts, sets. Only the first value of the other counters is read. Averages and repeated lines
    are averaged.

    Parameters
    ----------
    raw : Raw
        The readouts.
    noise : Raw or None
        Another measurement with noise readouts of the same coils; None to use the noise readouts in
        `raw`.

    Returns
    -------
    Scan
        The scan, Cartesian or along its trajectory.

    Raises
    ------
    InputError
        If the readouts do not form a scan; see `choose`, `place_lines` and `spokes_of`.
    """
    chosen = choose(raw)
    non_cartesian = is_non_cartesian(raw, chosen.image, chosen.encoding)
    reader, mask, notes = (_non_cartesian if non_cartesian else _cartesian)(
        raw, chosen.image, chosen.encoding
    )

    covariance, of_noise = noise_of(raw, chosen.image, raw if noise is None else noise)
    calibration, of_references = references(
        raw, chosen.reference, chosen.encoding, reader.shape[2], reader.shape[1], not non_cartesian
    )
    geometry, of_geometry = geometry_of(raw, chosen.image, chosen.encoding, chosen.frame_counter)

    return Scan(
        reader.shape,
        reader,
        mask,
        acquisition=_acquisition(raw, chosen, non_cartesian),
        path=str(raw.path),
        notes=(*raw.notes, *chosen.notes, *notes, *of_noise, *of_references, *of_geometry),
        noise=covariance,
        calibration=calibration,
        geometry=geometry,
    )


Placed = tuple[Lines | Spokes, SamplingMask | None, tuple[str, ...]]


def _cartesian(raw: Raw, image: Table, encoding: Encoding) -> Placed:
    lines, notes = place_lines(raw, image, encoding)
    mask, of_mask = lines.mask()
    return lines, mask, (*notes, *of_mask)


def _non_cartesian(raw: Raw, image: Table, encoding: Encoding) -> Placed:
    spokes = spokes_of(raw, image)
    trajectory, note = trajectory_of(spokes, encoding)
    return spokes, spokes.mask(trajectory), (note,)


def _acquisition(raw: Raw, chosen: Chosen, non_cartesian: bool) -> Acquisition:
    """Return the known facts, with the pattern of the trajectory."""
    pattern = PATTERNS.get(chosen.encoding.trajectory.lower()) if non_cartesian else None
    known = raw.acquisition
    return known if pattern is None else replace(known, pattern=pattern)
