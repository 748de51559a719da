"""Patches of calibration data, and the ESPIRiT operator that reproduces them."""

import math

import torch
from torch import Tensor


def patch_gram(calibration: Tensor, kernel: tuple[int, int]) -> Tensor:
    """Sum patch x patch^H over all patches: the normal matrix of ESPIRiT and GRAPPA.

    All patches with the same two lines share the products of these lines. n lines therefore need
    n x ky products of lines instead of n x ky^2.

    Parameters
    ----------
    calibration : Tensor of shape (coil, y, x), complex
        Calibration data.
    kernel : tuple of int
        Size (y, x) of a patch, no larger than the calibration data.

    Returns
    -------
    Tensor of shape (coil * ky * kx, coil * ky * kx), complex128
        The normal matrix.
    """
    coils, ny, _ = calibration.shape
    ky, kx = kernel

    # Axes: line, coil and column of the patch, position of the patch.
    lines = calibration.unfold(2, kx, 1).permute(1, 0, 3, 2).flatten(1, 2)

    gram = calibration.new_zeros((ky, ky, coils * kx, coils * kx), dtype=torch.complex128)
    for lag in range(ky):
        products = lines[: ny - lag] @ lines[lag:].mH
        for row in range(ky - lag):
            block = products[row : row + ny - ky + 1].sum(0, dtype=torch.complex128)
            gram[row, row + lag], gram[row + lag, row] = block, block.mH

    return (
        gram.reshape(ky, ky, coils, kx, coils, kx)
        .permute(2, 0, 3, 4, 1, 5)
        .reshape(coils * ky * kx, -1)
    )


def signal_space(calibration: Tensor, kernel: tuple[int, int], threshold: float) -> Tensor:
    """Find orthonormal columns (coil * ky * kx, n) that span the patches.

    Singular values below `threshold` times the largest count as noise.
    """
    values, vectors = torch.linalg.eigh(patch_gram(calibration, kernel))
    span: Tensor = vectors[:, values >= threshold**2 * values[-1]]
    return span


def lag_covariance(calibration: Tensor, kernel: int, threshold: float) -> Tensor:
    """Compute the coefficients C[lag] of the ESPIRiT operator M(r), a trigonometric polynomial.

    M(r) is the sum over lags of C[lag] exp(-2 pi i lag r / size). The coefficients are the
    projector on the signal space, summed over all pairs of patch positions with the same lag (y,
    x), divided by the size of a patch.

    Returns
    -------
    Tensor of shape (2 kernel - 1, 2 kernel - 1, coil, coil), complex128
        The coefficients.
    """
    coils = len(calibration)
    span = signal_space(calibration, (kernel, kernel), threshold)
    projector = (span @ span.mH).reshape(coils, kernel, kernel, coils, kernel, kernel)

    covariance = projector.new_zeros((2 * kernel - 1, 2 * kernel - 1, coils, coils))
    for py in range(kernel):
        for px in range(kernel):
            y, x = kernel - 1 - py, kernel - 1 - px
            covariance[y : y + kernel, x : x + kernel] += projector[:, py, px].permute(2, 3, 0, 1)

    return covariance / kernel**2


def lag_phases(extent: int, size: int, device: torch.device) -> Tensor:
    """Compute exp(-2 pi i lag r / size) at every pixel r of a centred axis: (size, lag) complex128.

    The lags run from 1 - extent to extent - 1.
    """
    lags = torch.arange(1 - extent, extent, device=device, dtype=torch.float64)
    r = torch.arange(size, device=device, dtype=torch.float64) - size // 2
    return torch.exp(-2j * math.pi / size * r[:, None] * lags)


def eigenvalue_bound(covariance: Tensor, shape: tuple[int, int]) -> Tensor:
    """Bound the eigenvalues at each pixel (y, x) by the fourth root of trace(M^4), in float64.

    The bound is close to the largest eigenvalue. The trace is a trigonometric polynomial with four
    times the degree of M, so a small grid of values determines it exactly.
    """
    extent = (len(covariance) + 1) // 2
    wide = 4 * (extent - 1) + 1
    points = 2 * wide - 1

    phases = lag_phases(extent, points, covariance.device)
    along_x = torch.einsum("xb,abcd->axcd", phases, covariance)
    matrices = torch.einsum("ya,axcd->yxcd", phases, along_x).to(torch.complex64)

    # The squared Frobenius norm of M^2 is the trace of M^4.
    trace = torch.view_as_real(matrices @ matrices).square().sum((-3, -2, -1)).to(torch.complex128)

    phases = lag_phases(wide, points, covariance.device)
    coefficients = phases.mH @ trace @ phases.conj() / points**2
    phase_y, phase_x = (lag_phases(wide, n, covariance.device) for n in shape)
    return (phase_y @ coefficients @ phase_x.T).real.clamp(min=0) ** 0.25
