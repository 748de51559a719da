"""Siemens raw data ("twix", `.dat`), of software VB and from VD on, through the optional package turbotwix (extra `twix`).

Of three packages turbotwix was taken. On two files of 1.6 and 1.0 MB (VE11) all gave the same samples; with version 0.2.1
reading took 3 ms, with twixtools 0.24 77 ms, with pymapvbvd 0.7.0 53 ms, and importing 0.08, 0.76 and 0.46 s. It needs NumPy
alone, the others SciPy and matplotlib as well; all are MIT-licensed. It gives a table of readouts, which is what is needed
here. None of them guards against damage: twixtools and pymapvbvd end in any exception or fill up with what was left of a file,
turbotwix reads beyond the end of a file that was cut and crashes the process. So the directory is checked before it sees the
file, and afterwards that the measurement ended as it should; samples and protocol are read here.
"""

import importlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrrecon.data import Scan
from cmrrecon.formats.epi import Aligned, Load, aligned
from cmrrecon.formats.readouts import Encoding, Raw, Rows, Table, part
from cmrrecon.formats.readouts_scan import assemble
from cmrrecon.formats.twix_directory import (
    CHANNEL,
    HEADERS,
    Directory,
    damaged,
    read_directory,
    require_end,
    sniff,
)
from cmrrecon.formats.twix_protocol import (
    REMEDY,
    Protocol,
    acquisition,
    encoding,
    ramp,
    read_protocol,
)
from cmrrecon.formats.twix_table import readouts
from cmrrecon.tools.errors import UsageError

NOISE_BANDWIDTH = 0.793  # of Siemens receivers, relative to the sampled bandwidth

__all__ = ["read", "sniff"]


@dataclass(frozen=True)
class Samples:
    """Reads the samples of chosen readouts.

    Attributes
    ----------
    path : the file
    offsets : where each readout begins, in bytes
    samples, coils : of each readout
    prefix, between : bytes of the header before a readout, and before each of its coils
    """

    path: Path
    offsets: NDArray[np.int64]
    samples: NDArray[np.int64]
    coils: NDArray[np.int64]
    prefix: int
    between: int

    @property
    def end(self) -> int:
        """Where the last readout ends, in bytes."""
        size = int(self.coils[-1]) * (self.between + 8 * int(self.samples[-1]))
        return int(self.offsets[-1]) + self.prefix + size

    def __call__(self, rows: Rows) -> NDArray[np.complex64]:
        """Rows of equal size -> (row, coil, sample), as stored."""
        count, coils = int(self.samples[rows[0]]), int(self.coils[rows[0]])
        size = self.between + 8 * count
        found = np.empty((len(rows), coils, count), np.complex64)
        with open(self.path, "rb") as handle:
            for place, offset in zip(found, self.offsets[rows] + self.prefix, strict=True):
                handle.seek(offset)
                raw = handle.read(coils * size)
                if len(raw) != coils * size:
                    raise damaged(self.path, "the file ends within a readout")
                block = np.frombuffer(raw, np.uint8).reshape(coils, size)[:, self.between :]
                place[:] = np.ascontiguousarray(block).view("<c8")
        return found


def read(path: Path, dataset: str | None = None) -> Scan:
    """The scan in a file: its last measurement, with the noise of an earlier one if it holds none itself.

    Parameters
    ----------
    path : the file
    dataset : not used, the format has no named data sets

    Raises
    ------
    UsageError : `package-missing`
    InputError : `file-damaged`; `trajectory-missing`; `readouts-missing` and others if the readouts make no scan
    """
    directory = read_directory(path)
    last = len(directory.places) - 1
    with closing(_opened(path)) as file:
        scan = _raw(file, directory, last, path, noise_only=False)
        noise = None if scan.table["noise"].any() else _noise(file, directory, scan)
    return assemble(scan, noise)


def _noise(file: Any, directory: Directory, scan: Raw) -> Raw | None:
    """The last measurement before the scan that holds noise of as many coils."""
    coils = np.unique(scan.table["coils"][scan.table["image"]])
    for index in reversed(range(len(directory.places) - 1)):
        raw = _raw(file, directory, index, scan.path, noise_only=True)
        if (raw.table["noise"] & np.isin(raw.table["coils"], coils)).any():
            return raw
    return None


