"""Options of images for other programs: NIfTI and DICOM."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from cmrrecon.data.geometry import Vector
from cmrrecon.formats.names import suffix_of
from cmrrecon.formats.packages import optional
from cmrrecon.tools.errors import UsageError

NIFTI = (".nii", ".nii.gz")
DICOM = ".dcm"
Part = Literal["magnitude", "phase", "complex"]
LONGEST_ID = 64  # characters of a DICOM long string
LARGEST_MM = 1000.0


@dataclass(frozen=True)
class Export:
    """Options of NIfTI and DICOM files.

    Attributes
    ----------
    voxel_mm : (float, float, float) or None
        Voxel size (y, x, slice) in mm of images whose geometry does not state it; None for 1 mm.
    also : {"phase", "complex"} or None
        What to write beside the magnitude: the phase in radians, or complex images (NIfTI only).
    enhanced : bool
        Whether to write DICOM as one Enhanced MR file instead of a folder of MR images.
    patient_id : str or None
        Name and identifier of the patient in DICOM; None for anonymous.
    """

    voxel_mm: Vector | None = None
    also: Literal["phase", "complex"] | None = None
    enhanced: bool = False
    patient_id: str | None = None

    def check(self, path: Path) -> None:
        """Refuse options that are not valid, or not valid for this output.

        Raises
        ------
        UsageError
            If a value is not allowed (`option-value`), an option does not fit the format
            (`options-conflict`), or a package is not installed (`package-missing`).
        """
        suffix = suffix_of(path)
        _check_values(self)
        given = [name for name, value in asdict(self).items() if value not in (None, False)]
        fitting = {
            "voxel_mm": (*NIFTI, DICOM),
            "also": NIFTI if self.also == "complex" else (*NIFTI, DICOM),
            "enhanced": (DICOM,),
            "patient_id": (DICOM,),
        }

        for name in given:
            if suffix not in fitting[name]:
                raise UsageError(
                    "options-conflict",
                    f"The option {NAMES[name]} does not apply to {suffix or 'such'} files",
                    f"It applies to {', '.join(fitting[name])}",
                    "Leave it out, or choose one of these formats",
                )

        if suffix in NIFTI:
            optional("nibabel", "nifti", "The output is a NIfTI file")
        if suffix == DICOM:
            optional("pydicom", "dicom", "The output is DICOM")

    def record(self) -> dict[str, Any]:
        """Return the options that are set, for the provenance; the patient only as a digest."""
        found = {name: value for name, value in asdict(self).items() if value not in (None, False)}
        if self.voxel_mm is not None:
            found["voxel_mm"] = list(self.voxel_mm)
        if self.patient_id is not None:
            found["patient_id"] = hashlib.sha256(self.patient_id.encode()).hexdigest()[:16]
        return found


# Names of the attributes for messages.
NAMES = {
    "voxel_mm": "--voxel-size (voxel_mm)",
    "also": "--also",
    "enhanced": "--enhanced",
    "patient_id": "--patient-id",
}
PLAIN = Export()


def beside_path(path: Path, what: str, suffix: str | None = None) -> Path:
    """Return the path of a file beside an output: `cine.nii.gz` -> `cine_phase.nii.gz`.

    Parameters
    ----------
    path : Path
        The output.
    what : str
        What the other file contains.
    suffix : str or None
        Its suffix; None for that of the output.
    """
    own = path.name[len(path.name) - len(suffix_of(path)) :]
    stem = path.name.removesuffix(own)
    return path.with_name(f"{stem}_{what}{own if suffix is None else suffix}")


def _check_values(export: Export) -> None:
    """Refuse values that no format can store; the patient's identifier is not quoted."""
    if export.voxel_mm is not None and not _is_voxel(export.voxel_mm):
        raise UsageError(
            "option-value",
            f"The voxel size is {export.voxel_mm!r}",
            f"It must be three sizes (y, x, slice) above 0 and up to {LARGEST_MM:g} mm",
            "For example, write 1.5,1.5,8",
        )

    if export.also not in (None, "phase", "complex"):
        raise UsageError(
            "option-value",
            f"{export.also!r} was requested beside the magnitude",
            "It must be phase or complex",
            "Choose one of them",
        )

    name = export.patient_id
    if name is not None and not (
        0 < len(name.strip()) <= len(name) <= LONGEST_ID
        and name.isprintable()
        and not set(name) & set("\\^=")
    ):
        raise UsageError(
            "option-value",
            "The patient identifier cannot be stored in DICOM",
            f"It must have 1 to {LONGEST_ID} printable characters, without \\, ^ and =",
            "Choose a pseudonym such as P001",
        )


def _is_voxel(value: Any) -> bool:
    """Return whether a value is a voxel size."""
    return (
        isinstance(value, tuple | list)
        and len(value) == 3
        and all(isinstance(size, int | float) and 0 < size <= LARGEST_MM for size in value)
    )
