"""Reads masks, images and coil maps."""

from pathlib import Path

import torch
from torch import Tensor

from cmrrecon.data import CartesianMask
from cmrrecon.formats.kinds import contents
from cmrrecon.formats.masks import mask_of
from cmrrecon.formats.variables import choose
from cmrrecon.tools.errors import InputError
from cmrrecon.tools.files import as_path


def read_mask(path: str | Path) -> CartesianMask:
    """A sampling mask; axes along which it does not change are 1 long.

    Raises
    ------
    InputError : the file cannot be read, or holds anything but zeros and ones
    """
    path = as_path(path, "file")
    array, _ = choose(contents(path, "mask")[0], "mask", path)
    return mask_of(array, path)


def read_images(path: str | Path) -> Tensor:
    """Images (frame, slice, y, x) complex64 or float32: ours, `img4ranking` of a submission, or `*_truth.npz`.

    Fewer axes: a MATLAB array lacks the last ones, (x, y, slice) or (x, y); a NumPy array of three axes is one
    slice, (frame, y, x).

    Raises
    ------
    InputError : the file cannot be read as images
    """
    path = as_path(path, "file")
    array, _ = choose(contents(path, "image")[0], "image", path)
    if not 2 <= len(array.shape) <= 4:
        raise InputError(
            "images-axes",
            f"{path} has images of shape {array.shown_shape}",
            "Two to four axes are needed",
            "Give a file of images (frame, slice, y, x)",
        )

    values = torch.from_numpy(array.load(str(path)))
    values = values if values.is_complex() else values.float()
    if values.ndim == 3 and path.suffix.lower() in (".npy", ".npz"):
        return values[:, None]
    return values.reshape((1,) * (4 - values.ndim) + tuple(values.shape))


def read_maps(path: str | Path) -> Tensor:
    """Coil maps (slice, coil, y, x) complex64 as stored: `.cfl`, or a variable `maps`, `coilmap` or
    `sensitivities`.

    An array of three axes is one slice, (coil, y, x). `coilmap` is that of 4-D flow, (coil, SPE,
    PE, FE), with slices along FE.

    Raises
    ------
    InputError : the file cannot be read as coil maps
    """
    path = as_path(path, "file")
    array, _ = choose(contents(path, "maps")[0], "maps", path)
    if not 3 <= len(array.shape) <= 4 or not array.is_complex:
        numbers = "complex" if array.is_complex else "real"
        raise InputError(
            "maps-axes",
            f"{path} has {numbers} numbers of shape {array.shown_shape} as coil maps",
            "Coil maps are complex and have the axes (slice, coil, y, x) or (coil, y, x)",
            "Store them like that",
        )

    values = torch.from_numpy(array.load(str(path)))
    if not bool(values.isfinite().all()) or not bool(values.any()):
        raise InputError(
            "maps-values",
            f"{path} holds NaN, infinity, or nothing but zeros as coil maps",
            "Coil maps are finite, and not zero everywhere",
            "Make them again, or leave them out: maps are then estimated",
        )

    if array.name == "coilmap":
        return values.reshape((-1, *values.shape)[-4:]).movedim(-1, 0).contiguous()
    return values.reshape((-1, *values.shape[-3:]))
