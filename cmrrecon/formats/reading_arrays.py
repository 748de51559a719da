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
    """Read a sampling mask. Axes along which it is constant are reduced to length 1.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    CartesianMask
        The mask.

    Raises
    ------
    InputError
        If the file cannot be read, or does not consist of zeros and ones (`mask-shape`,
        `mask-values`).
    """
    path = as_path(path, "file")
    array, _ = choose(contents(path, "mask")[0], "mask", path)
    return mask_of(array, path)


def read_images(path: str | Path) -> Tensor:
    """Read images written by cmrrecon, `img4ranking` of a submission, or those in `*_truth.npz`.

    A MATLAB array with fewer than four axes lacks the last ones: it is (x, y, slice) or (x, y). A
    NumPy array with three axes is one slice, (frame, y, x).

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    Tensor of shape (frame, slice, y, x), complex64 or float32
        The images.

    Raises
    ------
    InputError
        If the file cannot be read as images (`images-axes` and others).
    """
    path = as_path(path, "file")
    array, _ = choose(contents(path, "image")[0], "image", path)
    if not 2 <= len(array.shape) <= 4:
        raise InputError(
            "images-axes",
            f"{path} contains images of shape {array.shown_shape}",
            "Images must have two to four axes",
            "Use a file with images (frame, slice, y, x)",
        )

    values = torch.from_numpy(array.load(str(path)))
    values = values if values.is_complex() else values.float()
    if values.ndim == 3 and path.suffix.lower() in (".npy", ".npz"):
        return values[:, None]
    return values.reshape((1,) * (4 - values.ndim) + tuple(values.shape))


def read_maps(path: str | Path) -> Tensor:
    """Read coil maps from `.cfl`, or from a variable `maps`, `coilmap` or `sensitivities`.

    An array with three axes is one slice, (coil, y, x). `coilmap` is the variable of 4-D flow,
    (coil, SPE, PE, FE), with slices along FE.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    Tensor of shape (slice, coil, y, x), complex64
        The coil maps.

    Raises
    ------
    InputError
        If the file cannot be read as coil maps (`maps-axes`, `maps-values` and others).
    """
    path = as_path(path, "file")
    array, _ = choose(contents(path, "maps")[0], "maps", path)
    if not 3 <= len(array.shape) <= 4 or not array.is_complex:
        numbers = "complex" if array.is_complex else "real"
        raise InputError(
            "maps-axes",
            f"The coil maps in {path} are {numbers} numbers of shape {array.shown_shape}",
            "Coil maps must be complex, with the axes (slice, coil, y, x) or (coil, y, x)",
            "Store them in this form",
        )

    values = torch.from_numpy(array.load(str(path)))
    if not bool(values.isfinite().all()) or not bool(values.any()):
        raise InputError(
            "maps-values",
            f"The coil maps in {path} contain NaN or infinity, or are zero everywhere",
            "Coil maps must be finite and not zero everywhere",
            "Compute them again, or omit them so that maps are estimated",
        )

    if array.name == "coilmap":
        return values.reshape((-1, *values.shape)[-4:]).movedim(-1, 0).contiguous()
    return values.reshape((-1, *values.shape[-3:]))
