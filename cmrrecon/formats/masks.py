"""Converts stored arrays to sampling masks."""

import re

import numpy as np
import torch
from numpy.typing import NDArray

from cmrrecon.data import CartesianMask, MaskSource, SamplingMask
from cmrrecon.formats.arrays import StoredArray
from cmrrecon.tools.errors import InputError

FLOW_4D = re.compile(r"usmask\w*")
FLOW_4D_AXES = 6


def mask_of(array: StoredArray, label: object) -> CartesianMask:
    """Return the mask in an array of zeros and ones: (y,), (y, x), (frame, y, x), or 4-D flow.

    Masks of 4-D flow are recognised by name. They have the axes (velocity|1, time, 1, SPE, PE, 1),
    of which leading ones may be missing, and become (velocity * time, SPE, PE).

    Parameters
    ----------
    array : StoredArray
        The stored mask.
    label : object
        Name of the mask in messages, such as its path.

    Returns
    -------
    CartesianMask
        The mask, with the source `FILE`.

    Raises
    ------
    InputError
        If the array does not have the shape of a mask (`mask-shape`) or has other values
        (`mask-values`).
    """
    shape = _flow_shape(array.shape) if FLOW_4D.fullmatch(array.name) else array.shape
    if len(shape) not in (1, 2, 3) or array.is_complex:
        numbers = "complex" if array.is_complex else "real"
        raise InputError(
            "mask-shape",
            f"{label} contains {numbers} numbers of shape {array.shown_shape}",
            "A mask must be real, with the axes (y), (y, x) or (frame, y, x)",
            "Use the mask file",
        )

    mask = zeros_and_ones(array, label)
    lines = (*shape, 1) if len(shape) == 1 else shape
    frames = mask.reshape((1, *lines)[-3:])
    return SamplingMask.of(torch.from_numpy(frames), MaskSource.FILE)


def zeros_and_ones(
    array: StoredArray, label: object, remedy: str = "Use the mask file"
) -> NDArray[np.bool]:
    """Convert the values of a stored mask to booleans.

    Parameters
    ----------
    array : StoredArray
        Real numbers.
    label : object
        Name of the mask in messages, such as its path.
    remedy : str
        What to do if the array is not a mask.

    Returns
    -------
    ndarray of bool
        The mask.

    Raises
    ------
    InputError
        If there are values other than 0 and 1, or no 1 at all (`mask-values`).
    """
    values = array.load(str(label))
    mask: NDArray[np.bool] = values != 0
    if not np.array_equal(mask, values) or not mask.any():
        raise InputError(
            "mask-values",
            f"{label} is not a mask",
            "A mask must consist of zeros and ones, with at least one 1",
            remedy,
        )
    return mask


def _flow_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Convert the shape of a 4-D flow mask to (frame, SPE, PE); return other shapes unchanged."""
    full = (1,) * (FLOW_4D_AXES - len(shape)) + shape
    fits = len(full) == FLOW_4D_AXES and full[2] == full[5] == 1
    return (full[0] * full[1], full[3], full[4]) if fits else shape
