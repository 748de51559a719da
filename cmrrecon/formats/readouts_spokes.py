"""Readouts along a trajectory: spokes in the order they were measured in, and where their samples
lie."""

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
from cmrrecon.formats.readouts_lines import alike, kept, require_coils, require_frames
from cmrrecon.tools.errors import InputError

CARTESIAN = ("cartesian", "epi")
NEED_POSITIONS = ("radial", "goldenangle", "spiral")
ALIKE = ("samples", "before", "after", "axes")


@dataclass(frozen=True, eq=False)
class Spokes:
    """The spokes of one slice at a time: (frame, coil, spoke, sample), zero where there is none.

    Attributes
    ----------
    raw : the file
    shape : (frame, slice, coil, spoke, sample)
    table : of each readout its `frame`, `slice` and `row`, the number of the spoke in its frame
    """

    raw: Raw
    shape: tuple[int, int, int, int, int]
    table: Table

    def __call__(self, index: int) -> Tensor:
        """K-space of slice `index` (0-based)."""
        frames, _, coils, spokes, samples = self.shape
        kspace = np.zeros((frames, coils, spokes, samples), np.complex64)
        table = part(self.table, self.table["slice"] == index)
        for rows in alike(table, ALIKE):
            kspace[table["frame"][rows], :, table["row"][rows]] = kept(self.raw, table, rows)
        return torch.from_numpy(kspace)

    def mask(self, trajectory: Trajectory) -> SpokeMask:
        """Which spokes were measured; where that differs between slices, what is non-zero in
        them."""
        frames, slices, _, spokes, _ = self.shape
        present = np.zeros((slices, frames, spokes), bool)
        present[self.table["slice"], self.table["frame"], self.table["row"]] = True

        if not (present == present[:1]).all():
            every = torch.ones((1, spokes, 1), dtype=torch.bool)
            return SpokeMask(every, MaskSource.NON_ZERO, trajectory=trajectory)
        samples = once_if_alike(torch.from_numpy(present[0, ..., None]))
        return SpokeMask(samples, MaskSource.HEADER, trajectory=trajectory)


def along_trajectory(raw: Raw, image: Table, encoding: Encoding) -> bool:
    """Whether an image was measured along the stored positions.

    What the header calls Cartesian is placed by its lines, whatever else is stored.

    Raises
    ------
    InputError : `trajectory-missing`, if the header names a trajectory that is not stored
    """
    kind = encoding.trajectory.lower()
    stored = bool(image["axes"].any())
    if not stored and kind in NEED_POSITIONS:
        raise InputError(
            "trajectory-missing",
            f"{raw.path} is {kind}, but holds no trajectory",
            "The positions of all samples are needed",
            "Convert the scanner's file with its trajectory",
        )
    return stored and kind != "cartesian"


def spokes_of(raw: Raw, image: Table) -> Spokes:
    """The spokes of an image, numbered in each frame.

    Raises
    ------
    InputError : `readouts-differ`, `readouts-empty`, `frame-missing`
    """
    # Runs backwards or not, the trajectory says where each sample lies.
    image = image | {"reverse": np.zeros(len(image["reverse"]), bool)}
    coils = require_coils(raw, image)

    for name in ALIKE:
        if np.ptp(image[name]):
            raise InputError(
                "readouts-differ",
                f"{raw.path} has readouts that differ in {name}",
                "All spokes of the image must be alike",
                raw.remedy,
            )
    if image["axes"][0] < 2:
        raise InputError(
            "readouts-empty",
            f"{raw.path} has a trajectory of {image['axes'][0]} axes",
            "There must be two",
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
    """The trajectory in cycles per field of view, and what was taken as its unit.

    Raises
    ------
    InputError : `trajectory-differs`, `trajectory-units`
    """
    where, fov = spokes.raw.path, encoding.field_of_view_mm
    check_size((spokes.shape[2], *encoding.image), 8, f"The images of {where}")
    voxel = None if fov is None else (fov[0] / encoding.matrix[0], fov[1] / encoding.matrix[1])
    positions = torch.from_numpy(_positions(spokes))
    scaled, note = in_cycles(positions, encoding.image, str(where), voxel)
    return Trajectory(scaled, encoding.image), note


def _positions(spokes: Spokes) -> NDArray[np.float32]:
    """The trajectory of all slices (frame|1, spoke, sample, 2) in the file's unit, last axis (y,
    x)."""
    frames, slices, _, count, samples = spokes.shape
    raw, table = spokes.raw, spokes.table
    assert raw.positions is not None
    kept_samples = slice(int(table["before"][0]), int(table["before"][0]) + samples)

    positions = np.zeros((frames, count, samples, 2), np.float32)
    for index in range(slices):
        one = part(table, table["slice"] == index)
        for rows in alike(one, ALIKE):
            values = raw.positions(one["index"][rows])[:, kept_samples, 1::-1]
            place = one["frame"][rows], one["row"][rows]
            if index == 0:
                positions[place] = values
            elif not np.array_equal(positions[place], values, equal_nan=True):
                raise InputError(
                    "trajectory-differs",
                    f"{raw.path} has slices with trajectories of their own",
                    "All slices must have the same trajectory",
                    raw.remedy,
                )
    return positions[:1] if (positions == positions[:1]).all() else positions
