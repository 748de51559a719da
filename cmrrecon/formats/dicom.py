"""Writes images as DICOM with pydicom, and reads the provenance from such files.

`.dcm` is a folder with one MR image for each slice and frame, or a single Enhanced MR file. The
provenance is a private element. It names neither files nor people; only `--patient-id` does.
"""

import re
import struct
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from cmrrecon.formats.dicom_enhanced import as_enhanced
from cmrrecon.formats.dicom_header import (
    COUNT,
    CREATOR,
    GROUP,
    PROVENANCE,
    Series,
    file_dataset,
    place_slice,
    set_window,
    value_text,
)
from cmrrecon.formats.export import PLAIN, Export, Part
from cmrrecon.formats.packages import optional
from cmrrecon.tools.atomic import atomic, atomic_folder
from cmrrecon.tools.errors import InputError, OutputError

MARK_AT, MARK = 128, b"DICM"
INSTANCE = re.compile(r"slice\d+_frame\d+\.dcm")
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
LARGEST = 2**32 - 2  # bytes of pixels in one file


def sniff(head: bytes) -> bool:
    """Return whether a file that begins with these bytes is DICOM."""
    return head[MARK_AT : MARK_AT + len(MARK)] == MARK


def text(path: Path) -> str | None:
    """Return the provenance in a DICOM file, or in a folder of images; None if there is none.

    Raises
    ------
    InputError
        If the file is damaged, or images are missing in the folder (`file-damaged`).
    UsageError
        If pydicom is not installed (`package-missing`).
    """
    if not path.is_dir():
        return _stored(path)[0]

    files = sorted(path.glob("*.dcm"))
    if not files:
        return None
    found, count = _stored(files[0])
    if found is not None and count != len(files):
        raise _damaged(path)
    return found


def check_replaceable(path: Path, now: Path | None = None) -> None:
    """Refuse to replace a folder that contains anything but images that cmrrecon wrote.

    Parameters
    ----------
    path : Path
        The folder.
    now : Path or None
        Where it is at the moment; None if it is in its place.

    Raises
    ------
    OutputError
        If the folder contains other files (`output-foreign`).
    """
    folder = now or path
    if not folder.is_dir():
        return
    files = list(folder.iterdir())
    try:
        ours = all(
            INSTANCE.fullmatch(file.name) and file.is_file() and _stored(file)[0] is not None
            for file in files
        )
    except InputError:
        ours = False
    if ours:
        return

    raise OutputError(
        "output-foreign",
        f"The folder {path} contains files that cmrrecon did not write",
        "The folder would be replaced as a whole",
        "Choose another output, or remove the folder yourself",
    )


def write_images(
    path: Path,
    images: Sequence[Tensor],
    provenance: Mapping[str, Any] | None = None,
    *,
    export: Export = PLAIN,
    part: Part = "magnitude",
) -> None:
    """Write images as DICOM, with their place in the patient and their times.

    Values are stored as integers from 0 to 65535; the slope and the intercept turn them into those
    of the images.

    Parameters
    ----------
    path : Path
        The folder for MR images, or the Enhanced MR file.
    images : sequence over slices of Tensor of shape (frame, y, x)
        Images, complex or real.
    provenance : mapping or None
        JSON values. All of them decide the identifiers (UID); those without names are stored.
    export : Export
        Options of the files.
    part : {"magnitude", "phase"}
        What to write; the phase is in radians.

    Raises
    ------
    NumericalError
        If the images contain NaN or infinity (`result-not-finite`).
    UsageError
        If the images have no phase (`phase-missing`), or pydicom is not installed
        (`package-missing`).
    OutputError
        If the output cannot be written (`output-unwritable`), would replace a folder with other
        files (`output-foreign`), or is too large for a single file (`array-too-large`).
    """
    optional("pydicom", "dicom", "The output is DICOM")
    check_replaceable(path)
    series = Series.of(images, provenance or {}, export, part)
    if export.enhanced:
        _write_enhanced(path, series)
    else:
        _write_instances(path, series)


