"""Converts tensors to the arrays that image files store."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cmrrecon.tools.errors import UsageError


def image_array(image: Tensor) -> NDArray[Any]:
    """Convert the images of one slice to an array in CPU memory.

    Parameters
    ----------
    image : Tensor of shape (frame, y, x)
        Complex or real, on any device.

    Returns
    -------
    ndarray of shape (frame, y, x), complex64 or float32
        The images.

    Raises
    ------
    UsageError
        If the tensor does not have three axes (`images-axes`).
    """
    if image.ndim != 3:
        raise UsageError(
            "images-axes",
            f"The images of one slice have shape {tuple(image.shape)}",
            "There must be three axes (frame, y, x)",
            "Pass one such tensor for each slice",
        )
    array = image.detach().cpu().resolve_conj().numpy()
    return array.astype(np.complex64 if image.is_complex() else np.float32, copy=False)


def stack_images(images: Sequence[Tensor]) -> NDArray[Any]:
    """Stack all slices as (frame, slice, y, x), complex64 or float32."""
    return np.stack([image_array(images[index]) for index in range(len(images))], axis=1)


def stack_magnitudes(images: Sequence[Tensor]) -> NDArray[np.float32]:
    """Stack the magnitudes of all slices as (frame, slice, y, x), float32."""
    return np.stack([image_array(images[index].abs()) for index in range(len(images))], axis=1)
