"""Sampling masks from stored arrays."""

import re

import numpy as np
import torch
from numpy.typing import NDArray

from cmrrecon.data import CartesianMask, MaskSource, SamplingMask
from cmrrecon.formats.arrays import StoredArray
from cmrrecon.tools.errors import InputError

FLOW_4D = re.compile(r"usmask\w*")
FLOW_4D_AXES = 6


def mask_of(array: StoredArray, where: object) -> CartesianMask:
    """The mask in an array of zeros and ones: (y,), (y, x), (frame, y, x), or that of 4-D flow.

    Masks of 4-D flow, by their name, are (velocity|1, time, 1, SPE, PE, 1), where axes at the front
    may be missing. They become (velocity times time, SPE, PE).

    Raises
    ------
    InputError : `mask-shape`, `mask-values`
    """
    shape = _flow_shape(array.shape) if FLOW_4D.fullmatch(array.name) else array.shape
    if len(shape) not in (1, 2, 3) or array.is_complex:
        numbers = "complex" if array.is_complex else "real"
        raise InputError(
            "mask-shape",
            f"{where} holds {numbers} numbers of shape {array.shown_shape}",
            "A mask has real numbers and the axes (y), (y, x) or (frame, y, x)",
            "Give the mask file",
        )

    mask = zeros_and_ones(array, where)
    lines = (*shape, 1) if len(shape) == 1 else shape
    frames = mask.reshape((1, *lines)[-3:])
    return SamplingMask.of(torch.from_numpy(frames), MaskSource.FILE)


def zeros_and_ones(
    array: StoredArray, where: object, remedy: str = "Give the mask file"
) -> NDArray[np.bool]:
    """The values of an array of real numbers that is a mask.

    Raises
    ------
    InputError : `mask-values`
    """
    values = array.load(str(where))
    mask: NDArray[np.bool] = values != 0
    if not np.array_equal(mask, values) or not mask.any():
        raise InputError(
            "mask-values",
            f"{where} is not a mask",
            "A mask holds zeros and at least one 1, nothing else",
            remedy,
        )
    return mask


def _flow_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(frame, SPE, PE) of a mask of 4-D flow; the shape itself if it is of another form."""
    full = (1,) * (FLOW_4D_AXES - len(shape)) + shape
    fits = len(full) == FLOW_4D_AXES and full[2] == full[5] == 1
    return (full[0] * full[1], full[3], full[4]) if fits else shape
