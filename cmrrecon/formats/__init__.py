"""Files in, files out: one module per format.

`reading` chooses the reader by content, `writing` the writer by suffix.
"""

from cmrrecon.formats.export import Export, beside_path
from cmrrecon.formats.kinds import SUFFIXES, is_images, is_scan, kind
from cmrrecon.formats.names import kus_name, mask_name, mask_path_for, parse_name
from cmrrecon.formats.parts import check_phase
from cmrrecon.formats.placement import notes_of as placement_notes
from cmrrecon.formats.reading import read
from cmrrecon.formats.reading_arrays import read_images, read_maps, read_mask
from cmrrecon.formats.stamps import read_geometry, read_provenance
from cmrrecon.formats.times import read_times, write_times
from cmrrecon.formats.writing import (
    check_export,
    check_suffix,
    write_images,
    write_maps,
    write_mask,
    write_scan,
    write_truth,
)

__all__ = [
    "SUFFIXES",
    "Export",
    "beside_path",
    "check_export",
    "check_phase",
    "check_suffix",
    "is_images",
    "is_scan",
    "kind",
    "kus_name",
    "mask_name",
    "mask_path_for",
    "parse_name",
    "placement_notes",
    "read",
    "read_geometry",
    "read_images",
    "read_maps",
    "read_mask",
    "read_provenance",
    "read_times",
    "write_images",
    "write_maps",
    "write_mask",
    "write_scan",
    "write_times",
    "write_truth",
]
