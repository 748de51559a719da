"""Which readouts are the image, which calibrate it, and what counts its frames."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmrrecon.formats.readouts import Encoding, Raw, Table, part
from cmrrecon.tools.errors import InputError

# What may count frames, in this order; of the others the first value is read.
MOVING = ("phase", "repetition", "contrast", "set")
FRAME_WORDS = {
    "phase": "cardiac phases",
    "repetition": "repetitions",
    "contrast": "contrasts",
    "set": "sets",
}
WITHIN = ("embedded", "interleaved")  # calibration lines that are image lines too


@dataclass(frozen=True, eq=False)
class Chosen:
    """What is read.

    Attributes
    ----------
    image : the readouts of the image, with their `frame` and `slice` from 0 and their `index` in
        the file's table
    reference : separate calibration readouts, with the same columns; their `frame` is 0
    encoding : of the image
    moving : the counter that counts frames
    notes : what was left out or assumed
    """

    image: Table
    reference: Table
    encoding: Encoding
    moving: str
    notes: tuple[str, ...]


def choose(raw: Raw) -> Chosen:
    """The readouts that are read, and what is left out.

    Raises
    ------
    InputError : `readouts-missing`, `encoding-missing`, `kspace-3d`
    """
    table = raw.table | {"index": np.arange(len(raw.table["image"]))}
    _require_images(raw)

    space, encoding, notes = _encoding(raw)
    embedded = _embedded(table, space, encoding)
    first = (table["space"] == space) & (table["image"] | embedded)
    image = part(table, first)
    reference = part(table, _separate(table, embedded, space))

    _require_two_dimensions(image, raw)
    moving = next((name for name in MOVING if np.ptp(image[name])), "phase")
    image, left_out = _first_values(image, moving, raw)
    if moving != "phase":
        notes.append(f"{raw.path}: {FRAME_WORDS[moving]} were taken as frames.")

    slices, image["slice"] = np.unique(image["slice"], return_inverse=True)
    image["frame"] = np.unique(image[moving], return_inverse=True)[1]
    return Chosen(image, _of_slices(reference, slices), encoding, moving, (*left_out, *notes))


def _require_images(raw: Raw) -> None:
    if not raw.table["image"].any():
        raise InputError(
            "readouts-missing",
            f"{raw.path} holds no image data",
            "At least one readout must be of the image",
            raw.remedy,
        )


def _require_two_dimensions(image: Table, raw: Raw) -> None:
    if np.ptp(image["partition"]):
        raise InputError(
            "kspace-3d",
            f"{raw.path} holds three-dimensional k-space",
            "Slices must be encoded one by one",
            raw.remedy,
        )


def _encoding(raw: Raw) -> tuple[int, Encoding, list[str]]:
    """The first encoding with image data, and a note if there are more."""
    spaces = np.unique(raw.table["space"][raw.table["image"]])
    space = int(spaces[0])
    if space >= len(raw.encodings):
        raise InputError(
            "encoding-missing",
            f"{raw.path} has readouts of encoding {space}, and its header {len(raw.encodings)}",
            "The header must describe the encoding of the image, counted from 0",
            raw.remedy,
        )
    notes = []
    if len(spaces) > 1:
        others = ", ".join(str(number) for number in spaces[1:])
        notes.append(f"{raw.path}: encoding {space} was read, not encoding {others}.")
    return space, raw.encodings[space], notes


def _embedded(table: Table, space: int, encoding: Encoding) -> NDArray[np.bool]:
    """Which calibration readouts belong to the image although they are not marked so.

    The header says so. Where it is silent, they do if they fill gaps only: none repeats an image
    line of its frame, as a scan of separate references would, none stands in a frame of its own,
    and all have as many samples.
    """
    alone: NDArray[np.bool] = table["calibration"] & ~table["image"] & (table["space"] == space)
    image = table["image"] & (table["space"] == space)
    alike = alone & np.isin(table["coils"], table["coils"][image])
    if encoding.calibration in WITHIN:
        return alike
    alike &= np.isin(table["samples"], table["samples"][image])
    if encoding.calibration or not alike.any():
        return np.zeros_like(alone)

    frames = _numbered(table, MOVING)
    places = _numbered(table, (*MOVING, "slice", "line"))
    apart = np.isin(places[alike], places[image]).any()
    strange = not np.isin(frames[alike], frames[image]).all()
    return np.zeros_like(alone) if apart or strange else alike


def _separate(table: Table, embedded: NDArray[np.bool], space: int) -> NDArray[np.bool]:
    """Which readouts are separate references.

    Those that are no image lines; and of the image lines that calibrate too, those that fill the
    gaps which the first leave on the same grid.
    """
    alone: NDArray[np.bool] = table["calibration"] & ~table["image"] & ~embedded
    alike = (
        alone & (table["space"] == space) & np.isin(table["coils"], table["coils"][table["image"]])
    )

    both: NDArray[np.bool] = table["calibration"] & table["image"] & (table["space"] == space)
    for name in ("slice", "samples"):
        both &= np.isin(table[name], table[name][alike])
    places = _numbered(table, ("slice", "line"))
    both &= ~np.isin(places, places[alike])
    return alone | both


def _numbered(table: Table, names: tuple[str, ...]) -> NDArray[np.int64]:
    """A number for each readout, the same where these counters are."""
    number = np.zeros(len(table["line"]), np.int64)
    for name in names:
        values, inverse = np.unique(table[name], return_inverse=True)
        number = np.unique(number * len(values) + inverse, return_inverse=True)[1]
    return number


def _first_values(table: Table, moving: str, raw: Raw) -> tuple[Table, list[str]]:
    """The readouts with the first value of each counter that neither moves nor is averaged."""
    notes = []
    for name in MOVING:
        values = np.unique(table[name])
        if len(values) > 1 and name != moving:
            table = part(table, table[name] == values[0])
            notes.append(
                f"{raw.path} has {len(values)} values of the counter {name}; the first was taken."
            )
    return table, notes


def _of_slices(reference: Table, slices: NDArray[np.int64]) -> Table:
    """The references of the slices that are read, numbered as these are."""
    reference = part(reference, np.isin(reference["slice"], slices))
    numbered = {
        "slice": np.searchsorted(slices, reference["slice"]),
        "frame": np.zeros(len(reference["slice"]), np.int64),
    }
    return reference | numbered
