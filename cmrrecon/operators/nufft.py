"""Fourier transforms between images and samples at any position, by finufft.

finufft is installed by the optional extra `nufft`. It is used directly rather than through
mri-nufft, because only two of its functions are needed. It runs on the CPU, whatever the device of
the tensors.
"""

import importlib
import math
from typing import Any

import torch
from torch import Tensor

from cmrrecon.tools.errors import UsageError

# Relative error of a NUFFT, and oversampling of its grid. In single precision, a smaller error
# would be lost in the rounding of the positions.
ACCURACY = {torch.complex64: (2e-5, 1.25), torch.complex128: (1e-12, 2.0)}


def forward(images: Tensor, points: Tensor, accuracy: tuple[float, float] | None = None) -> Tensor:
    """Apply the type-2 NUFFT: images (..., y, x) to samples (..., m), scaled as `fft2c`.

    Parameters
    ----------
    images : Tensor of shape (..., y, x), complex
        Images.
    points : Tensor of shape (m, 2), real
        Positions (y, x) in cycles per field of view.
    accuracy : tuple of float or None
        Relative error and grid oversampling; None chooses them by dtype.

    Returns
    -------
    Tensor of shape (..., m), complex
        Samples on the device of the images.

    Raises
    ------
    UsageError
        If finufft is not installed (`package-missing`), or points lie outside k-space
        (`trajectory-units`).

    References
    ----------
    Barnett, Magland, af Klinteberg, SIAM J Sci Comput 2019;41:C479.
    """
    y, x = images.shape[-2:]
    if not len(points):
        return images.new_zeros((*images.shape[:-2], 0))

    angles, options = _angles(points, (y, x), images.dtype), _options(images.dtype, accuracy)
    samples = _finufft().nufft2d2(
        *angles, images.reshape(-1, y, x).cpu().contiguous().numpy(), isign=-1, **options
    )

    samples /= math.sqrt(y * x)
    return torch.from_numpy(samples).to(images.device).reshape(*images.shape[:-2], len(points))


def adjoint(
    samples: Tensor,
    points: Tensor,
    matrix: tuple[int, int],
    accuracy: tuple[float, float] | None = None,
) -> Tensor:
    """Apply the type-1 NUFFT, the adjoint of `forward`: samples (..., m) to images (..., y, x).

    Parameters
    ----------
    samples : Tensor of shape (..., m), complex
        Samples.
    points : Tensor of shape (m, 2), real
        Positions (y, x) in cycles per field of view.
    matrix : tuple of int
        Size (y, x) of the images.
    accuracy : tuple of float or None
        As for `forward`.

    Returns
    -------
    Tensor of shape (..., y, x), complex
        Images on the device of the samples; errors are those of `forward`.
    """
    if not len(points):
        return samples.new_zeros((*samples.shape[:-1], *matrix))

    angles, options = _angles(points, matrix, samples.dtype), _options(samples.dtype, accuracy)
    images = _finufft().nufft2d1(
        *angles,
        samples.reshape(-1, len(points)).cpu().contiguous().numpy(),
        matrix,
        isign=1,
        **options,
    )

    images /= math.sqrt(math.prod(matrix))
    return torch.from_numpy(images).to(samples.device).reshape(*samples.shape[:-1], *matrix)


def _angles(points: Tensor, matrix: tuple[int, int], dtype: torch.dtype) -> list[Any]:
    """Convert points (m, 2) to the phase increments (y, x) per pixel that finufft expects."""
    angles = points.cpu().double() * (2 * math.pi / torch.tensor(matrix, dtype=torch.float64))
    # finufft would write outside its arrays for points far away.
    if not bool((angles.abs() <= 2 * math.pi).all()):
        raise UsageError(
            "trajectory-units",
            "The trajectory extends beyond k-space, or contains NaN",
            f"Positions must be within half of the matrix {matrix[0]} x {matrix[1]} (y, x)",
            "Give positions in cycles per field of view",
        )

    return [column.to(dtype.to_real()).contiguous().numpy() for column in angles.unbind(-1)]


def _options(dtype: torch.dtype, accuracy: tuple[float, float] | None) -> dict[str, Any]:
    error, oversampling = accuracy or ACCURACY[dtype]
    return {"eps": error, "upsampfac": oversampling, "nthreads": torch.get_num_threads()}


def _finufft() -> Any:
    try:
        return importlib.import_module("finufft")
    except ImportError as error:
        raise UsageError(
            "package-missing",
            "Non-Cartesian k-space needs the extra nufft",
            "It installs the package finufft, which is missing",
            "Use pip install cmrrecon[nufft]",
        ) from error
