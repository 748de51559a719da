"""Cut images to the field of view, and interpolate them to another matrix."""

import math

import torch
from torch import Tensor

from cmrrecon.data import View
from cmrrecon.data.geometry import Geometry
from cmrrecon.operators.fourier import centred, fftc, ifftc, resized


def shown(images: Tensor, view: View, geometry: Geometry | None) -> Tensor:
    """Cut and interpolate encoded images to the part and grid of a view.

    Parameters
    ----------
    images : Tensor of shape (..., y, x), complex or real
        Complex images or magnitudes on the encoded grid.
    view : View
        Which part to show, and on which grid.
    geometry : Geometry or None
        Geometry of the scan, if known.

    Returns
    -------
    Tensor of shape (..., y', x'), same dtype
        The images to show.
    """
    encoded = images.shape[-2], images.shape[-1]
    (y, x), size = view.part(geometry, encoded), view.size(geometry, encoded)
    part = images[..., centred(encoded[0], y), centred(encoded[1], x)].contiguous()
    return part if size == (y, x) else interpolated(part, size)


def interpolated(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolate images (..., y, x) via k-space to another grid of the same extent.

    K-space is zero-filled or cut. The pixels n // 2 of both grids coincide, and values keep their
    scale. Magnitude images stay real and non-negative.
    """
    found = images.to(torch.complex64)
    for axis, wanted in zip((-2, -1), size, strict=True):
        found = _along(found, axis, wanted)
    return found if images.is_complex() else found.real.clamp(min=0)


def _along(images: Tensor, axis: int, wanted: int) -> Tensor:
    """Resize images to `wanted` pixels along one axis."""
    length = images.shape[axis]
    if length == wanted:
        return images
    return ifftc(resized(fftc(images, axis), axis, wanted), axis) * math.sqrt(wanted / length)
