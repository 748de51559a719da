"""Siemens raw data ("twix", `.dat`), of software VB and from VD on: its last measurement, and the
noise of an earlier one."""

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

NOISE_BANDWIDTH = 0.793  # of Siemens receivers, relative to the sampled bandwidth

__all__ = ["read", "sniff"]


@dataclass(frozen=True, eq=False)
class Measurement:
    """A measurement as it lies in the file.

    Attributes
    ----------
    path : the file
    before_vd : whether it is of software before VD
    protocol : what is used of its text
    headers : of its readouts, as turbotwix gives them
    offsets : where these begin, in bytes
    """

    path: Path
    before_vd: bool
    protocol: Protocol
    headers: NDArray[Any]
    offsets: NDArray[np.int64]

    def samples(self, table: Table) -> Samples:
        """Loads the samples of its readouts."""
        return Samples(self.path, self.offsets, table["samples"], table["coils"], self.before_vd)


def read(path: Path) -> Scan:
    """The scan in a file: its last measurement, with the noise of an earlier one if it holds none
    itself.

    Parameters
    ----------
    path : the file

    Raises
    ------
    UsageError : `package-missing`
    InputError : `file-damaged`, `trajectory-missing`, `gradient-unknown`; `readouts-missing` and
        others if the readouts make no scan
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
    """The noise readouts of the first of other measurements that has some of the scan's coils."""
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
    """The readouts of the scan."""
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
    """A note if lines of one image run both ways and no navigator gives their phases.

    Bipolar echoes are images of their own.
    """
    image = part(table, table["image"])
    echoes = [image["reverse"][image["contrast"] == echo] for echo in np.unique(image["contrast"])]
    if not any(backwards.any() and not backwards.all() for backwards in echoes):
        return ()
    return (
        f"{path}: lines run both ways without navigators; ghosts by half the matrix are likely.",
    )


def _echo_planar(
    samples: Samples, table: Table, navigator: NDArray[np.bool], measurement: Measurement
) -> Aligned:
    """What loads readouts measured back and forth; in the table they all run forwards from then
    on."""
    side = measurement.protocol.encoded_mm
    offcentre = measurement.headers["ReadOutOffcentre"] / (side[1] if side else np.inf)
    gradient = ramp(measurement.protocol, measurement.path)
    load = aligned(samples, table, navigator, gradient, offcentre.astype(np.float64))
    table["reverse"] = table["reverse"] & ~load.lines
    return load


def _encoding(table: Table, measurement: Measurement, echo_planar: bool) -> Encoding:
    """The encoding of the image's readouts, in a matrix that holds them all."""
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
