"""The XML header of ISMRMRD raw data: encoding of k-space, scanner and sequence."""

import math
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from cmrrecon.formats.readouts import Encoding
from cmrrecon.tools.errors import InputError

LONGEST = 2**22  # bytes
GYROMAGNETIC = 42.577478e6  # Hz / T, for protons
FIELDS = (0.001, 30.0)  # T, plausible range
LONGEST_NAME = 64  # characters
LINES = "encodingLimits/kspace_encoding_step_1"

Element = ElementTree.Element


@dataclass(frozen=True)
class Header:
    """The entries of the XML header that are used; patient and study data are ignored.

    Attributes
    ----------
    encodings : tuple of Encoding
        Encodings of k-space, in the header's order.
    field_strength : float or None
        Field of the magnet in tesla; None if not known.
    sequence : str or None
        Kind or name of the pulse sequence; None if not known.
    noise_bandwidth : float
        The receiver's noise bandwidth relative to the sampled bandwidth; 1 if not known.
    against_gradients : bool
        Whether image axes run opposite to the directions that the readouts state.
    """

    encodings: tuple[Encoding, ...]
    field_strength: float | None
    sequence: str | None
    noise_bandwidth: float
    against_gradients: bool


def read_header(document: bytes, path: Path) -> Header:
    """Read the header from an XML document.

    Documents that define entities or refer to other documents are refused before parsing.

    Parameters
    ----------
    document : bytes
        The XML document.
    path : Path
        The file, for messages.

    Returns
    -------
    Header
        The header.

    Raises
    ------
    InputError
        If the header states no usable sizes (`header-damaged`).
    """
    text = document[:LONGEST].decode("utf-8", errors="replace").rstrip("\0")
    try:
        if len(document) > LONGEST or "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise ValueError("it is too long, or declares a document type")
        root = ElementTree.fromstring(text)
        encodings = tuple(_encoding(each) for each in root.findall("{*}encoding"))
        if not encodings:
            raise ValueError("it has no encoding")

        bandwidth = _number(root, "acquisitionSystemInformation/relativeReceiverNoiseBandwidth")
        return Header(
            encodings,
            _field_strength(root),
            _sequence(root),
            bandwidth if 0.1 <= bandwidth <= 1 else 1.0,
            _is_against_gradients(root),
        )
    # ParseError is a SyntaxError; missing, infinite or invalid numbers raise the other errors.
    except (SyntaxError, ValueError, OverflowError) as error:
        raise InputError(
            "header-damaged",
            f"The XML header of {path} cannot be used",
            "An ISMRMRD header declares the encoded matrix, 1 to 65535 along each axis",
            "Convert the scanner's file again",
        ) from error


def _is_against_gradients(root: Element) -> bool:
    """Return whether image axes run opposite to the directions that the readouts state.

    The phase of Siemens signals has the opposite sign. Converters change neither the signals nor
    the directions of the gradients, see `formats.twix_table`.
    """
    return "siemens" in _text(root, "acquisitionSystemInformation/systemVendor").lower()


def _encoding(element: Element) -> Encoding:
    """Read one encoding; raise ValueError or OverflowError without a usable matrix."""
    y, x = (int(_number(element, f"encodedSpace/matrixSize/{axis}")) for axis in "yx")
    if not all(1 <= n < 2**16 for n in (y, x)):
        raise ValueError("the matrix has an impossible size")

    recon = _pair(element, "reconSpace/matrixSize/y", "reconSpace/matrixSize/x")
    return Encoding(
        matrix=(y, x),
        image=(_shown(element, "y", y), _shown(element, "x", x)),
        recon_matrix=recon if recon is not None and min(recon) > 0 else None,
        field_of_view_mm=_field_of_view(element),
        centre=_whole(element, f"{LINES}/center"),
        limits=_pair(element, f"{LINES}/minimum", f"{LINES}/maximum"),
        trajectory=_text(element, "trajectory").lower(),
        calibration=_text(element, "parallelImaging/calibrationMode").lower(),
    )


def _text(element: Element, place: str) -> str:
    """Return the text at a path below an element; empty if there is none."""
    found = element.findtext("/".join(f"{{*}}{name}" for name in place.split("/")))
    return (found or "").strip()


def _number(element: Element, place: str) -> float:
    """Return the number at a path below an element; NaN if there is none."""
    return float(_text(element, place) or "nan")


def _whole(element: Element, place: str) -> int | None:
    """Return the whole number at a path below an element; None if there is none."""
    number = _number(element, place)
    return None if math.isnan(number) else int(number)


def _pair(element: Element, *places: str) -> tuple[int, int] | None:
    """Return the whole numbers at two paths below an element; None if one is missing."""
    first, second = (_whole(element, place) for place in places)
    return None if first is None or second is None else (first, second)


def _shown(element: Element, axis: str, encoded: int) -> int:
    """Return how many encoded pixels are in the reconstructed field of view; all if not known."""
    whole, part = (
        _number(element, f"{space}/fieldOfView_mm/{axis}")
        for space in ("encodedSpace", "reconSpace")
    )
    if not (0 < whole < math.inf and part > 0):
        return encoded
    return max(1, min(round(encoded * part / whole), encoded))


def _field_of_view(element: Element) -> tuple[float, float, float] | None:
    """Return the field of view (y, x, z) of the encoded space in mm; None if incomplete."""
    y, x, z = (_number(element, f"encodedSpace/fieldOfView_mm/{axis}") for axis in "yxz")
    return (y, x, z) if all(0 < side < math.inf for side in (y, x, z)) else None


def _field_strength(root: Element) -> float | None:
    """Return the field strength in tesla, as stated or else from the proton frequency."""
    given = _number(root, "acquisitionSystemInformation/systemFieldStrength_T")
    hertz = _number(root, "experimentalConditions/H1resonanceFrequency_Hz")
    low, high = FIELDS
    for tesla in (given, hertz / GYROMAGNETIC):
        if low <= tesla <= high:
            return round(tesla, 4)
    return None


def _sequence(root: Element) -> str | None:
    """Return the kind of the sequence, or its name if the kind is not stated.

    The name of the protocol is free text that may contain personal data, so it is not read.
    """
    for place in ("sequenceParameters/sequence_type", "measurementInformation/sequenceName"):
        name = "".join(character for character in _text(root, place) if character.isprintable())
        if name:
            return name[:LONGEST_NAME]
    return None