def _raw(file: Any, directory: Directory, index: int, path: Path, *, noise_only: bool) -> Raw:
    """The readouts of a measurement."""
    place, before_vd = directory.places[index], directory.before_vd
    headers, offsets = _listed(file, index, path)
    with open(path, "rb") as handle:
        handle.seek(place.start)
        protocol = read_protocol(handle.read(place.data - place.start))
    table = readouts(headers, protocol, before_vd=before_vd, noise_only=noise_only)
    prefix = 0 if before_vd else HEADERS[False]
    load = Samples(path, offsets, table["samples"], table["coils"], prefix, CHANNEL[before_vd])
    require_end(path, directory, place, load.end if len(offsets) else place.data)
    navigator = table.pop("navigator")
    centres = headers["CenterLin"].astype(np.int64)
    encodings = (_encoding(table, centres, protocol, bool(navigator.any()), path),)
    loader: Load = load
    if navigator.any():
        offcentre = headers["ReadOutOffcentre"].astype(np.float64)
        loader = _echo_planar(load, table, navigator, protocol, offcentre)
    return Raw(
        path,
        table,
        encodings,
        loader,
        acquisition=acquisition(protocol, path),
        noise_bandwidth=NOISE_BANDWIDTH,
        notes=_notes(table, path),
        remedy=REMEDY,
    )


def _notes(table: Table, path: Path) -> tuple[str, ...]:
    """That lines of one image run both ways, if nothing tells their phases; bipolar echoes are images of their own."""
    image = part(table, table["image"])
    echoes = [image["reverse"][image["contrast"] == echo] for echo in np.unique(image["contrast"])]
    if not any(backwards.any() and not backwards.all() for backwards in echoes):
        return ()
    return (
        f"{path}: lines run both ways without navigators; ghosts by half the matrix are likely.",
    )


def _echo_planar(
    load: Samples,
    table: Table,
    navigator: NDArray[np.bool],
    protocol: Protocol,
    offcentre_mm: NDArray[np.float64],
) -> Aligned:
    """What loads readouts measured back and forth; in the table they all run forwards from then on."""
    side = protocol.encoded_mm
    offcentre = offcentre_mm / side[1] if side else np.zeros(len(navigator))
    loader = aligned(load, table, navigator, ramp(protocol, load.path), offcentre)
    table["reverse"] = table["reverse"] & ~loader.lines
    return loader


def _encoding(
    table: Table, centres: NDArray[np.int64], protocol: Protocol, echo_planar: bool, path: Path
) -> Encoding:
    """The encoding of the image's readouts, in a matrix that holds them all."""
    image = part(table, table["image"])
    if not len(image["line"]):
        return encoding(protocol, (1, 1), None, echo_planar, path)
    centre = int(centres[table["image"]][0])
    below, above = centre - int(image["line"].min()), int(image["line"].max()) - centre
    centre_given = below >= 0 and above >= 0
    lines = 2 * max(below, above + 1) if centre_given else int(image["line"].max()) + 1
    columns = int((image["samples"] - image["before"] - image["after"]).max())
    return encoding(protocol, (lines, columns), centre if centre_given else None, echo_planar, path)


def _opened(path: Path) -> Any:
    """The file, opened by turbotwix."""
    try:
        turbotwix = importlib.import_module("turbotwix")
    except ImportError as error:
        raise UsageError(
            "package-missing",
            f"{path} is Siemens raw data, which need the extra twix",
            "It brings the package turbotwix, which is not installed",
            "Use pip install 'cmrrecon[twix]'",
        ) from error
    with _guarded(path):
        return turbotwix.open_twix(str(path))


def _listed(file: Any, index: int, path: Path) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The headers of the readouts of a measurement, and where each begins, in bytes."""
    with _guarded(path):
        lines = file[index].lines
        return lines.headers(), np.asarray(lines.offset, np.int64)


@contextmanager
def _guarded(path: Path) -> Iterator[None]:
    """Around calls of turbotwix: whatever it finds wrong in a file becomes an InputError."""
    own = importlib.import_module("turbotwix").TwixParseError
    try:
        yield
    # Depending on which byte is wrong, nearly anything is raised.
    except (own, OSError, ValueError, IndexError, KeyError, OverflowError, TypeError) as error:
        raise damaged(path, "its readouts do not agree with themselves") from error
