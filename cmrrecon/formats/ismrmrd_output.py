"""Writes k-space as ISMRMRD raw data (`.mrd`), for programs that read only this format.

Only h5py is needed; `ismrmrd` reads such files. The group `dataset` consists of the header `xml`
and the table `data` with one row per measured line, ordered by slice, frame and line. The counter
`phase` counts frames.

ISMRMRD requires some facts that may not be known; these get neutral values: pixels of 1 mm, slices
1 mm apart along z, the directions x, y, z, and 0 Hz. A text `geometry` next to the group states
what was known, so that `ismrmrd` does not mistake neutral values for facts. If the centre of
k-space is known to be off the middle, the header states it, provided that the lines then still fit
into the matrix. Noise, separate reference lines, averages and coil maps are not written.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import h5py
import numpy as np
from numpy.typing import NDArray

from cmrrecon.data import CartesianMask, Geometry, SamplingMask, Scan
from cmrrecon.formats.geometry import geometry_to_json
from cmrrecon.formats.hdf5_output import created
from cmrrecon.formats.stored_facts import acquisition_to_json
from cmrrecon.tools.atomic import atomic
from cmrrecon.tools.errors import UsageError

NAMESPACE = "http://www.ismrm.org/ISMRMRD"
GYROMAGNETIC = 42.577478e6  # Hz / T, for protons
VERSION = 1
ROWS = 64  # readouts per chunk of the table
LARGEST = 2**16  # counters and sample numbers have 16 bits
# Flags, numbered from 1.
FIRST_LINE, LAST_LINE, FIRST_IN_SLICE, LAST_IN_SLICE, CALIBRATION, LAST = (
    1 << flag - 1 for flag in (1, 2, 7, 8, 20, 25)
)
COUNTERS = np.dtype(
    [
        *((f"kspace_encode_step_{step}", "<u2") for step in (1, 2)),
        *((name, "<u2") for name in ("average", "slice", "contrast", "phase")),
        *((name, "<u2") for name in ("repetition", "set", "segment")),
        ("user", "<u2", 8),
    ]
)
HEAD = np.dtype(
    [
        ("version", "<u2"),
        ("flags", "<u8"),
        *((name, "<u4") for name in ("measurement_uid", "scan_counter", "acquisition_time_stamp")),
        ("physiology_time_stamp", "<u4", 3),
        *((name, "<u2") for name in ("number_of_samples", "available_channels", "active_channels")),
        ("channel_mask", "<u8", 16),
        *((name, "<u2") for name in ("discard_pre", "discard_post", "center_sample")),
        *((name, "<u2") for name in ("encoding_space_ref", "trajectory_dimensions")),
        ("sample_time_us", "<f4"),
        *((name, "<f4", 3) for name in ("position", "read_dir", "phase_dir", "slice_dir")),
        ("patient_table_position", "<f4", 3),
        ("idx", COUNTERS),
        ("user_int", "<i4", 8),
        ("user_float", "<f4", 8),
    ]
)
TEXT = h5py.string_dtype("ascii")  # the only type of text that the C++ library reads
ITEMS = h5py.vlen_dtype(np.dtype("<f4"))
ROW = np.dtype([("head", HEAD), ("traj", ITEMS), ("data", ITEMS)])


def write_scan(path: Path, scan: Scan, provenance: Mapping[str, Any] | None = None) -> None:
    """Write the measured lines of a scan, slice by slice.

    Raises
    ------
    OutputError
        If the file cannot be written.
    UsageError
        If the mask does not consist of whole lines (`mrd-samples`), or the scan is larger than the
        format allows (`mrd-size`).
    """
    if max(scan.shape) >= LARGEST:
        raise UsageError(
            "mrd-size",
            f"The scan has shape {scan.shape}",
            f"ISMRMRD counters cannot exceed {LARGEST - 1}",
            "Write a .h5 file",
        )
    if scan.mask is not None:
        _columns(scan.mask, scan.shape[4])  # refuses unsuitable masks before anything is written

    with atomic(path) as temporary, created(temporary) as output:
        with output.storing():
            output.set_provenance(provenance)
            output.set_text("acquisition", acquisition_to_json(scan.acquisition))
            output.set_text("geometry", geometry_to_json(scan.geometry or Geometry()))
            group = output.file.create_group("dataset")
            group.create_dataset("xml", data=[header(scan)], dtype=TEXT, maxshape=(None,))
            table = group.create_dataset("data", (0,), ROW, maxshape=(None,), chunks=(ROWS,))

        for index in range(scan.shape[1]):
            rows = _readouts(scan, index)
            with output.storing():
                table.resize(len(table) + len(rows), 0)
                table[-len(rows) :] = rows


def header(scan: Scan) -> str:
    """Return the XML header of a scan."""
    facts = scan.acquisition
    strength = facts.field_strength
    root = ElementTree.Element("ismrmrdHeader", xmlns=NAMESPACE)
    _fill(
        root,
        {
            "measurementInformation/patientPosition": "HFS",
            "measurementInformation/protocolName": facts.sequence or facts.base,
            "acquisitionSystemInformation/systemFieldStrength_T": strength,
            "acquisitionSystemInformation/receiverChannels": scan.shape[2],
            "experimentalConditions/H1resonanceFrequency_Hz": round(GYROMAGNETIC * (strength or 0)),
        },
    )

    encoding = ElementTree.SubElement(root, "encoding")
    _spaces_and_limits(encoding, scan)
    _fill(encoding, {"trajectory": "cartesian"})

    if scan.mask is not None and not scan.mask.complete:
        _parallel_imaging(encoding, scan.mask, facts.acceleration)
    document: bytes = ElementTree.tostring(root, encoding="us-ascii", xml_declaration=True)
    return document.decode("ascii")


def _spaces_and_limits(encoding: ElementTree.Element, scan: Scan) -> None:
    """Add the sizes of k-space and images, and the ranges of the counters."""
    frames, slices, _, y, x = scan.shape
    geometry = scan.geometry or Geometry()
    voxel = geometry.voxel_mm or (1.0, 1.0, 1.0)
    shown = geometry.field_of_view or (y, x)
    _space(encoding, "encodedSpace", (y, x), (y, x), voxel)
    _space(encoding, "reconSpace", geometry.recon_matrix or shown, shown, voxel)

    middle_y, middle_x = _centre(scan)
    ends = {
        "kspace_encoding_step_0": (x, middle_x),
        "kspace_encoding_step_1": (y, middle_y),
        "kspace_encoding_step_2": (1, 0),
        "average": (1, 0),
        "slice": (slices, 0),
        "contrast": (1, 0),
        "phase": (frames, 0),
        **dict.fromkeys(("repetition", "set", "segment"), (1, 0)),
    }

    for name, (count, middle) in ends.items():
        limits = {"minimum": 0, "maximum": count - 1, "center": middle}
        _fill(encoding, {f"encodingLimits/{name}/{end}": value for end, value in limits.items()})


def _parallel_imaging(
    encoding: ElementTree.Element, mask: SamplingMask, nominal: float | None
) -> None:
    """Add the acceleration as a whole number, and whether calibration lines are also image data."""
    factor = max(1, round(nominal or mask.effective_acceleration()))
    separate = mask.calibration_only is not None and bool(mask.calibration_only.any())
    _fill(
        encoding,
        {
            "parallelImaging/accelerationFactor/kspace_encoding_step_1": factor,
            "parallelImaging/accelerationFactor/kspace_encoding_step_2": 1,
            "parallelImaging/calibrationMode": "separate" if separate else "embedded",
        },
    )


def _centre(scan: Scan) -> tuple[int, int]:
    """Return the sample (y, x) that readers should place in the middle of the matrix.

    This is the centre of k-space, except along axes on which measured samples would then be outside
    the matrix.
    """
    middle = scan.shape[3] // 2, scan.shape[4] // 2
    if not isinstance(scan.mask, CartesianMask) or scan.mask.centre is None:
        return middle

    along_y, along_x = scan.mask.extent()
    if scan.mask.samples.shape[-1] == 1:
        along_x = slice(0, scan.shape[4])

    y, x = (
        centre
        if span.start >= centre - count // 2 and span.stop <= centre - count // 2 + count
        else default
        for span, count, centre, default in zip(
            (along_y, along_x), scan.shape[3:], scan.mask.centre, middle, strict=True
        )
    )
    return y, x


def _fill(parent: ElementTree.Element, values: Mapping[str, object]) -> None:
    """Add text elements below `parent` at the given paths; values of None are left out."""
    for place, value in values.items():
        if value is None:
            continue
        *folders, name = place.split("/")
        at = parent
        for folder in folders:
            found = at.find(folder)
            at = ElementTree.SubElement(at, folder) if found is None else found
        ElementTree.SubElement(at, name).text = str(value)


def _space(
    encoding: ElementTree.Element,
    name: str,
    matrix: tuple[int, int],
    pixels: tuple[int, int],
    voxel: tuple[float, float, float],
) -> None:
    """Add a space of `matrix` (y, x) that covers `pixels` (y, x) of the encoded images."""
    size = {"x": pixels[1] * voxel[1], "y": pixels[0] * voxel[0], "z": voxel[2]}
    counts = {"x": matrix[1], "y": matrix[0], "z": 1}
    _fill(encoding, {f"{name}/matrixSize/{axis}": counts[axis] for axis in "xyz"})
    _fill(encoding, {f"{name}/fieldOfView_mm/{axis}": f"{size[axis]:.6f}" for axis in "xyz"})


def _readouts(scan: Scan, index: int) -> NDArray[Any]:
    """Return the table rows of one slice."""
    series = scan.series(index)
    frames, slices, x = scan.shape[0], scan.shape[1], scan.shape[4]
    columns = _columns(series.mask, x)
    lines = series.mask.over(frames).any(-1).cpu().numpy()
    only = series.mask.calibration_only
    calibrates = np.zeros_like(lines) if only is None else only.any(-1).expand(lines.shape).numpy()
    kspace = series.kspace[..., columns].cpu().numpy().transpose(0, 2, 1, 3)

    rows = np.zeros(int(lines.sum()), ROW)
    head = rows["head"]
    frame, line = np.nonzero(lines)

    _describe(head, scan, index, columns)
    head["idx"]["kspace_encode_step_1"], head["idx"]["phase"] = line, frame
    head["flags"] = _ends(frame)
    head["flags"][calibrates[frame, line]] |= CALIBRATION
    if index == slices - 1:
        head["flags"][-1] |= LAST

    for row, samples in enumerate(_samples(kspace, frame, line)):
        rows["data"][row], rows["traj"][row] = samples, np.empty(0, "<f4")
    return rows


def _samples(
    kspace: NDArray[Any], frame: NDArray[Any], line: NDArray[Any]
) -> Iterator[NDArray[Any]]:
    """Yield lines (frame, line, coil, x) as float32, alternating real and imaginary parts."""
    for t, y in zip(frame, line, strict=True):
        yield np.ascontiguousarray(kspace[t, y], "<c8").reshape(-1).view("<f4")


def _describe(head: NDArray[Any], scan: Scan, index: int, columns: slice) -> None:
    """Fill in the fields that all readouts of a slice share."""
    slices, coils = scan.shape[1:3]
    geometry = scan.geometry or Geometry()
    y, x, z = (geometry.directions or [((0, 1, 0), (1, 0, 0), (0, 0, 1))] * slices)[index]
    place = [(0, 0, number) for number in range(slices)]

    head["version"] = VERSION
    head["number_of_samples"] = columns.stop - columns.start
    head["center_sample"] = _centre(scan)[1] - columns.start
    head["available_channels"] = head["active_channels"] = coils

    for word in range(16):
        head["channel_mask"][:, word] = (1 << min(max(coils - 64 * word, 0), 64)) - 1

    head["position"] = (geometry.positions_mm or place)[index]
    head["read_dir"], head["phase_dir"], head["slice_dir"] = x, y, z
    head["idx"]["slice"] = index


def _ends(frame: NDArray[Any]) -> NDArray[np.uint64]:
    """Return the flags that mark the first and last line of each frame of a slice."""
    flags = np.zeros(len(frame), np.uint64)
    changes = np.flatnonzero(np.diff(frame)) + 1
    flags[[0, *changes]] |= np.uint64(FIRST_LINE | FIRST_IN_SLICE)
    flags[[*(changes - 1), len(frame) - 1]] |= np.uint64(LAST_LINE | LAST_IN_SLICE)
    return flags


def _columns(mask: SamplingMask, x: int) -> slice:
    """Return the columns of x that every measured line covers.

    Raises
    ------
    UsageError
        If lines cover different samples (`mrd-samples`).
    """
    samples = mask.samples
    measured = samples.any(0).any(0).nonzero().flatten()
    first, last = int(measured[0]), int(measured[-1]) + 1
    whole = samples[..., first:last] == samples.any(-1, keepdim=True)

    if not isinstance(mask, CartesianMask) or not bool(whole.all()):
        raise UsageError(
            "mrd-samples",
            f"The mask consists of {mask.KIND}, not of whole lines",
            "Cartesian readouts in ISMRMRD must all cover the same samples",
            "Write a .h5 or .cfl file",
        )
    return slice(first, last) if samples.shape[-1] > 1 else slice(0, x)
