"""Selects the image readouts, the calibration readouts, and the counter that becomes the frames."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmrrecon.formats.readouts import Encoding, Raw, Table, part
from cmrrecon.tools.errors import InputError

# Counters that may become the frames, in order of preference. Of all other counters, only the first
# value is read.
FRAME_COUNTERS = ("phase", "repetition", "contrast", "set")
FRAME_WORDS = {
    "phase": "cardiac phases",
    "repetition": "repetitions",
    "contrast": "contrasts",
    "set": "sets",
}
WITHIN = ("embedded", "interleaved")  # kinds of calibration whose lines are also image lines


@dataclass(frozen=True, eq=False)
class Chosen:
    """The readouts that are used.

    Attributes
    ----------
    image : dict of str to ndarray
        Readouts of the image, with additional columns `frame` and `slice`, counted from 0, and
        `index`, the row in the file's table.
    reference : dict of str to ndarray
        Separate calibration readouts, with the same columns; `frame` is 0.
    encoding : Encoding
        Encoding of the image.
    frame_counter : str
        The counter that became the frames.
    notes : tuple of str
        What was omitted or assumed.
    """

    image: Table
    reference: Table
    encoding: Encoding
    frame_counter: str
    notes: tuple[str, ...]


def choose(raw: Raw) -> Chosen:
    """Select the readouts to use.

    Parameters
    ----------
    raw : Raw
        All readouts of the measurement.

    Returns
    -------
    Chosen
        The selected readouts.

    Raises
    ------
    InputError
        If there are no image readouts (`readouts-missing`), their encoding is unknown
        (`encoding-missing`), or they are three-dimensional (`kspace-3d`).
    """
    table = raw.table | {"index": np.arange(len(raw.table["image"]))}
    _require_images(raw)

    space, encoding, notes = _encoding(raw)
    embedded = _embedded(table, space, encoding)
    first = (table["space"] == space) & (table["image"] | embedded)
    image = part(table, first)
    reference = part(table, _separate(table, embedded, space))

    _require_two_dimensions(image, raw)
    frame_counter = next((name for name in FRAME_COUNTERS if np.ptp(image[name])), "phase")
    image, left_out = _first_values(image, frame_counter, raw)
    if frame_counter != "phase":
        notes.append(f"{raw.path}: {FRAME_WORDS[frame_counter]} became the frames.")

    slices, image["slice"] = np.unique(image["slice"], return_inverse=True)
    image["frame"] = np.unique(image[frame_counter], return_inverse=True)[1]
    return Chosen(
        image, _of_slices(reference, slices), encoding, frame_counter, (*left_out, *notes)
    )


def _require_images(raw: Raw) -> None:
    if not raw.table["image"].any():
        raise InputError(
            "readouts-missing",
            f"{raw.path} contains no image data",
            "At least one readout must be marked as image data",
            raw.remedy,
        )


def _require_two_dimensions(image: Table, raw: Raw) -> None:
    if np.ptp(image["partition"]):
        raise InputError(
            "kspace-3d",
            f"{raw.path} contains three-dimensional k-space",
            "Only two-dimensional slices can be read",
            raw.remedy,
        )


def _encoding(raw: Raw) -> tuple[int, Encoding, list[str]]:
    """Return the first encoding with image data, and a note if there are others."""
    spaces = np.unique(raw.table["space"][raw.table["image"]])
    space = int(spaces[0])
    if space >= len(raw.encodings):
        raise InputError(
            "encoding-missing",
            f"{raw.path} has readouts of encoding {space}, but its header has only encodings 0 to "
            f"{len(raw.encodings) - 1}",
            "The header must describe the encoding of the image",
            raw.remedy,
        )
    notes = []
    if len(spaces) > 1:
        others = ", ".join(str(number) for number in spaces[1:])
        notes.append(f"{raw.path}: only encoding {space} was read, not encoding {others}.")
    return space, raw.encodings[space], notes


def _embedded(table: Table, space: int, encoding: Encoding) -> NDArray[np.bool]:
    """Find calibration readouts that belong to the image but are not marked as image data.

    The header decides if it states the kind of calibration. Otherwise, calibration readouts belong
    to the image if they only fill gaps: none of them repeats an image line of its frame, as
    separate references would; none has a frame without image lines; and all have as many samples as
    the image lines.
    """
    only: NDArray[np.bool] = table["calibration"] & ~table["image"] & (table["space"] == space)
    image = table["image"] & (table["space"] == space)
    candidates = only & np.isin(table["coils"], table["coils"][image])
    if encoding.calibration in WITHIN:
        return candidates
    candidates &= np.isin(table["samples"], table["samples"][image])
    if encoding.calibration or not candidates.any():
        return np.zeros_like(only)

    frames = _numbered(table, FRAME_COUNTERS)
    places = _numbered(table, (*FRAME_COUNTERS, "slice", "line"))
    repeated = np.isin(places[candidates], places[image]).any()
    extra_frames = not np.isin(frames[candidates], frames[image]).all()
    return np.zeros_like(only) if repeated or extra_frames else candidates


def _separate(table: Table, embedded: NDArray[np.bool], space: int) -> NDArray[np.bool]:
    """Find the readouts that are separate references.

    These are the calibration readouts that are not image lines. Image lines that are also marked as
    calibration are added if they fill gaps between these readouts on the same grid.
    """
    only: NDArray[np.bool] = table["calibration"] & ~table["image"] & ~embedded
    candidates = (
        only & (table["space"] == space) & np.isin(table["coils"], table["coils"][table["image"]])
    )

    both: NDArray[np.bool] = table["calibration"] & table["image"] & (table["space"] == space)
    for name in ("slice", "samples"):
        both &= np.isin(table[name], table[name][candidates])
    places = _numbered(table, ("slice", "line"))
    both &= ~np.isin(places, places[candidates])
    return only | both


def _numbered(table: Table, names: tuple[str, ...]) -> NDArray[np.int64]:
    """Number the readouts so that readouts with equal counters have the same number."""
    number = np.zeros(len(table["line"]), np.int64)
    for name in names:
        values, inverse = np.unique(table[name], return_inverse=True)
        number = np.unique(number * len(values) + inverse, return_inverse=True)[1]
    return number


def _first_values(table: Table, frame_counter: str, raw: Raw) -> tuple[Table, list[str]]:
    """Keep the first value of each counter that neither becomes the frames nor is averaged."""
    notes = []
    for name in FRAME_COUNTERS:
        values = np.unique(table[name])
        if len(values) > 1 and name != frame_counter:
            table = part(table, table[name] == values[0])
            notes.append(
                f"{raw.path} has {len(values)} values of the counter {name}; the first was read."
            )
    return table, notes


def _of_slices(reference: Table, slices: NDArray[np.int64]) -> Table:
    """Select the references of the selected slices, and renumber their slices accordingly."""
    reference = part(reference, np.isin(reference["slice"], slices))
    numbered = {
        "slice": np.searchsorted(slices, reference["slice"]),
        "frame": np.zeros(len(reference["slice"]), np.int64),
    }
    return reference | numbered
