"""Reads trajectories from files of named arrays: `trajectory` and `matrix`."""

from math import prod
from pathlib import Path

import torch
from torch import Tensor

from cmrrecon.data import CartesianMask, MaskSource, SpokeMask, Trajectory
from cmrrecon.data.units import in_cycles
from cmrrecon.formats.arrays import StoredArray
from cmrrecon.tools.errors import InputError

LARGEST_MATRIX = 16384  # pixels per side


def spokes_of(
    measured: CartesianMask | None, spokes: int, stored: dict[str, StoredArray], path: Path
) -> tuple[SpokeMask, tuple[str, ...]]:
    """Return the mask of non-Cartesian k-space, and a note on the unit if it is not cycles.

    Parameters
    ----------
    measured : CartesianMask or None
        The mask in the file or in a separate file; None if all spokes were measured.
    spokes : int
        Number of spokes in the k-space.
    stored : dict of str to StoredArray
        The arrays of the file, with `trajectory` and `matrix`.
    path : Path
        The file, for messages.

    Returns
    -------
    mask : SpokeMask
        The measured spokes, with their trajectory.
    notes : tuple of str
        How the unit was recognised.

    Raises
    ------
    InputError
        If an array is missing or has the wrong shape (`trajectory-shape`, `matrix-missing`), or
        the unit is unknown (`trajectory-units`).
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
    """Read the trajectory (frame|1, spoke, sample, 2) float32; the scan checks that it fits."""
    array = stored["trajectory"]
    if array.is_complex or not 3 <= len(array.shape) <= 4 or array.shape[-1] != 2:
        raise InputError(
            "trajectory-shape",
            f"{path} has a trajectory of shape {array.shown_shape}",
            "It must be real, with the axes (frame, spoke, sample, 2) or (spoke, sample, 2)",
            "Store it in this form",
        )
    return torch.from_numpy(array.load(str(path))).float().reshape(-1, *array.shape[-3:])


def _matrix(stored: dict[str, StoredArray], path: Path) -> tuple[int, int]:
    """Read the size (y, x) of the images."""
    array = stored.get("matrix")
    values = (
        []
        if array is None or array.is_complex or prod(array.shape) != 2
        else array.load(str(path)).reshape(2).tolist()
    )

    if not values or any(not 1 <= n <= LARGEST_MATRIX or n != int(n) for n in values):
        raise InputError(
            "matrix-missing",
            f"{path} has a trajectory but no valid matrix",
            "`matrix` must be two whole numbers, the pixels (y, x) of the images, from 1 to "
            f"{LARGEST_MATRIX}",
            "Store it as an array (.npz) or as an attribute of the file (.h5)",
        )
    return int(values[0]), int(values[1])
