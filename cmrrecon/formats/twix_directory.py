"""Finds and checks the measurements in a Siemens twix file before other code reads the file.

From software VD on, a file begins with a directory. Its second number is the count of measurements,
followed by 152 bytes for each measurement: offset, length, and the patient's name, which is
skipped. VB files begin with their only measurement. A measurement consists of a protocol, which
begins with its length and number of parts, readouts, each with a header, and an end mark.
"""

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cmrrecon.tools.errors import InputError
from cmrrecon.tools.files import first_bytes

# The keys of the next three dictionaries state whether the software is older than VD.
HEADERS = {True: 128, False: 192}  # bytes of a readout's header (before VD: its first coil's)
CHANNEL = {True: 128, False: 32}  # bytes before the samples of a coil
MASKS = {True: 20, False: 40}  # offset in a header of the bits that state the kind of readout
END, SYNCHRONOUS = 1 << 0, 1 << 5
LENGTH = 2**25 - 1  # bits in a header's first number that are the length
MOST_MEASUREMENTS, SMALLEST_OFFSET, ENTRY = 64, 8 + 64 * 152, struct.Struct("<QQ")
LARGEST_PROTOCOL = 2**26  # bytes
PART = re.compile(rb"\w{4,32}\0")  # name of the first part of a protocol


@dataclass(frozen=True)
class Place:
    """Location of a measurement in bytes.

    Attributes
    ----------
    start : int
        Offset of the first byte.
    data : int
        Offset of the first readout.
    end : int
        Offset of the first byte after the measurement.
    """

    start: int
    data: int
    end: int


@dataclass(frozen=True)
class Directory:
    """The measurements in a file in chronological order, without empty ones.

    Attributes
    ----------
    before_vd : bool
        Whether the file is of software before VD.
    places : tuple of Place
        Locations of the measurements.
    """

    before_vd: bool
    places: tuple[Place, ...]


def sniff(path: Path, head: bytes) -> bool:
    """Return whether a file that begins with `head` is a twix file, even one that was cut off."""
    if len(head) < 32:
        return False
    first, count = struct.unpack_from("<II", head)
    if first >= 10000:
        return 1 <= count <= 32 and first < LARGEST_PROTOCOL and PART.match(head, 8) is not None

    if not 1 <= count <= MOST_MEASUREMENTS:
        return False
    offset, _ = ENTRY.unpack_from(head, 16)
    if offset < SMALLEST_OFFSET or offset % 8:
        return False

    with open(path, "rb") as handle:
        handle.seek(min(offset, 2**40))
        start = handle.read(48)
    return not start or PART.match(start, 8) is not None


def read_directory(path: Path) -> Directory:
    """Read the directory of a file.

    Raises
    ------
    InputError
        If there are no measurements, or if measurements or their protocols extend beyond the end of
        the file (`file-damaged`).
    """
    head = first_bytes(path, SMALLEST_OFFSET)
    size = path.stat().st_size
    if len(head) < 32:
        raise damaged(path, f"it has {size} bytes")

    first, count = struct.unpack_from("<II", head)
    before_vd = first >= 10000
    if not before_vd and (len(head) < SMALLEST_OFFSET or not 1 <= count <= MOST_MEASUREMENTS):
        raise damaged(path, "its list of measurements is not complete")

    entries = [(0, size)]
    if not before_vd:
        entries = [ENTRY.unpack_from(head, 16 + 152 * index) for index in range(count)]
    if len(entries) == 1 and entries[0][1] == 0:
        entries = [(entries[0][0], size - entries[0][0])]

    with open(path, "rb") as handle:
        places = tuple(
            _place(handle, start, length, size, path) for start, length in entries if length
        )

    if not places:
        raise damaged(path, "all its measurements are empty")
    return Directory(before_vd, places)


def _place(handle: IO[bytes], start: int, length: int, size: int, path: Path) -> Place:
    """Return the location of a measurement after checking that it is inside the file."""
    if length < 0 or start + length > size:
        raise damaged(path, f"it has {size} bytes but should have {start + max(length, 0)}")
    handle.seek(start)
    (protocol,) = struct.unpack("<I", handle.read(4).ljust(4, b"\0"))
    if not 8 <= protocol <= min(length, LARGEST_PROTOCOL):
        raise damaged(path, "the protocol is longer than the measurement")
    return Place(start, start + protocol, start + length)


def require_end(path: Path, directory: Directory, place: Place, position: int) -> None:
    """Refuse a measurement without an end mark after its last readout.

    From VD on, a measurement may also end with the last byte that the directory assigns to it.

    Parameters
    ----------
    path : Path
        The file.
    directory : Directory
        Its directory.
    place : Place
        Location of the measurement.
    position : int
        Offset of the first byte after its last readout.

    Raises
    ------
    InputError
        If the end is missing (`file-damaged`).
    """
    with open(path, "rb") as handle:
        while position < place.end or directory.before_vd:
            handle.seek(position)
            header = handle.read(HEADERS[directory.before_vd])
            if len(header) < MASKS[directory.before_vd] + 8:
                raise damaged(path, "it ends before the end of the measurement")
            (mask,) = struct.unpack_from("<Q", header, MASKS[directory.before_vd])
            if mask & END:
                return

            length = struct.unpack_from("<I", header)[0] & LENGTH
            if not mask & SYNCHRONOUS or length < 8:
                raise damaged(path, "a readout is not complete")
            position += length


def damaged(path: Path, found: str) -> InputError:
    """Return the error for a file that was cut off or is inconsistent."""
    return InputError(
        "file-damaged",
        f"{path} is damaged: {found}",
        "A complete twix file (.dat) is needed",
        "Copy or export the file again",
    )
