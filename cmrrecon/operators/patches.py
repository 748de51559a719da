"""Patches of calibration data, and the operator of ESPIRiT that reproduces every patch of k-space."""

import math

import torch
from torch import Tensor


def patch_gram(calibration: Tensor, kernel: tuple[int, int]) -> Tensor:
    """Sum over all patches of patch x patch^H, the normal matrix of ESPIRiT and GRAPPA.

    The products of two lines are shared by all patches that hold both: for n lines that is n x ky products of lines instead of
    n x ky^2.

    Parameters
    ----------
    calibration : Tensor (coil, y, x), complex
    kernel : (y, x) size of a patch, at most the size of the calibration data

    Returns
    -------
    Tensor (coil * ky * kx, coil * ky * kx) complex128
    """
    coils, ny, _ = calibration.shape
    ky, kx = kernel

    # (line, coil and place in the patch, position of the patch)
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
    """Orthonormal columns (coil * ky * kx, n) that span the patches: singular values of at least threshold x the largest."""
    values, vectors = torch.linalg.eigh(patch_gram(calibration, kernel))
    span: Tensor = vectors[:, values >= threshold**2 * values[-1]]
    return span


def lag_covariance(calibration: Tensor, kernel: int, threshold: float) -> Tensor:
    """Coefficients (2 kernel - 1, 2 kernel - 1, coil, coil) complex128 of M(r) = sum over lags of C[lag] exp(-2 pi i lag r / size).

    Sum of the projector on the signal space over all pairs of patch positions with the same lag (y, x), over the size of a patch.
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
    """exp(-2 pi i lag r / size) for every pixel r of a centred axis and the lags from 1 - extent to extent - 1: (size, lag) complex128."""
    lags = torch.arange(1 - extent, extent, device=device, dtype=torch.float64)
    r = torch.arange(size, device=device, dtype=torch.float64) - size // 2
    return torch.exp(-2j * math.pi / size * r[:, None] * lags)


def eigenvalue_bound(covariance: Tensor, shape: tuple[int, int]) -> Tensor:
    """An upper bound (y, x) float64 of the eigenvalues at each pixel: the fourth root of trace(M^4), close to the largest one.

    The trace is a trigonometric polynomial of four times the degree of M, so it is exactly what its values on a small grid say.
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
