"""Recognises raw data of other vendors, which cannot be read.

Files are recognised by their names and neighbouring files, so that the error can name a converter.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from cmrrecon.formats import hdf5_access
from cmrrecon.tools.errors import InputError

P_FILE = re.compile(r"p\d{5}\.7(\.\w+)?", re.IGNORECASE)
DESCRIPTION = b"DATA DESCRIPTION FILE"  # in the first line of a Philips .list file
# Suffix of a Philips file -> suffixes of accompanying files; empty if the suffix is sufficient.
PHILIPS = {".lab": (), ".sin": (), ".raw": (".lab", ".sin"), ".data": (".list",)}
BRUKER = ("fid", "ser", "rawdata.job0")  # next to `acqp`


@dataclass(frozen=True)
class Vendor:
    """A vendor's raw data.

    Attributes
    ----------
    name : str
        The vendor.
    files : str
        What its files are called.
    converter : str
        The program that converts them to ISMRMRD.
    """

    name: str
    files: str
    converter: str


GE_P_FILE = Vendor("GE", "a P-file", "ge_to_ismrmrd")
GE_ARCHIVE = Vendor("GE", "a ScanArchive", "ge_to_ismrmrd")
PHILIPS_RAW = Vendor("Philips", "raw data", "philips_to_ismrmrd")
BRUKER_RAW = Vendor("Bruker", "raw data", "bruker_to_ismrmrd")


def refuse(path: Path, head: bytes) -> None:
    """Refuse a file of another vendor, given its first bytes.

    Raises
    ------
    InputError
        If the file looks like one (`vendor-format`).
    """
    vendor = _vendor(path, head)
    if vendor is not None:
        raise InputError(
            "vendor-format",
            f"{path} looks like {vendor.files} from {vendor.name}",
            "Raw data can be read from ISMRMRD, Siemens twix and fastMRI files",
            f"Convert it to ISMRMRD with {vendor.converter}",
        )


def _vendor(path: Path, head: bytes) -> Vendor | None:
    """Return the vendor of a file; None if it is not recognised."""
    name, suffix = path.name.lower(), path.suffix.lower()
    if hdf5_access.sniff(head):
        return GE_ARCHIVE if name.startswith("scanarchive") and not _has_kspace(path) else None
    if P_FILE.fullmatch(name):
        return GE_P_FILE
    if suffix == ".list" and DESCRIPTION in head[:200]:
        return PHILIPS_RAW
    if suffix in PHILIPS and _beside(path, PHILIPS[suffix]):
        return PHILIPS_RAW
    return BRUKER_RAW if name in BRUKER and path.with_name("acqp").is_file() else None


def _has_kspace(path: Path) -> bool:
    with hdf5_access.opened(path) as file:
        return "kspace" in file


def _beside(path: Path, suffixes: tuple[str, ...]) -> bool:
    """Return whether a sibling file has one of these suffixes; True without suffixes."""
    names = [suffix for lower in suffixes for suffix in (lower, lower.upper())]
    return not names or any(path.with_suffix(suffix).is_file() for suffix in names)
