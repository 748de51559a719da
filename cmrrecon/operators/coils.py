"""Coil arrays: combination, compression, noise."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from cmrrecon.data import CartesianMask
from cmrrecon.operators.fourier import ifft2c, ifftc
from cmrrecon.tools.errors import InputError, UsageError

# Parts of the readout (at each end: mostly noise) and of the lines (around the centre: mostly signal).
READOUT_EDGE = 1 / 16
CENTRE_LINES = 1 / 2
# Fewer virtual coils than these, or than hold this part of the energy, cost more in SENSE than they save: on a measured 16-coil head
# with every second line, 8 virtual coils (96 % of the energy) lose 16 dB, 14 (99.9 %) less than 1 dB.
FEWEST_VIRTUAL = 8
ENERGY_KEPT = 0.999
# The part of a coil's noise, as a standard deviation, that no other coil holds: with less the coils are one and the same.
LEAST_INDEPENDENT = 1e-3
# What maps may lose when every column has virtual coils of its own: SENSE images then change by less than 0.3 %, PSNR by less than 0.01 dB.
COLUMN_ENERGY_LOST = 1e-4


def rss(images: Tensor, dim: int = -3) -> Tensor:
    """Root-sum-of-squares over the coil axis `dim`: complex images to a real magnitude."""
    # torch.linalg.vector_norm of complex numbers takes 28 times as long.
    combined: Tensor = (images.real.square() + images.imag.square()).sum(dim).sqrt()
    return combined


def rss_images(kspace: Tensor) -> Tensor:
    """Reference magnitudes (frame, y, x) of k-space (frame, coil, y, x): RSS of its inverse Fourier transform, frame by frame."""
    return torch.stack([rss(ifft2c(frame)) for frame in kspace])


def virtual_coils(samples: Iterable[Tensor], count: int | None = None) -> Tensor:
    """The combinations of coils that hold the most energy, by SVD over the coil axis (Buehrer et al., Magn Reson Med 2007;57:1131).

    Parameters
    ----------
    samples : Tensors (coil, ...), complex: k-space to judge by, of a normal scale
    count : number of virtual coils; None for as many as hold `ENERGY_KEPT` of the energy, but at least `FEWEST_VIRTUAL` or all

    Returns
    -------
    Tensor (virtual coil, coil) with orthonormal rows, most energy first; the largest number of a row is positive

    Raises
    ------
    UsageError : more virtual coils than coils, or fewer than one
    """
    parts = [(part.dtype, part @ part.mH) for part in (sample.flatten(1) for sample in samples)]
    gram = sum((product.to(torch.complex128) for _, product in parts), torch.zeros(()))
    energies, vectors = torch.linalg.eigh(gram)
    if count is None:
        kept = energies.flip(0).cumsum(0)
        count = min(len(gram), max(FEWEST_VIRTUAL, 1 + int((kept < ENERGY_KEPT * kept[-1]).sum())))
    if not 1 <= count <= len(gram):
        raise UsageError(
            "option-value",
            f"{count} virtual coils were asked for",
            f"The k-space has {len(gram)} coils",
            f"Ask for 1 to {len(gram)}",
        )
    matrix: Tensor = vectors.flip(1)[:, :count].mH
    largest = matrix.gather(1, matrix.abs().argmax(1, keepdim=True))
    return (matrix * largest.conj() / largest.abs()).to(parts[0][0])


def column_virtual_coils(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Maps of virtual coils that are other combinations of the coils in each column of x, for line masks, which never mix columns.

    Along one column coils are more alike than over the image, so fewer virtual ones hold all but `COLUMN_ENERGY_LOST` of the energy
    of the maps. Geometric-decomposition coil compression: Zhang et al., Magn Reson Med 2013;69:571.

    Parameters
    ----------
    maps : Tensor (coil, y, x), complex

    Returns
    -------
    Tensor (virtual coil, y, x), and Tensor (coil, y, x): what combines the coils as those combine the virtual ones
    """
    columns = maps.permute(2, 0, 1)
    energies, vectors = torch.linalg.eigh(columns @ columns.mH)
    lost = energies.clamp(min=0).sum(0).double().cumsum(0)
    dropped = int((lost <= COLUMN_ENERGY_LOST * lost[-1]).sum()) if float(lost[-1]) > 0 else 0
    combinations = vectors[:, :, dropped:]
    virtual = combinations.mH @ columns
    return virtual.permute(1, 2, 0), (combinations @ virtual).permute(1, 2, 0)


def compress(kspace: Tensor, coils: int) -> tuple[Tensor, Tensor]:
    """K-space (frame, coil, y, x) with `coils` virtual coils, and their matrix (virtual coil, coil); errors as `virtual_coils`."""
    matrix = virtual_coils(kspace, coils)
    return apply_matrix(matrix, kspace), matrix


def apply_matrix(matrix: Tensor, kspace: Tensor) -> Tensor:
    """Mix the coils of k-space (frame, coil, y, x) with a matrix (new coil, coil), frame by frame."""
    out = kspace.new_empty((kspace.shape[0], matrix.shape[0], *kspace.shape[2:]))
    for t, frame in enumerate(kspace):
        out[t] = torch.einsum("vc,cyx->vyx", matrix, frame)
    return out