def _write_instances(path: Path, series: Series) -> None:
    """Write one MR image for each slice and frame, numbered slice by slice."""
    frames, slices = series.stored.shape[:2]
    made = file_dataset(series, MR_IMAGE)
    made.ScanningSequence, made.SequenceVariant = "RM", "NONE"
    made.ScanOptions, made.MRAcquisitionType = "", "2D"
    made.RepetitionTime = made.EchoTime = made.EchoTrainLength = None
    made.ImageType = ["DERIVED", "SECONDARY", *series.kind]
    made.PixelSpacing = series.numbers(*series.placement.pixel_mm)
    made.SliceThickness = series.number(series.placement.thickness_mm)
    if series.spacing_mm is not None:
        made.SpacingBetweenSlices = series.number(series.spacing_mm)
    made.RescaleSlope, made.RescaleIntercept = series.slope, series.intercept
    made.RescaleType = "US"
    set_window(made, series)
    setattr(made, COUNT, frames * slices)

    with atomic_folder(path, partial(check_replaceable, path)) as folder:
        for slice_ in range(slices):
            place_slice(made, series, slice_)
            for frame in range(frames):
                _place_frame(made, series, frame)
                made.InstanceNumber = slice_ * frames + frame + 1
                made.SOPInstanceUID = series.uid("instance", str(slice_), str(frame))
                made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
                made.PixelData = series.stored[frame, slice_].tobytes()
                name = f"slice{slice_ + 1:03d}_frame{frame + 1:04d}.dcm"
                made.save_as(folder / name, enforce_file_format=True)


def _place_frame(made: Any, series: Series, frame: int) -> None:
    """Set the time of a frame."""
    frames, times = len(series.stored), series.placement.times_ms
    if frames == 1:
        return
    made.TemporalPositionIdentifier, made.NumberOfTemporalPositions = frame + 1, frames
    if times is not None:
        # The standard allows trigger times only with this option, cardiac gating.
        made.ScanOptions, made.TriggerTime = "CG", series.number(times[frame])
    if series.placement.step_ms is not None:
        made.TemporalResolution = series.number(series.placement.step_ms)


def _write_enhanced(path: Path, series: Series) -> None:
    """Write all slices and frames as one Enhanced MR file."""
    if series.stored.nbytes > LARGEST:
        raise OutputError(
            "array-too-large",
            f"The images have {series.stored.nbytes / 1e9:.1f} GB",
            "One DICOM file can contain at most 4 GB of pixels",
            "Leave out --enhanced",
        )
    made = as_enhanced(series)
    with atomic(path, may_replace=partial(check_replaceable, path)) as temporary:
        made.save_as(temporary, enforce_file_format=True)


def _stored(path: Path) -> tuple[str | None, int]:
    """Return the provenance in a DICOM file, and the number of files written with it."""
    pydicom = optional("pydicom", "dicom", f"{path} is DICOM")
    tags = [COUNT, (GROUP, 0x0010), (GROUP, 0x1000 + PROVENANCE)]

    try:
        # pydicom warns of unusual values, which may be those of a patient.
        with warnings.catch_warnings(action="ignore"):
            meta = pydicom.filereader.read_file_meta_info(path)
            if meta.TransferSyntaxUID != pydicom.uid.ExplicitVRLittleEndian:
                return None, 0
            found = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
            block = found.private_block(GROUP, CREATOR)
            return value_text(block[PROVENANCE].value), int(found.get(COUNT) or 1)

    except KeyError:
        # The file comes from another program.
        return None, 0
    # pydicom raises these errors for damaged files.
    except (
        OSError,
        ValueError,
        AttributeError,
        TypeError,
        EOFError,
        NotImplementedError,
        OverflowError,
        RecursionError,
        struct.error,
        pydicom.errors.InvalidDicomError,
        pydicom.errors.BytesLengthException,
    ) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> InputError:
    return InputError(
        "file-damaged",
        f"{path} is damaged or incomplete",
        "Complete DICOM files are needed",
        "Make them again",
    )
