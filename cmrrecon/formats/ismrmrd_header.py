"""The XML header of ISMRMRD raw data: how k-space was encoded."""

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from cmrrecon.tools.errors import InputError

LONGEST = 2**22  # bytes
REMEDY = "Check how the file was converted from the scanner's"


@dataclass(frozen=True)
class Header:
    """What is used of the XML header.

    Attributes
    ----------
    encoded : (y, x) of the encoded k-space
    image : (y, x) of images without the oversampling, with the pixels of the encoded space
    centre : the kspace_encode_step_1 at the centre of k-space
    trajectory : `cartesian`, `radial`, `goldenangle`, `spiral`, ...
    lines : the first and last kspace_encode_step_1; None where it does not say
    """

    encoded: tuple[int, int]
    image: tuple[int, int]
    centre: int
    trajectory: str
    lines: tuple[int, int] | None = None


def read_header(document: bytes, path: Path) -> Header:
    """The header in an XML document. Documents that define entities or name others are refused unread.

    Raises
    ------
    InputError : it gives no sizes that can be used
    """
    text = document[:LONGEST].decode("utf-8", errors="replace").rstrip("\0")
    try:
        if len(document) > LONGEST or "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise ValueError("it is too long, or has a document type of its own")
        root = ElementTree.fromstring(text)
        encoded_y, encoded_x = (
            int(_number(root, f"encodedSpace/matrixSize/{axis}")) for axis in "yx"
        )
        image = tuple(_side(root, axis, n) for axis, n in (("y", encoded_y), ("x", encoded_x)))
        centre = _number(root, "encodingLimits/kspace_encoding_step_1/center")
        centre = encoded_y // 2 if np.isnan(centre) else int(centre)
        limits = [
            _number(root, f"encodingLimits/kspace_encoding_step_1/{end}")
            for end in ("minimum", "maximum")
        ]
        lines = None if np.isnan(limits).any() else (int(limits[0]), int(limits[1]))
    # ParseError is a SyntaxError; numbers that are missing, infinite or no numbers raise the others.
    except (SyntaxError, ValueError, OverflowError) as error:
        raise InputError(
            "header-damaged",
            f"The XML header of {path} cannot be used",
            "An ISMRMRD header gives the matrix of the encoded space",
            "Convert the scanner's file again",
        ) from error
    if not all(1 <= n < 2**16 for n in (encoded_y, encoded_x)):
        raise InputError(
            "header-damaged",
            f"{path} has an encoded matrix of {encoded_y} x {encoded_x} (y, x)",
            "Both must be from 1 to 65535",
            REMEDY,
        )
    kind = root.findtext("{*}encoding/{*}trajectory") or ""
    return Header((encoded_y, encoded_x), (image[0], image[1]), centre, kind.strip(), lines)


def _number(root: ElementTree.Element, place: str) -> float:
    """A number in the first encoding; NaN where there is none."""
    return float(
        root.findtext("/".join(f"{{*}}{part}" for part in ("encoding", *place.split("/")))) or "nan"
    )


def _side(root: ElementTree.Element, axis: str, encoded: int) -> int:
    """Pixels of the image: those of the encoded space, as many as the reconstructed field of view holds, if it is known."""
    whole, part = (
        _number(root, f"{space}/fieldOfView_mm/{axis}") for space in ("encodedSpace", "reconSpace")
    )
    return (
        max(1, min(round(encoded * part / whole), encoded)) if whole > 0 and part > 0 else encoded
    )
