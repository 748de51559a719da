"""What is known of how a scan was made."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Acquisition:
    """What is known of how a scan was made; None where it is not known.

    Attributes
    ----------
    base : official base name (`cine_sax`, `T1map`)
    modality, year, centre, vendor, subject : the domain, from folder names
    pattern, acceleration, acs, seed : the sampling: its name, nominal R, calibration lines, seed
    coil : `multi` or `single`, in the official folders
    split : `TrainingSet`, `ValidationSet` or `TestSet`, in the official folders
    field_strength : of the magnet in tesla
    sequence : name of the pulse sequence or protocol, never of the patient
    venc : velocity encoding of each set of frames in cm/s, 0 for the reference; frames of one set
        follow one another
    """

    base: str = "scan"
    modality: str | None = None
    year: int | None = None
    centre: str | None = None
    vendor: str | None = None
    subject: str | None = None
    pattern: str | None = None
    acceleration: float | None = None
    acs: int | None = None
    seed: int | None = None
    coil: str | None = None
    split: str | None = None
    field_strength: float | None = None
    sequence: str | None = None
    venc: tuple[float, ...] | None = None
