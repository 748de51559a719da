"""The magnitude or the phase of images as one array, for NIfTI and DICOM."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cmrrecon.formats.export import Part
from cmrrecon.formats.tensors import stack_images, stack_magnitudes
from cmrrecon.tools.errors import UsageError


def stack_part(images: Sequence[Tensor], part: Part) -> NDArray[Any]:
    """Stack the magnitude, the phase in radians, or the images themselves.

    Parameters
    ----------
    images : sequence over slices of Tensor of shape (frame, y, x)
        Images; complex unless the part is the magnitude.
    part : {"magnitude", "phase", "complex"}
        What to return.

    Returns
    -------
    ndarray of shape (frame, slice, y, x), float32 or complex64
        The part.

    Raises
    ------
    UsageError
        If the images are real, so that their phase is unknown (`phase-missing`).
    """
    if part == "magnitude":
        return stack_magnitudes(images)
    check_phase(images)
    stack = stack_images(images)
    return stack if part == "complex" else np.angle(stack)


def check_phase(images: Sequence[Tensor]) -> None:
    """Refuse real images, whose phase is unknown (`phase-missing`)."""
    if not images[0].is_complex():
        raise UsageError(
            "phase-missing",
            "The method returns magnitudes only",
            "The phase can be written only of complex images",
            "Leave out --also, or choose another method",
        )
