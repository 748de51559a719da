"""Raw data of other vendors, which are not read: recognised by name and neighbours, so that the
error names the converter."""

import re
from dataclasses import dataclass
from pathlib import Path

from cmrrecon.formats import hdf5_access
from cmrrecon.tools.errors import InputError

P_FILE = re.compile(r"p\d{5}\.7(\.\w+)?", re.IGNORECASE)
DESCRIPTION = b"DATA DESCRIPTION FILE"  # in the first line of Philips' .list
# Suffix of Philips' files -> what lies beside one of them; nothing where the suffix says enough.
PHILIPS = {".lab": (), ".sin": (), ".raw": (".lab", ".sin"), ".data": (".list",)}
BRUKER = ("fid", "ser", "rawdata.job0")  # beside `acqp`


@dataclass(frozen=True)
class Vendor:
    """Whose files they are, what these are called, and what converts them to ISMRMRD."""

    name: str
    files: str
    converter: str


GE_P_FILE = Vendor("GE", "a P-file", "ge_to_ismrmrd")
GE_ARCHIVE = Vendor("GE", "a ScanArchive", "ge_to_ismrmrd")
PHILIPS_RAW = Vendor("Philips", "raw data", "philips_to_ismrmrd")
BRUKER_RAW = Vendor("Bruker", "raw data", "bruker_to_ismrmrd")


def refuse(path: Path, head: bytes) -> None:
    """Refuse a file of another vendor; `head` are its first bytes.

    Raises
    ------
    InputError : `vendor-format`
    """
    vendor = _vendor(path, head)
    if vendor is not None:
        raise InputError(
            "vendor-format",
            f"{path} looks like {vendor.files} of {vendor.name}",
            "Of raw data, ISMRMRD, Siemens twix and fastMRI are read",
            f"Convert it to ISMRMRD with {vendor.converter}",
        )


def _vendor(path: Path, head: bytes) -> Vendor | None:
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
    """Whether a file of the same name and one of these suffixes, in either case, lies beside; True
    without suffixes."""
    names = [suffix for lower in suffixes for suffix in (lower, lower.upper())]
    return not names or any(path.with_suffix(suffix).is_file() for suffix in names)
