"""Cutting images to the field of view, and interpolating them to another matrix."""

import math

import torch
from torch import Tensor

from cmrrecon.data import View
from cmrrecon.data.geometry import Geometry
from cmrrecon.operators.fourier import centred, fftc, ifftc, resized


def shown(images: Tensor, view: View, geometry: Geometry | None) -> Tensor:
    """What a view shows of encoded images.

    Parameters
    ----------
    images : Tensor (..., y, x), complex or real magnitudes
    view, geometry : which part, and on which grid

    Returns
    -------
    Tensor (..., y', x') of the same type, in memory of its own where it is smaller
    """
    encoded = images.shape[-2], images.shape[-1]
    (y, x), size = view.part(geometry, encoded), view.size(geometry, encoded)
    part = images[..., centred(encoded[0], y), centred(encoded[1], x)].contiguous()
    return part if size == (y, x) else interpolated(part, size)


def interpolated(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (..., y, x) on another grid of the same extent, by zero-filling or cutting k-space.

    The pixels n // 2 of both grids coincide, and so does the scale of the values. Magnitudes stay
    real and not negative.
    """
    found = images.to(torch.complex64)
    for axis, wanted in zip((-2, -1), size, strict=True):
        found = _along(found, axis, wanted)
    return found if images.is_complex() else found.real.clamp(min=0)


def _along(images: Tensor, axis: int, wanted: int) -> Tensor:
    """The images with so many pixels along one axis."""
    length = images.shape[axis]
    if length == wanted:
        return images
    return ifftc(resized(fftc(images, axis), axis, wanted), axis) * math.sqrt(wanted / length)
