"""Raw data of other vendors, which cannot be read.

They are recognised by their names and neighbouring files, so that the error names the converter.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from cmrrecon.formats import hdf5_access
from cmrrecon.tools.errors import InputError

P_FILE = re.compile(r"p\d{5}\.7(\.\w+)?", re.IGNORECASE)
DESCRIPTION = b"DATA DESCRIPTION FILE"  # in the first line of Philips' .list
# Suffix of a Philips file -> suffixes of accompanying files; none if the suffix is sufficient.
PHILIPS = {".lab": (), ".sin": (), ".raw": (".lab", ".sin"), ".data": (".list",)}
BRUKER = ("fid", "ser", "rawdata.job0")  # beside `acqp`


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
    """Refuse a file of another vendor; `head` is its first bytes.

    Raises
    ------
    InputError
        If it looks like one (`vendor-format`).
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
    """The vendor of a file; None if it is not recognised."""
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
    """Whether a file with the same name and one of these suffixes exists; True without suffixes."""
    names = [suffix for lower in suffixes for suffix in (lower, lower.upper())]
    return not names or any(path.with_suffix(suffix).is_file() for suffix in names)
