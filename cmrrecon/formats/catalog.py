"""What the formats can hold, for people: the table in `docs/scanner.md`.

Tests hold every claim against the readers and writers: a small file of each format that is read
must give what its row says (`tests/format_samples.py`), and the rows must name the formats that
`kinds.py` and `writing.py` list, no more and no fewer.
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
    name : of a raw format as `kinds.RAW_FORMATS` has it
    suffixes : of file names; formats are told apart by content, outputs by suffix
    reads, writes : what is read and written
    geometry : of what the geometry is known: read from a file, or kept in what is written
    noise : whether the noise of scans is known
    calibration : whether calibration lines that are no part of the image are known
    raw : whether the format holds whole scans in its own way, see `kinds.RawFormat`
    needs : what has to be installed, such as an extra; "" for nothing
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
)

HEADS = ("format", "suffix", "reads", "writes", "geometry", "noise", "calibration", "needs")


def markdown() -> str:
    """The table, as the page has it."""
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
