"""What all DICOM files of a series share: identifiers, patient, settings, pixel values.

References
----------
DICOM PS3.3 (modules), PS3.5 section B.2 (identifiers derived from a UUID).
"""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cmrrecon import __version__
from cmrrecon.formats.dicom_text import described, nameless, shortened
from cmrrecon.formats.export import Export, Part
from cmrrecon.formats.geometry import geometry_of
from cmrrecon.formats.packages import optional
from cmrrecon.formats.parts import stack_part
from cmrrecon.formats.pictures import WINDOW_PERCENTILE
from cmrrecon.formats.placement import Placement, order_of, placement_of, spacing_of
from cmrrecon.formats.tensors import image_array
from cmrrecon.tools.errors import NumericalError
from cmrrecon.tools.provenance import NOTICE, recipe_hash, to_json

# The private element with the provenance, and its owner.
GROUP, CREATOR, PROVENANCE = 0x0011, "CMRRECON", 0x01
COUNT = "ImagesInAcquisition"
# Names of all identifiers are hashed in this name space.
NAMESPACE = uuid.UUID("6f1c6f5e-3f0b-5d0c-9b5e-6b8f3f4c2a71")
LARGEST = 65535
# Values 3 and 4 of Image Type in MR images; the last one is what scanners write.
KINDS = {"magnitude": ("OTHER", "M"), "phase": ("PHASE MAP", "P")}
QUANTITIES = {"T1": ("T1 MAP", "M"), "T2": ("T2 MAP", "M")}
SERIES = {"magnitude": 1, "phase": 2}
LONG_STRING, SHORT_TEXT, LONG_TEXT = 64, 1024, 10240  # characters


@dataclass(frozen=True)
class Series:
    """The images of a DICOM series and what is known of them.

    Attributes
    ----------
    stored : ndarray of shape (frame, slice, y, x), uint16
        The stored values.
    slope, intercept : DSfloat
        `slope * stored + intercept` are the values of the images.
    window : (float, float)
        Centre and width of the values to show.
    placement : Placement
        Where the images are.
    provenance : Mapping
        How they were made.
    export : Export
        Options of the files.
    part : {"magnitude", "phase"}
        What the images show.
    source : str
        Digest of what the images were made from.
    """

    stored: NDArray[np.uint16]
    slope: Any
    intercept: Any
    window: tuple[float, float]
    placement: Placement
    provenance: Mapping[str, Any]
    export: Export
    part: Part
    source: str

    @classmethod
    def of(
        cls, images: Sequence[Tensor], provenance: Mapping[str, Any], export: Export, part: Part
    ) -> Self:
        """Convert images to stored values; the parameters are those of `dicom.write_images`."""
        values = stack_part(images, part)
        if not np.isfinite(values).all():
            raise NumericalError(
                "result-not-finite",
                "The images contain NaN or infinity",
                "DICOM stores them as integers",
                "Write another format, or find out where these values come from",
            )

        low = -np.pi if part == "phase" else 0.0
        high = np.pi if part == "phase" else float(values.max())
        slope = _decimal((high - low) / LARGEST if high > low else 1.0)
        intercept = _decimal(low)
        # The decimal numbers in the file decide, not those before rounding.
        stored = np.rint((values.astype(np.float64) - float(intercept)) / float(slope))

        if part == "magnitude":
            high = float(np.percentile(values, WINDOW_PERCENTILE)) or high or 1.0
        geometry = geometry_of(provenance.get("geometry"))
        placement = placement_of(geometry, values.shape, export.voxel_mm)
        # Programs stack slices by their numbers, so these follow the positions.
        order = order_of(placement)
        return cls(
            np.clip(stored[:, order], 0, LARGEST).astype("<u2"),
            slope,
            intercept,
            ((low + high) / 2, high - low),
            placement.sorted(order),
            provenance,
            export,
            part,
            _source(images, provenance),
        )

    @property
    def kind(self) -> tuple[str, str]:
        """Values 3 and 4 of Image Type in MR images."""
        return QUANTITIES.get(str(self.provenance.get("quantity")), KINDS[self.part])

    @cached_property
    def spacing_mm(self) -> float | None:
        """Distance of neighbouring slices; None if they are not a regular stack."""
        return spacing_of(self.placement)

    def uid(self, *words: str) -> str:
        """Return the identifier of a part of this series: the same for the same recipe."""
        options = to_json(self.export.record())
        # A map, its deviation and its residual have the same recipe.
        quantity = [str(self.provenance["quantity"])] if "quantity" in self.provenance else []
        recipe = recipe_hash(self.provenance)
        return _uid(self.source, recipe, options, self.part, *quantity, *words)

    def shared_uid(self, word: str) -> str:
        """Return an identifier that all series made from the same source share."""
        return _uid(self.source, self.export.patient_id or "", word)

    def number(self, value: float) -> Any:
        """Return a decimal string of at most 16 characters."""
        return _decimal(value)

    def numbers(self, *values: float) -> list[Any]:
        """Return several decimal strings."""
        return [_decimal(value) for value in values]


