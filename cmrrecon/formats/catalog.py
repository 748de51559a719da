"""The file formats and what each can store: the table in `docs/scanner.md`.

Tests check every claim against the readers and writers: a small file of each format
(`tests/format_samples.py`) must yield what its row says, and the rows must be exactly the formats
listed in `kinds.py` and `writing.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Content = Literal["scans", "masks", "images"]


@dataclass(frozen=True)
class Format:
    """A row of the table.

    Attributes
    ----------
    name : str
        Name of the format; for raw formats, the name in `kinds.RAW_FORMATS`.
    suffixes : tuple of str
        File name suffixes. Files are recognised by their content; the suffix selects the writer.
    reads, writes : tuple of {"scans", "masks", "images"}
        What can be read and written.
    geometry : tuple of {"scans", "masks", "images"}
        Content whose geometry is read and written.
    noise : bool
        Whether the format can state the noise of a scan.
    calibration : bool
        Whether the format can store calibration lines that are not part of the image.
    raw : bool
        Whether a file contains a whole scan in its own layout, see `kinds.RawFormat`.
    needs : str
        What has to be installed, such as an extra; empty if nothing.
    """

    name: str
    suffixes: tuple[str, ...]
    reads: tuple[Content, ...] = ()
    writes: tuple[Content, ...] = ()
    geometry: tuple[Content, ...] = ()
    noise: bool = False
    calibration: bool = False
    raw: bool = False
    needs: str = ""


CATALOG = (
    Format(
        "ISMRMRD",
        (".h5", ".mrd"),
        reads=("scans",),
        geometry=("scans",),
        noise=True,
        calibration=True,
        raw=True,
    ),
    Format("ISMRMRD for other programs", (".mrd",), writes=("scans",), geometry=("scans",)),
    Format(
        "Siemens twix",
        (".dat",),
        reads=("scans",),
        geometry=("scans",),
        noise=True,
        calibration=True,
        raw=True,
        needs="`.[twix]`",
    ),
    Format("fastMRI", (".h5",), reads=("scans",), geometry=("scans",), raw=True),
    Format("4-D flow", (".mat",), reads=("scans",), geometry=("scans",), raw=True),
    Format(
        "BART .cfl",
        (".cfl",),
        reads=("scans", "masks", "images"),
        writes=("scans", "masks", "images"),
        geometry=("scans", "images"),
    ),
    Format(
        "CMRxRecon .mat (v7.3)",
        (".mat",),
        reads=("scans", "masks"),
        writes=("scans", "masks"),
        geometry=("scans",),
    ),
    Format(
        "MATLAB 5 .mat",
        (".mat",),
        reads=("scans", "masks", "images"),
        writes=("images",),
        geometry=("images",),
    ),
    Format(
        "cmrrecon .h5",
        (".h5",),
        reads=("scans", "masks", "images"),
        writes=("scans", "images"),
        geometry=("scans", "images"),
        noise=True,
        calibration=True,
    ),
    Format(
        "NumPy .npz",
        (".npz",),
        reads=("scans", "masks", "images"),
        writes=("scans", "images"),
        geometry=("scans", "images"),
        noise=True,
        calibration=True,
    ),
    Format(
        "NumPy .npy",
        (".npy",),
        reads=("scans", "masks", "images"),
        writes=("scans", "images"),
        geometry=("images",),
    ),
    Format("PNG picture", (".png",), writes=("images",), geometry=("images",)),
    Format("GIF movie", (".gif",), writes=("images",), geometry=("images",)),
    Format(
        "NIfTI",
        (".nii", ".nii.gz"),
        writes=("images",),
        geometry=("images",),
        needs="`.[nifti]`",
    ),
    Format("DICOM", (".dcm",), writes=("images",), geometry=("images",), needs="`.[dicom]`"),
)

HEADS = ("format", "suffix", "reads", "writes", "geometry", "noise", "calibration", "needs")


def markdown() -> str:
    """Return the table in Markdown, as it appears in `docs/scanner.md`."""
    lines = [_line(HEADS), _line(["---"] * len(HEADS))]
    return "\n".join([*lines, *(_line(_cells(format)) for format in CATALOG)]) + "\n"


def _cells(format: Format) -> list[str]:
    listed = (format.reads, format.writes, format.geometry)
    known = (format.noise, format.calibration)
    return [
        format.name,
        ", ".join(f"`{suffix}`" for suffix in format.suffixes),
        *(", ".join(one) or "-" for one in listed),
        *("yes" if one else "-" for one in known),
        format.needs or "-",
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
