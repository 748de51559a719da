"""Centred orthonormal Fourier transforms, like `fft2c` and `ifft2c` in CMRxRecon's MATLAB code."""

import torch
from torch import Tensor


def centred(length: int, part: int) -> slice:
    """Return the centred block of `part` positions among `length`.

    The block starts at `length // 2 - part // 2`, as in the official programs.
    """
    start = length // 2 - part // 2
    return slice(start, start + part)


def resized(values: Tensor, axis: int, length: int) -> Tensor:
    """Cut values along an axis to a new length, or pad them with zeros.

    The middle, at `n // 2`, stays in the middle.
    """
    n = values.shape[axis]
    if n == length:
        return values

    common = min(n, length)
    inside = values.narrow(axis, centred(n, common).start, common)
    if length < n:
        return inside

    shape = list(values.shape)
    shape[axis] = length
    padded = values.new_zeros(shape)
    padded.narrow(axis, centred(length, common).start, common).copy_(inside)
    return padded


def fftc(x: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Apply the centred orthonormal FFT along `dim`: fftshift(fft(ifftshift(x))) / sqrt(n).

    The transform is unitary, and correct for odd sizes too.

    Parameters
    ----------
    x : Tensor of any shape, complex
        Values to transform.
    dim : int or tuple of int
        Axis or axes to transform.

    Returns
    -------
    Tensor of the shape of `x`, complex
        The transform.
    """
    dims = (dim,) if isinstance(dim, int) else dim
    k: Tensor = torch.fft.fftshift(
        torch.fft.fftn(torch.fft.ifftshift(x, dim=dims), dim=dims, norm="ortho"), dim=dims
    )
    return k


def ifftc(k: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Apply the inverse and adjoint of `fftc`: fftshift(ifft(ifftshift(k))) * sqrt(n)."""
    dims = (dim,) if isinstance(dim, int) else dim
    x: Tensor = torch.fft.fftshift(
        torch.fft.ifftn(torch.fft.ifftshift(k, dim=dims), dim=dims, norm="ortho"), dim=dims
    )
    return x


def fft2c(x: Tensor) -> Tensor:
    """Transform images (..., y, x) to k-space (..., y, x)."""
    return fftc(x, (-2, -1))


def ifft2c(k: Tensor) -> Tensor:
    """Transform k-space (..., y, x) to images (..., y, x)."""
    return ifftc(k, (-2, -1))
