"""Files in, files out: one format a file; `files` picks by content, then suffix."""

from cmrrecon.formats.files import (
    SUFFIXES,
    check_suffix,
    is_images,
    is_scan,
    kind,
    read,
    read_images,
    read_mask,
    read_provenance,
    write_images,
    write_mask,
    write_scan,
    write_truth,
)
from cmrrecon.formats.names import kus_name, mask_name, mask_path_for, parse_name
from cmrrecon.formats.times import read_times, write_times

__all__ = [
    "SUFFIXES",
    "check_suffix",
    "is_images",
    "is_scan",
    "kind",
    "kus_name",
    "mask_name",
    "mask_path_for",
    "parse_name",
    "read",
    "read_images",
    "read_mask",
    "read_provenance",
    "read_times",
    "write_images",
    "write_mask",
    "write_scan",
    "write_times",
    "write_truth",
]
