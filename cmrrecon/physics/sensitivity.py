"""Coil sensitivity maps from the measured centre of k-space (ESPIRiT)."""

import math
from typing import Literal

import torch
from torch import Tensor

from cmrrecon.errors import InputError, UsageError
from cmrrecon.physics.fourier import centred

# More lines make calibration slower, hardly better; the official baselines take 24 of fully sampled data.
MOST_LINES = 32
# With fewer there are hardly any patches to learn from.
FEWEST_LINES = 4
KERNEL = 6
ROWS_AT_ONCE = 16

CalibrationSource = Literal["average", "first"]


def calibration_region(mask: Tensor, most: int = MOST_LINES) -> tuple[slice, slice]:
    """The largest centred block that was measured in every frame, at most `most` lines.

    Parameters
    ----------
    mask : Tensor (frame|1, y, x|1), bool

    Returns
    -------
    (y, x) slices: for lines along the whole readout `x` is the full slice, else the block is square.
    """
    always = mask.all(0)
    ny, nx = always.shape
    lines = bool((always == always[:, :1]).all())
    most = min(most, ny if lines else min(ny, nx))
    size = 0
    while size < most:
        y, x = centred(ny, size + 1), slice(None) if lines else centred(nx, size + 1)
        if not bool(always[y, x].all()):
            break
        size += 1
    return centred(ny, size), slice(None) if lines else centred(nx, size)


def calibration_data(kspace: Tensor, mask: Tensor, source: CalibrationSource = "average") -> Tensor:
    """The calibration block (coil, y, x) of k-space (frame, coil, y, x).

    `average` takes the mean over all frames, which is less noisy; `first` takes the first frame, as the official
    CMRxRecon baselines do.
    """
    y, x = calibration_region(mask)
    block = kspace[..., y, x]
    if source == "first":
        return block[0]
    if source == "average":
        return block.mean(0)
    raise UsageError(f"The calibration source {source!r} is unknown", "It is `average` or `first`", "Choose one of them")


def patch_gram(calibration: Tensor, kernel: tuple[int, int]) -> Tensor:
    """Sum over all patches of patch x patch^H, the normal matrix of ESPIRiT and GRAPPA.

    Parameters
    ----------
    calibration : Tensor (coil, y, x), complex
    kernel : (y, x) size of a patch, at most the size of the calibration data

    Returns
    -------
    Tensor (coil * ky * kx, coil * ky * kx) complex128
    """
    patches = calibration.unfold(1, kernel[0], 1).unfold(2, kernel[1], 1)
    gram = calibration.new_zeros((math.prod(kernel) * calibration.shape[0],) * 2, dtype=torch.complex128)
    for row in patches.unbind(1):
        a = row.permute(1, 0, 2, 3).flatten(1)
        gram += a.T @ a.conj()
    return gram


def signal_space(calibration: Tensor, kernel: tuple[int, int], threshold: float) -> Tensor:
    """Orthonormal columns (coil * ky * kx, n) that span the patches: singular values of at least threshold x the largest."""
    values, vectors = torch.linalg.eigh(patch_gram(calibration, kernel))
    span: Tensor = vectors[:, values >= threshold**2 * values[-1]]
    return span


