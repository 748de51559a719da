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
