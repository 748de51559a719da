"""Siemens raw data ("twix", `.dat`) of software VB, VD and later.

The last measurement in a file is read. Its noise may come from an earlier measurement.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrrecon.data import Scan
from cmrrecon.formats.epi import Aligned, Load, aligned
from cmrrecon.formats.readouts import Encoding, Raw, Table, length_of, part
from cmrrecon.formats.readouts_scan import assemble
from cmrrecon.formats.twix_directory import Directory, read_directory, require_end, sniff
from cmrrecon.formats.twix_lines import Samples, listed, opened
from cmrrecon.formats.twix_protocol import (
    REMEDY,
    Protocol,
    acquisition,
    encoding,
    ramp,
    read_protocol,
)
from cmrrecon.formats.twix_table import NOISE, readouts

NOISE_BANDWIDTH = 0.793  # of Siemens receivers, as a fraction of the sampled bandwidth

__all__ = ["read", "sniff"]


@dataclass(frozen=True, eq=False)
class Measurement:
    """A measurement as stored in a file.

    Attributes
    ----------
    path : Path
        The file.
    before_vd : bool
        Whether the file was written by software before VD.
    protocol : Protocol
        The part of the protocol that is used.
    headers : ndarray of shape (row,)
        Headers of its readouts, as returned by turbotwix.
    offsets : ndarray of shape (row,), int64
        Offsets of the readouts in bytes.
    """

    path: Path
    before_vd: bool
    protocol: Protocol
    headers: NDArray[Any]
    offsets: NDArray[np.int64]

    def samples(self, table: Table) -> Samples:
        """Return a loader for the samples of the readouts."""
        return Samples(self.path, self.offsets, table["samples"], table["coils"], self.before_vd)


def read(path: Path) -> Scan:
    """Read the last measurement of a file; its noise may come from an earlier measurement.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Scan
        The scan.

    Raises
    ------
    UsageError
        If turbotwix is not installed (`package-missing`).
    InputError
        If the file is damaged (`file-damaged`), the trajectory or gradient is not supported
        (`trajectory-missing`, `gradient-unknown`), or the readouts do not form a scan
        (`readouts-missing` and others).
    """
    directory = read_directory(path)
    with closing(opened(path)) as file:
        *earlier, last = range(len(directory.places))
        measurement = _measurement(file, directory, last, path)
        scan = _scan(measurement, directory)
        others = (_measurement(file, directory, index, path) for index in reversed(earlier))
        noise = None if scan.table["noise"].any() else _noise(others, measurement, scan)
    return assemble(scan, noise)


def _measurement(file: Any, directory: Directory, index: int, path: Path) -> Measurement:
    place = directory.places[index]
    headers, offsets = listed(file, index, path)
    with open(path, "rb") as handle:
        handle.seek(place.start)
        protocol = read_protocol(handle.read(place.data - place.start))
    return Measurement(path, directory.before_vd, protocol, headers, offsets)


def _noise(others: Iterator[Measurement], own: Measurement, scan: Raw) -> Raw | None:
    """Return the noise readouts of the first other measurement that has coils of the scan."""
    coils = np.unique(scan.table["coils"][scan.table["image"]])
    for other in others:
        names = other.protocol.coils
        noise = (other.headers["EvalInfoMask"].astype(np.uint64) & np.uint64(NOISE)) != 0
        noise &= np.isin(other.headers["UsedChannels"], coils)
        if noise.any() and (names == own.protocol.coils or not names or not own.protocol.coils):
            found = replace(other, headers=other.headers[noise], offsets=other.offsets[noise])
            table = _table(found, noise_only=True)
            return Raw(scan.path, table, (), found.samples(table), noise_bandwidth=NOISE_BANDWIDTH)
    return None


def _table(measurement: Measurement, *, noise_only: bool) -> Table:
    return readouts(
        measurement.headers,
        measurement.protocol,
        before_vd=measurement.before_vd,
        noise_only=noise_only,
    )


def _scan(measurement: Measurement, directory: Directory) -> Raw:
    """Return the readouts of the scan."""
    path, protocol = measurement.path, measurement.protocol
    table = _table(measurement, noise_only=False)
    samples = measurement.samples(table)
    place = directory.places[-1]
    require_end(path, directory, place, samples.end if len(samples.offsets) else place.data)

    navigator = table.pop("navigator")
    encodings = (_encoding(table, measurement, bool(navigator.any())),)
    load: Load = samples
    if navigator.any():
        load = _echo_planar(samples, table, navigator, measurement)
    return Raw(
        path,
        table,
        encodings,
        load=load,
        acquisition=acquisition(protocol, path),
        noise_bandwidth=NOISE_BANDWIDTH,
        notes=_notes(table, path),
        remedy=REMEDY,
    )


def _notes(table: Table, path: Path) -> tuple[str, ...]:
    """Return a note if lines of one image run in both directions and there are no navigators.

    Bipolar echoes do not matter, because each echo is a separate image.
    """
    image = part(table, table["image"])
    echoes = [image["reverse"][image["contrast"] == echo] for echo in np.unique(image["contrast"])]
    if not any(backwards.any() and not backwards.all() for backwards in echoes):
        return ()
    return (
        f"{path}: lines run in both directions and there are no navigators; ghosts shifted by "
        "half the field of view are likely.",
    )


def _echo_planar(
    samples: Samples, table: Table, navigator: NDArray[np.bool], measurement: Measurement
) -> Aligned:
    """Return a loader that makes all readouts run forwards, and mark them so in the table."""
    side = measurement.protocol.encoded_mm
    offcentre = measurement.headers["ReadOutOffcentre"] / (side[1] if side else np.inf)
    gradient = ramp(measurement.protocol, measurement.path)
    load = aligned(samples, table, navigator, gradient, offcentre.astype(np.float64))
    table["reverse"] = table["reverse"] & ~load.lines
    return load


def _encoding(table: Table, measurement: Measurement, echo_planar: bool) -> Encoding:
    """Return the encoding of the image, with a matrix large enough for all of its readouts."""
    protocol, path = measurement.protocol, measurement.path
    image = part(table, table["image"])
    if not len(image["line"]):
        return encoding(protocol, (1, 1), None, echo_planar, path)

    centre = int(measurement.headers["CenterLin"][table["image"]][0])
    below, above = centre - int(image["line"].min()), int(image["line"].max()) - centre
    inside = below >= 0 and above >= 0
    lines = 2 * max(below, above + 1) if inside else int(image["line"].max()) + 1
    columns = int(length_of(image).max())
    return encoding(protocol, (lines, columns), centre if inside else None, echo_planar, path)