def espirit(calibration: Tensor, shape: tuple[int, int], *, kernel: int = KERNEL, threshold: float = 0.02, crop: float = 0.8) -> Tensor:
    """Coil sensitivity maps: at each pixel the leading eigenvector of the operator that reproduces every patch of k-space.

    Parameters
    ----------
    calibration : Tensor (coil, cy, cx), complex: fully sampled centre of k-space
    shape : (y, x) of the maps
    kernel : patch size in samples
    threshold : keeps the patch singular values of at least this part of the largest
    crop : maps are zero where the eigenvalue is below (1: the maps explain the pixel completely). Cropping keeps noise
        of the air out of SENSE. The official baselines do not crop; their unused threshold is 0.9 of the square root.

    Returns
    -------
    Tensor (coil, y, x) complex64: unit root-sum-of-squares in the support, zero outside

    Raises
    ------
    InputError : fewer calibration lines than the kernel is high

    Uecker et al., Magn Reson Med 2014;71:990.
    """
    coils, cy, cx = calibration.shape
    if min(cy, cx) < kernel:
        raise too_few_lines(min(cy, cx), kernel)
    if not bool((calibration != 0).any()):
        raise InputError(
            "The centre of k-space holds only zeros",
            "Coil maps need the measured centre of k-space",
            "Check that k-space is centred in the file",
        )
    span = signal_space(calibration, (kernel, kernel), threshold)
    # Sum of the projector over all pairs of patch positions with the same lag (ly, lx).
    projector = (span @ span.mH).reshape(coils, kernel, kernel, coils, kernel, kernel)
    lags = torch.arange(1 - kernel, kernel, device=calibration.device)
    covariance = projector.new_zeros((len(lags), len(lags), coils, coils))
    for py in range(kernel):
        for px in range(kernel):
            y, x = kernel - 1 - py, kernel - 1 - px
            covariance[y : y + kernel, x : x + kernel] += projector[:, py, px].permute(2, 3, 0, 1)
    covariance = (covariance / kernel**2).to(torch.complex64)
    # A shift by one k-space sample is a linear phase in the image: a small DFT along each axis gives the matrix of each pixel.
    phase_y, phase_x = (lag_phases(lags, n) for n in shape)
    along_x = torch.einsum("yxcd,nx->yncd", covariance, phase_x)
    reference = leading_coil(calibration).to(torch.complex64)
    maps = torch.empty((coils, *shape), dtype=torch.complex64, device=calibration.device)
    for start in range(0, shape[0], ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        matrices = torch.einsum("yxcd,ny->nxcd", along_x, phase_y[rows])
        values, vectors = torch.linalg.eigh(matrices)
        best = vectors[..., -1]
        virtual = (best @ reference.conj())[..., None]
        best = best * torch.where(virtual == 0, 1, torch.sgn(virtual).conj())
        maps[:, rows] = (best * (values[..., -1:] >= crop)).permute(2, 0, 1)
    return maps


def lag_phases(lags: Tensor, size: int) -> Tensor:
    """exp(-2 pi i lag r / size) for every pixel r of a centred axis: (size, lag) complex64."""
    r = torch.arange(size, device=lags.device, dtype=torch.float64) - size // 2
    return torch.exp(-2j * math.pi / size * r[:, None] * lags).to(torch.complex64)


def leading_coil(calibration: Tensor) -> Tensor:
    """The virtual coil (coil,) with the most energy; maps get their phase relative to it, so no single coil's null matters."""
    flat = calibration.flatten(1)
    leading: Tensor = torch.linalg.eigh(flat @ flat.mH).eigenvectors[:, -1]
    return leading


def estimate_maps(kspace: Tensor, mask: Tensor, source: CalibrationSource = "average") -> Tensor:
    """Coil maps (coil, y, x) complex64 of k-space (frame, coil, y, x) from its own calibration lines; ones for a single coil.

    With fewer than ten calibration lines the kernel shrinks from 6 to half the lines plus one, so that enough patches
    remain to tell signal from noise: of the kernels 3 to 8 the one with the smallest map error on simulated cine, or close.

    Raises
    ------
    InputError : fewer than `FEWEST_LINES` calibration lines
    """
    _, coils, y, x = kspace.shape
    if coils == 1:
        return torch.ones((1, y, x), dtype=torch.complex64, device=kspace.device)
    calibration = calibration_data(kspace, mask, source)
    lines = min(calibration.shape[1:])
    if lines < FEWEST_LINES:
        raise too_few_lines(lines, FEWEST_LINES)
    return espirit(calibration, (y, x), kernel=min(KERNEL, lines // 2 + 1))


def too_few_lines(lines: int, needed: int) -> InputError:
    """The error for a calibration region that is too small."""
    return InputError(
        f"Only {lines} calibration lines at the centre of k-space were measured in every frame",
        f"At least {needed} adjacent lines are needed to calibrate the coils",
        "Give a scan with more calibration lines, or use the method zero-filled, which needs none",
    )
