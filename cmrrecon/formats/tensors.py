"""From tensors to the arrays that image files hold."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cmrrecon.tools.errors import UsageError


def image_array(image: Tensor) -> NDArray[Any]:
    """One slice of images (frame, y, x) as complex64 or float32 in memory of the host.

    Raises
    ------
    UsageError : there are not three axes
    """
    if image.ndim != 3:
        raise UsageError(
            "images-axes",
            f"The images of one slice have shape {tuple(image.shape)}",
            "Three axes (frame, y, x) are needed",
            "Give a sequence over slices of such tensors",
        )
    array = image.detach().cpu().resolve_conj().numpy()
    return array.astype(np.complex64 if image.is_complex() else np.float32, copy=False)


def stack_images(images: Sequence[Tensor]) -> NDArray[Any]:
    """All slices together: (frame, slice, y, x) complex64 or float32."""
    return np.stack([image_array(images[index]) for index in range(len(images))], axis=1)


def stack_magnitudes(images: Sequence[Tensor]) -> NDArray[np.float32]:
    """The magnitudes of all slices together: (frame, slice, y, x) float32."""
    return np.stack([image_array(images[index].abs()) for index in range(len(images))], axis=1)
