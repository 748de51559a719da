"""How a scan was acquired, as far as the names of its file and folders show."""

from dataclasses import dataclass

# Modalities that are gated retrospectively: their frames cover the whole heartbeat.
GATED = ("Cine", "Aorta")


@dataclass(frozen=True)
class Acquisition:
    """How a scan was acquired; None where unknown.

    Attributes
    ----------
    base : str
        Official base name (`cine_sax`, `T1map`).
    modality, year, centre, vendor, subject : str (year: int) or None
        Where and how the scan was made, from folder names.
    pattern, acceleration, acs, seed : str, float, int, int or None
        Sampling: name of the pattern, nominal acceleration R, number of calibration lines, seed.
    coil : str or None
        `multi` or `single`, in the official folders.
    split : str or None
        `TrainingSet`, `ValidationSet` or `TestSet`, in the official folders.
    field_strength : float or None
        Field strength of the magnet in tesla.
    sequence : str or None
        Name of the pulse sequence or protocol, never of the patient.
    venc : tuple of float or None
        Velocity encoding of each set of frames in cm/s, 0 for the reference. Each set consists of
        consecutive frames.
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

    @property
    def cyclic(self) -> bool:
        """Whether the first frame follows the last one, as in gated cine; False if unknown."""
        return self.modality in GATED
