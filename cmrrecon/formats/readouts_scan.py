"""From single readouts to a scan: which are image data, where each lies, what calibrates, what is
noise."""

from dataclasses import replace

from cmrrecon.data import Acquisition, SamplingMask, Scan
from cmrrecon.formats.readouts import Encoding, Raw, Table
from cmrrecon.formats.readouts_choice import Chosen, choose
from cmrrecon.formats.readouts_geometry import geometry_of
from cmrrecon.formats.readouts_lines import Lines, placed
from cmrrecon.formats.readouts_noise import noise_of
from cmrrecon.formats.readouts_reference import references
from cmrrecon.formats.readouts_spokes import Spokes, along_trajectory, spokes_of, trajectory_of

PATTERNS = {"radial": "radial", "goldenangle": "radial", "spiral": "spiral"}


def assemble(raw: Raw, noise: Raw | None = None) -> Scan:
    """The scan that readouts make.

    Frames are cardiac phases, else repetitions, contrasts or sets, whichever is the first to vary;
    of the others the first value is read. Averages and repeated lines become their mean.

    Parameters
    ----------
    raw : the readouts
    noise : another measurement with noise readouts of the same coils; None: those in `raw`, if any

    Raises
    ------
    InputError : the readouts do not fit together
    """
    chosen = choose(raw)
    along = along_trajectory(raw, chosen.image, chosen.encoding)
    reader, mask, notes = (_along if along else _cartesian)(raw, chosen.image, chosen.encoding)

    covariance, of_noise = noise_of(raw, chosen.image, raw if noise is None else noise)
    calibration, of_references = references(
        raw, chosen.reference, chosen.encoding, reader.shape[2], reader.shape[1], not along
    )
    geometry, of_geometry = geometry_of(raw, chosen.image, chosen.encoding, chosen.moving)

    return Scan(
        reader.shape,
        reader,
        mask,
        acquisition=_acquisition(raw, chosen, along),
        path=str(raw.path),
        notes=(*raw.notes, *chosen.notes, *notes, *of_noise, *of_references, *of_geometry),
        noise=covariance,
        calibration=calibration,
        geometry=geometry,
    )


Placed = tuple[Lines | Spokes, SamplingMask | None, tuple[str, ...]]


def _cartesian(raw: Raw, image: Table, encoding: Encoding) -> Placed:
    lines, notes = placed(raw, image, encoding)
    mask, of_mask = lines.mask()
    return lines, mask, (*notes, *of_mask)


def _along(raw: Raw, image: Table, encoding: Encoding) -> Placed:
    spokes = spokes_of(raw, image)
    trajectory, note = trajectory_of(spokes, encoding)
    return spokes, spokes.mask(trajectory), (note,)


def _acquisition(raw: Raw, chosen: Chosen, along: bool) -> Acquisition:
    """What is known of the scan, with the pattern of its trajectory."""
    pattern = PATTERNS.get(chosen.encoding.trajectory.lower()) if along else None
    known = raw.acquisition
    return known if pattern is None else replace(known, pattern=pattern)