def file_dataset(series: Series, sop_class: str) -> Any:
    """Return a dataset with everything that both kinds of files share."""
    pydicom = optional("pydicom", "dicom", "The output is DICOM")
    made = pydicom.Dataset()
    made.file_meta = _file_meta(pydicom, sop_class)
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID = sop_class
    _set_patient_and_study(made, series)

    # Equipment and series.
    made.Modality = "MR"
    made.SeriesInstanceUID = series.uid("series")
    made.SeriesNumber = SERIES[series.part]
    made.SeriesDescription = shortened(described(series.provenance, series.part), LONG_STRING)
    made.Manufacturer = made.ManufacturerModelName = "cmrrecon"
    made.SoftwareVersions = f"cmrrecon {__version__}"
    made.BodyPartExamined = "HEART"
    made.PatientPosition = ""
    field = (series.provenance.get("acquisition") or {}).get("field_strength")
    if isinstance(field, int | float):
        made.MagneticFieldStrength = _decimal(field)

    # What was done, and when.
    settings = f"{NOTICE}; {_settings(series)}"
    made.DerivationDescription = shortened(settings, SHORT_TEXT)
    made.ImageComments = shortened(settings, LONG_TEXT)
    made.ContentDate, made.ContentTime = _created(series.provenance)
    made.TimezoneOffsetFromUTC = "+0000"
    made.AcquisitionNumber = 1

    _set_pixels(made, series)
    content = to_json(nameless(series.provenance))
    made.private_block(GROUP, CREATOR, create=True).add_new(PROVENANCE, "UT", content)
    return made


def place_slice(made: Any, series: Series, slice_: int) -> None:
    """Set position and orientation of a slice."""
    place = series.placement
    made.ImagePositionPatient = series.numbers(*place.corners[slice_])
    made.ImageOrientationPatient = series.numbers(*place.along_x[slice_], *place.along_y[slice_])


def set_window(made: Any, series: Series) -> None:
    """Set the range of values to show."""
    centre, width = series.window
    made.WindowCenter, made.WindowWidth = series.numbers(centre, width)
    if width < 1:
        # The usual function is defined from a width of 1 only.
        made.VOILUTFunction = "LINEAR_EXACT"


def value_text(value: Any) -> str | None:
    """Return a text element as text."""
    content = value.decode("ascii", errors="replace") if isinstance(value, bytes) else str(value)
    return content.rstrip(" \0") or None


def _file_meta(pydicom: Any, sop_class: str) -> Any:
    """Return the head of a file."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.ImplementationClassUID = _uid("implementation")
    meta.ImplementationVersionName = "CMRRECON"
    return meta


def _set_patient_and_study(made: Any, series: Series) -> None:
    """Set patient and study: anonymous, unless an identifier was given."""
    given = series.export.patient_id
    made.PatientName = given or "Anonymous"
    made.PatientID = given or ""
    made.PatientBirthDate = made.PatientSex = ""
    if given is None:
        made.PatientIdentityRemoved = "YES"
        made.DeidentificationMethod = "made without patient data"

    made.StudyInstanceUID = series.shared_uid("study")
    made.StudyDate = made.StudyTime = made.StudyID = ""
    made.AccessionNumber = made.ReferringPhysicianName = ""
    made.FrameOfReferenceUID = series.shared_uid("frame of reference")
    made.PositionReferenceIndicator = ""


def _set_pixels(made: Any, series: Series) -> None:
    """Describe the stored values."""
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows, made.Columns = series.stored.shape[2:]
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, 0
    made.BurnedInAnnotation, made.LossyImageCompression = "NO", "00"


def _settings(series: Series) -> str:
    """Return the settings of the reconstruction as JSON."""
    kept = nameless(series.provenance)
    names = ("cmrrecon", "config", "choice", "export")
    return to_json({name: kept[name] for name in names if name in kept})


def _created(provenance: Mapping[str, Any]) -> tuple[str, str]:
    """Return date and time of the reconstruction, as DICOM writes them."""
    try:
        when = datetime.fromisoformat(str(provenance.get("created")))
    except ValueError:
        when = datetime.now(UTC)
    return when.strftime("%Y%m%d"), when.strftime("%H%M%S")


def _source(images: Sequence[Tensor], provenance: Mapping[str, Any]) -> str:
    """Return a digest of the inputs; of the images if they were not made from files."""
    digest = hashlib.sha256()
    inputs = [str(entry.get("sha256")) for entry in provenance.get("inputs") or []]
    for name in inputs:
        digest.update(name.encode())
    if not inputs:
        for index in range(len(images)):
            digest.update(np.ascontiguousarray(image_array(images[index])).data)
    return digest.hexdigest()


def _uid(*words: str) -> str:
    return f"2.25.{uuid.uuid5(NAMESPACE, chr(0).join(words)).int}"


def _decimal(value: float) -> Any:
    """Return a decimal string of at most 16 characters."""
    pydicom = optional("pydicom", "dicom", "The output is DICOM")
    # -0.0 would be confusing in headers.
    return pydicom.valuerep.DSfloat(float(value) + 0.0, auto_format=True)
