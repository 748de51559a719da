"""The table `<base>_info.csv` of CMRxRecon 2025: voxel size, field strength, frame times.

The challenge does not document the column names. Names are therefore compared without case, blanks
and units. They may be column headings above a single row of values, or the first cells of rows.
Unknown names and implausible values are ignored; patient data are never read.
"""

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cmrrecon.data import Geometry, Scan
from cmrrecon.data.geometry import Vector
from cmrrecon.formats.names import info_path_for
from cmrrecon.tools.errors import InputError
from cmrrecon.tools.files import first_bytes

LARGEST = 1 << 16  # bytes; a real table is one row of settings
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
BEGINS_AS_NUMBER = re.compile(r"[\s\[({'\"]*[-+]?\d")
# Along (y, x), as in DICOM.
PIXEL = ("pixelspacing",)
# Along (x, y) or (x, y, slice).
VOXEL = ("voxelsize", "resolution", "spatialresolution")
EXTENT = ("fov", "fieldofview")
# In order of preference: the spacing comes first because it includes the gap.
SLICE = ("spacingbetweenslices", "slicespacing", "slicethickness")
FIELD = ("fieldstrength", "magneticfieldstrength", "b0")
FRAME = ("temporalresolution", "frametime", "frameduration")

Facts = Mapping[str, tuple[float, ...]]


def with_table(scan: Scan) -> Scan:
    """Add the facts in the table next to a scan's file, if there is one."""
    table = info_path_for(scan.path, scan.acquisition.base)
    if table is None:
        return scan

    facts = read_facts(table)
    field = scan.acquisition.field_strength or _first(facts, FIELD, 0.01, 20)
    return replace(
        scan,
        geometry=_geometry(facts, scan),
        acquisition=replace(scan.acquisition, field_strength=field),
    )


def read_facts(path: Path) -> dict[str, tuple[float, ...]]:
    """Read the numbers in a table, keyed by name in lower-case letters and digits, without units.

    A table that cannot be read yields an empty result, because the scan can be used without it.
    """
    try:
        text = first_bytes(path, LARGEST).decode("utf-8-sig", errors="replace")
        rows = [row for row in csv.reader(io.StringIO(text)) if any(cell.strip() for cell in row)]
    except (InputError, csv.Error):
        return {}

    under_heads = list(zip(rows[0], rows[1], strict=False)) if len(rows) > 1 else []
    beside_names = [(row[0], " ".join(row[1:])) for row in rows]

    facts: dict[str, tuple[float, ...]] = {}
    for name, value in under_heads + beside_names:
        if BEGINS_AS_NUMBER.match(value) and not BEGINS_AS_NUMBER.match(name):
            numbers = tuple(float(number) for number in NUMBER.findall(value))
            facts.setdefault(_normalised(name), numbers)
    return facts


def _normalised(name: str) -> str:
    """Reduce `Pixel Spacing (mm)` and `pixel_spacing_mm` to `pixelspacing`."""
    words = re.sub(r"\(.*?\)|\[.*?\]", "", name.lower())
    return re.sub(r"(mm|ms|tesla)$", "", re.sub(r"[^a-z0-9]", "", words))


def _geometry(facts: Facts, scan: Scan) -> Geometry | None:
    """Return voxel size and frame times; None if neither is known."""
    voxel = _voxel(facts, scan.image_shape)
    times = None
    step = _first(facts, FRAME, 1, 5000)
    if step is not None and scan.shape[0] > 1:
        times = tuple(step * frame for frame in range(scan.shape[0]))
    return Geometry(voxel, frame_times_ms=times) if voxel or times else None


def _voxel(facts: Facts, shape: tuple[int, int]) -> Vector | None:
    """Return the voxel size (y, x, slice) in mm; None if any of the three is not known."""
    pixel, voxel, extent = (_known(facts, names, 2) for names in (PIXEL, VOXEL, EXTENT))
    thickness = _first(facts, SLICE, 0.1, 100)
    if voxel is not None and len(voxel) > 2 and thickness is None:
        thickness = voxel[2]

    if pixel is not None:
        y, x = pixel[:2]
    elif voxel is not None:
        x, y = voxel[:2]
    elif extent is not None:
        y, x = extent[1] / shape[0], extent[0] / shape[1]
    else:
        return None

    if thickness is None or not all(0.1 <= size <= 100 for size in (y, x, thickness)):
        return None
    return y, x, thickness


def _known(facts: Facts, names: tuple[str, ...], least: int) -> tuple[float, ...] | None:
    """Return the first of the named facts that has at least `least` numbers."""
    found = (facts[name] for name in names if len(facts.get(name, ())) >= least)
    return next(found, None)


def _first(facts: Facts, names: tuple[str, ...], low: float, high: float) -> float | None:
    """Return the first number of the first known fact, if it is between `low` and `high`."""
    found = _known(facts, names, 1)
    return found[0] if found is not None and low <= found[0] <= high else None
