"""Arranges readouts along a trajectory as spokes, and finds the positions of their samples."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmrrecon.data import SpokeMask, Trajectory
from cmrrecon.data.mask import MaskSource, once_if_alike
from cmrrecon.data.units import in_cycles
from cmrrecon.formats.arrays import check_size
from cmrrecon.formats.readouts import Encoding, Raw, Table, length_of, part
from cmrrecon.formats.readouts_lines import kept_samples, require_coils, require_frames, row_groups
from cmrrecon.tools.errors import InputError

NEED_POSITIONS = ("radial", "goldenangle", "spiral")
GROUPED_BY = ("samples", "before", "after", "axes")


@dataclass(frozen=True, eq=False)
class Spokes:
    """Spokes of one slice at a time, (frame, coil, spoke, sample), with zeros for missing ones.

    Attributes
    ----------
    raw : Raw
        The measurement.
    shape : tuple of int
        (frame, slice, coil, spoke, sample).
    table : dict of str to ndarray
        Columns of the readouts; additional columns are `frame`, `slice` and `row` (number of the
        spoke within its frame, in the order of measurement).
    """

    raw: Raw
    shape: tuple[int, int, int, int, int]
    table: Table

    def __call__(self, index: int) -> Tensor:
        """Return k-space of slice `index` (0-based), complex64."""
        frames, _, coils, spokes, samples = self.shape
        kspace = np.zeros((frames, coils, spokes, samples), np.complex64)
        table = part(self.table, self.table["slice"] == index)
        for rows in row_groups(table, GROUPED_BY):
            kspace[table["frame"][rows], :, table["row"][rows]] = kept_samples(
                self.raw, table, rows
            )
        return torch.from_numpy(kspace)

    def mask(self, trajectory: Trajectory) -> SpokeMask:
        """Return the mask of the measured spokes.

        If slices have different spokes, non-zero samples count as measured.
        """
        frames, slices, _, spokes, _ = self.shape
        present = np.zeros((slices, frames, spokes), bool)
        present[self.table["slice"], self.table["frame"], self.table["row"]] = True

        if not (present == present[:1]).all():
            every = torch.ones((1, spokes, 1), dtype=torch.bool)
            return SpokeMask(every, MaskSource.NON_ZERO, trajectory=trajectory)
        samples = once_if_alike(torch.from_numpy(present[0, ..., None]))
        return SpokeMask(samples, MaskSource.HEADER, trajectory=trajectory)


def is_non_cartesian(raw: Raw, image: Table, encoding: Encoding) -> bool:
    """Return whether an image was measured along the stored positions.

    Images that the header calls Cartesian are placed by their line counters, even if positions are
    stored.

    Raises
    ------
    InputError
        If the header names a trajectory that is not stored (`trajectory-missing`).
    """
    kind = encoding.trajectory.lower()
    stored = bool(image["axes"].any())
    if not stored and kind in NEED_POSITIONS:
        raise InputError(
            "trajectory-missing",
            f"{raw.path} is {kind}, but contains no trajectory",
            "The positions of all samples are needed",
            "Convert the scanner's file together with its trajectory",
        )
    return stored and kind != "cartesian"


def spokes_of(raw: Raw, image: Table) -> Spokes:
    """Number the spokes of an image within each frame.

    Raises
    ------
    InputError
        If readouts have different sizes or are empty (`readouts-differ`, `readouts-empty`), or if a
        slice lacks a frame (`frame-missing`).
    """
    # The trajectory states the position of each sample, whichever way the readout runs.
    image = image | {"reverse": np.zeros(len(image["reverse"]), bool)}
    coils = require_coils(raw, image)

    for name in GROUPED_BY:
        if np.ptp(image[name]):
            raise InputError(
                "readouts-differ",
                f"{raw.path} has readouts that differ in {name}",
                "All spokes of the image must have the same size",
                raw.remedy,
            )
    if image["axes"][0] < 2:
        raise InputError(
            "readouts-empty",
            f"{raw.path} has a trajectory with {image['axes'][0]} axes",
            "A trajectory needs at least two axes, x and y",
            raw.remedy,
        )

    frames, slices = require_frames(raw, image)
    image = part(image, np.lexsort((image["slice"], image["frame"])))
    lengths = np.bincount(image["frame"] * slices + image["slice"])
    row = np.arange(len(image["frame"])) - np.repeat(np.cumsum(lengths) - lengths, lengths)

    samples = int(length_of(image)[0])
    shape = (frames, slices, coils, int(lengths.max()), samples)
    check_size(shape, 0, str(raw.path))
    check_size((frames, *shape[2:]), 8, f"A slice of {raw.path}")
    return Spokes(raw, shape, image | {"row": row})


def trajectory_of(spokes: Spokes, encoding: Encoding) -> tuple[Trajectory, str]:
    """Return the trajectory in cycles per field of view, and a note on the assumed unit.

    Raises
    ------
    InputError
        If slices have different trajectories (`trajectory-differs`), or the unit is unknown
        (`trajectory-units`).
    """
    path = spokes.raw.path
    fov = encoding.field_of_view_mm
    check_size((spokes.shape[2], *encoding.image), 8, f"The images of {path}")
    voxel = None if fov is None else (fov[0] / encoding.matrix[0], fov[1] / encoding.matrix[1])
    positions = torch.from_numpy(_positions(spokes))
    scaled, note = in_cycles(positions, encoding.image, str(path), voxel)
    return Trajectory(scaled, encoding.image), note


def _positions(spokes: Spokes) -> NDArray[np.float32]:
    """Return the trajectory (frame|1, spoke, sample, 2), axes (y, x), in the file's unit."""
    frames, slices, _, count, samples = spokes.shape
    raw, table = spokes.raw, spokes.table
    assert raw.positions is not None
    inside = slice(int(table["before"][0]), int(table["before"][0]) + samples)

    positions = np.zeros((frames, count, samples, 2), np.float32)
    for index in range(slices):
        one = part(table, table["slice"] == index)
        for rows in row_groups(one, GROUPED_BY):
            values = raw.positions(one["index"][rows])[:, inside, 1::-1]
            place = one["frame"][rows], one["row"][rows]
            if index == 0:
                positions[place] = values
            elif not np.array_equal(positions[place], values, equal_nan=True):
                raise InputError(
                    "trajectory-differs",
                    f"{raw.path} has slices with different trajectories",
                    "All slices must have the same trajectory",
                    raw.remedy,
                )
    return positions[:1] if (positions == positions[:1]).all() else positions