def noise_samples(kspace: Tensor, mask: CartesianMask) -> Tensor:
    """Samples (coil, n) with the noise of one k-space sample, measured once, and hardly any signal.

    Of lines, whole or with an asymmetric echo: the outer ends of the readout's field of view (the body seldom reaches them,
    least of all with readout oversampling) on lines away from the centre of k-space. Of single samples: measured ones at the
    outer ends of k-space, which hold more signal.

    Raises
    ------
    InputError : `noise-not-measurable`, no line away from the centre, or no sample at the ends of the readout
    """
    frames, _, ny, nx = kspace.shape
    if mask.averages is not None:
        # The mean of n has a variance of sigma^2 / n.
        kspace = kspace * mask.averages.to(kspace.real.dtype).sqrt()[:, None]
    centre = round(CENTRE_LINES * ny)
    away = torch.ones((1, ny, 1), dtype=torch.bool, device=kspace.device)
    away[:, (ny - centre) // 2 : (ny + centre) // 2] = False
    chosen = (mask.samples & away).expand(frames, ny, -1)
    if not bool(chosen.any()):
        raise _noise_not_measurable("line away from the centre of k-space")
    edge = max(1, round(READOUT_EDGE * nx))
    ends = torch.arange(-edge, edge, device=kspace.device) % nx
    if mask.echo is not None:
        return _beside_the_body(kspace, chosen.any(-1), ends)
    if not bool(chosen[..., ends].any()):
        raise _noise_not_measurable("sample at the ends of the readout")
    return kspace[..., ends].transpose(0, 1)[:, chosen[..., ends]]


def _beside_the_body(kspace: Tensor, lines: Tensor, ends: Tensor) -> Tensor:
    """The chosen lines (frame, y) at the ends of the readout's field of view, (coil, n)."""
    chosen = kspace.transpose(1, 2)[lines].transpose(0, 1)
    # Zero-filled parts of the readout bring no noise: make up for them.
    filled = (chosen != 0).float().mean((1, 2), keepdim=True).clamp(min=1 / chosen[0].numel())
    return (ifftc(chosen, -1)[..., ends] / filled.sqrt()).flatten(1)


def _noise_not_measurable(missing: str) -> InputError:
    return InputError(
        "noise-not-measurable",
        f"No {missing} was measured",
        "The noise is estimated from samples far from the centre of k-space",
        "Give a scan that also measured outer ones, or a noise covariance of your own",
    )


def noise_level(kspace: Tensor, mask: CartesianMask) -> Tensor:
    """Standard deviation of the complex noise of each coil, of what is measured once: sigma with E|n|^2 = sigma^2.

    From the median magnitude of `noise_samples` (median = sigma sqrt(ln 2) for complex Gaussian noise), so the few
    samples that still hold signal do not matter. Within 4 % on line-sampled simulated cine.

    Parameters
    ----------
    kspace : Tensor (frame, coil, y, x), complex
    mask : CartesianMask

    Returns
    -------
    Tensor (coil,), real; zero for a coil that holds no data

    Raises
    ------
    InputError : no measured line away from the centre, or of single samples none at the ends of the readout
    """
    level: Tensor = noise_samples(kspace, mask).abs().median(1).values / math.sqrt(math.log(2))
    return level


def noise_covariance(kspace: Tensor, mask: CartesianMask) -> Tensor:
    """Noise covariance (coil, coil): robust levels on the diagonal, correlations from the same samples.

    Parameters and errors as `noise_level`.
    """
    level = noise_level(kspace, mask)
    samples = noise_samples(kspace, mask)
    norm = torch.linalg.vector_norm(samples, dim=1, keepdim=True)
    unit = samples / norm.clamp(min=torch.finfo(norm.dtype).tiny)
    covariance: Tensor = (unit @ unit.mH) * (level[:, None] * level)
    return covariance


def prewhiten(kspace: Tensor, covariance: Tensor) -> Tensor:
    """K-space (frame, coil, y, x) with its coils mixed so that their noise is uncorrelated with unit variance.

    Errors as `whitening_matrix`.
    """
    return apply_matrix(whitening_matrix(covariance)[0], kspace)


def whitening_matrix(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse of the Cholesky factor of a noise covariance (coil, coil), and the factor itself.

    Raises
    ------
    InputError : `noise-covariance`, not positive definite, for instance because a coil holds no data
    """
    scale = covariance.diagonal().real.sqrt()
    unit = (covariance / (scale[:, None] * scale)).to(torch.complex128)
    factor, failed = torch.linalg.cholesky_ex(unit)
    singular = bool(failed) or not bool((factor.diagonal().real > LEAST_INDEPENDENT).all())
    if singular or not bool(torch.isfinite(scale).all() and (scale > 0).all()):
        raise InputError(
            "noise-covariance",
            "The noise covariance of the coils is not positive definite",
            "Every coil must hold noise of its own",
            "Remove empty or repeated coils, for instance by coil compression",
        )
    identity = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
    inverse = torch.linalg.solve_triangular(factor, identity, upper=False) / scale
    kind = covariance.dtype
    return inverse.to(kind), (factor * scale[:, None]).to(kind)
