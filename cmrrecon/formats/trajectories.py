"""Trajectories in files of named arrays: `trajectory` and `matrix` beside the k-space."""

from math import prod
from pathlib import Path

import torch
from torch import Tensor

from cmrrecon.data import CartesianMask, MaskSource, SpokeMask, Trajectory
from cmrrecon.data.units import in_cycles
from cmrrecon.formats.arrays import StoredArray
from cmrrecon.tools.errors import InputError

LARGEST_MATRIX = 16384  # pixels a side


def spokes_of(
    measured: CartesianMask | None, spokes: int, stored: dict[str, StoredArray], path: Path
) -> tuple[SpokeMask, tuple[str, ...]]:
    """The mask of k-space along a trajectory, and a note on the unit if it is not cycles.

    Parameters
    ----------
    measured : the mask of the file, or beside it; None: all spokes were measured
    spokes : how many there are in the k-space
    stored : the arrays of the file, `trajectory` and `matrix` among them

    Raises
    ------
    InputError : `trajectory-shape`, `trajectory-units`, `matrix-missing`
    """
    matrix = _matrix(stored, path)
    positions = _trajectory(stored, path)
    scaled, note = in_cycles(positions, matrix, str(path))
    trajectory = Trajectory(scaled, matrix)
    notes = () if scaled is positions else (note,)

    if measured is None:
        every = torch.ones((1, spokes, 1), dtype=torch.bool)
        return SpokeMask(every, MaskSource.HEADER, trajectory=trajectory), notes
    return SpokeMask(measured.samples, measured.source, trajectory=trajectory), notes


def _trajectory(stored: dict[str, StoredArray], path: Path) -> Tensor:
    """(frame|1, spoke, sample, 2) float32; a scan checks whether it fits its k-space."""
    array = stored["trajectory"]
    if array.is_complex or not 3 <= len(array.shape) <= 4 or array.shape[-1] != 2:
        raise InputError(
            "trajectory-shape",
            f"{path} has a trajectory of shape {array.shown_shape}",
            "It has real numbers and the axes (frame, spoke, sample, 2) or (spoke, sample, 2)",
            "Store it like that",
        )
    return torch.from_numpy(array.load(str(path))).float().reshape(-1, *array.shape[-3:])


def _matrix(stored: dict[str, StoredArray], path: Path) -> tuple[int, int]:
    """The size (y, x) of the images of non-Cartesian k-space."""
    array = stored.get("matrix")
    values = (
        []
        if array is None or array.is_complex or prod(array.shape) != 2
        else array.load(str(path)).reshape(2).tolist()
    )

    if not values or any(not 1 <= n <= LARGEST_MATRIX or n != int(n) for n in values):
        raise InputError(
            "matrix-missing",
            f"{path} has a trajectory but no matrix that fits it",
            f"`matrix` holds two whole numbers, the pixels (y, x) of the images, from 1 to {LARGEST_MATRIX}",
            "Store it: in .npz as an array, in .h5 as an attribute of the file",
        )
    return int(values[0]), int(values[1])
