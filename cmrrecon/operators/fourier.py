"""Centred orthonormal Fourier transforms, the convention of every CMRxRecon year (MATLAB's ifft2c and fft2c)."""

import torch
from torch import Tensor


def centred(length: int, part: int) -> slice:
    """The centred block of `part` positions among `length`: it starts at length // 2 - part // 2, as the official programs put it."""
    start = length // 2 - part // 2
    return slice(start, start + part)


def resized(values: Tensor, axis: int, length: int) -> Tensor:
    """Values of another length along an axis: cut, or padded with zeros, about its middle n //
    2."""
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
    """Centred orthonormal FFT along `dim`: fftshift(fft(ifftshift(x))) / sqrt(n). Unitary; exact for odd sizes too.

    Parameters
    ----------
    x : Tensor, complex, any shape
    dim : the transformed axis or axes
    """
    dims = (dim,) if isinstance(dim, int) else dim
    k: Tensor = torch.fft.fftshift(
        torch.fft.fftn(torch.fft.ifftshift(x, dim=dims), dim=dims, norm="ortho"), dim=dims
    )
    return k


def ifftc(k: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Inverse and adjoint of `fftc`: fftshift(ifft(ifftshift(k))) * sqrt(n)."""
    dims = (dim,) if isinstance(dim, int) else dim
    x: Tensor = torch.fft.fftshift(
        torch.fft.ifftn(torch.fft.ifftshift(k, dim=dims), dim=dims, norm="ortho"), dim=dims
    )
    return x


def fft2c(x: Tensor) -> Tensor:
    """Image (..., y, x) to k-space (..., y, x)."""
    return fftc(x, (-2, -1))


def ifft2c(k: Tensor) -> Tensor:
    """K-space (..., y, x) to image (..., y, x)."""
    return ifftc(k, (-2, -1))
