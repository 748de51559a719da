"""Estimate the noise of the coils from k-space, and compute the matrix that whitens it."""

import math

import torch
from torch import Tensor

from cmrrecon.data import CartesianMask
from cmrrecon.operators.fourier import ifftc
from cmrrecon.tools.errors import InputError

# Fraction of the readout at each end that is mostly noise, and fraction of the lines around the
# centre that is mostly signal.
READOUT_EDGE = 1 / 16
CENTRE_LINES = 1 / 2
# Energy of rounding errors in single precision, as a fraction of the energy of the signal.
ROUNDING = 1e-12
# Least standard deviation of the part of a coil's noise that is independent of other coils, as a
# fraction of its total noise. Below it, two coils are the same coil.
LEAST_INDEPENDENT = 1e-3


def noise_samples(kspace: Tensor, mask: CartesianMask) -> Tensor:
    """Select samples (coil, n) with the noise of one k-space sample and hardly any signal.

    For lines, whole or with an asymmetric echo, these are the ends of the readout's field of view,
    on lines away from the centre of k-space. The body seldom extends that far, especially with
    readout oversampling. For masks of single samples, they are the measured samples at the outer
    ends of k-space, which contain more signal.

    Parameters
    ----------
    kspace : Tensor of shape (frame, coil, y, x), complex
        K-space as measured.
    mask : CartesianMask
        The measured samples.

    Returns
    -------
    Tensor of shape (coil, n), complex
        Samples, scaled to the noise of a single average.

    Raises
    ------
    InputError
        If there is no line away from the centre, no sample at the ends of the readout, or no noise
        there except rounding errors, as after a filter or regridding of ramps
        (`noise-not-measurable`).
    """
    frames, _, ny, nx = kspace.shape
    centre = round(CENTRE_LINES * ny)
    outer_lines = torch.ones((1, ny, 1), dtype=torch.bool, device=kspace.device)
    outer_lines[:, (ny - centre) // 2 : (ny + centre) // 2] = False
    chosen = (mask.samples & outer_lines).expand(frames, ny, -1)
    if not bool(chosen.any()):
        raise _noise_not_measurable("line away from the centre of k-space")

    edge = max(1, round(READOUT_EDGE * nx))
    ends = torch.arange(-edge, edge, device=kspace.device) % nx

    # The mean of n samples has a variance of sigma^2 / n.
    counts = torch.ones_like(chosen) if mask.averages is None else mask.averages
    root = counts.to(kspace.real.dtype).sqrt().expand(frames, ny, -1)
    if mask.echo is not None:
        return _outside_the_body(kspace, chosen.any(-1), ends, root)

    outer = chosen[..., ends]
    if not bool(outer.any()):
        raise _noise_not_measurable("sample at the ends of the readout")
    root = root.expand(-1, -1, nx)[..., ends]
    return kspace[..., ends].transpose(0, 1)[:, outer] * root[outer]


def _outside_the_body(kspace: Tensor, lines: Tensor, ends: Tensor, root: Tensor) -> Tensor:
    """Return the chosen lines (frame, y) at the ends of the readout's field of view, (coil, n)."""
    chosen = kspace.transpose(1, 2)[lines].transpose(0, 1) * root[lines]
    # Compensate for zero-filled parts of the readout, which add no noise.
    filled = (chosen != 0).float().mean((1, 2), keepdim=True).clamp(min=1 / chosen[0].numel())
    outside = (ifftc(chosen, -1)[..., ends] / filled.sqrt()).flatten(1)
    if float(outside.abs().square().mean()) <= ROUNDING * float(chosen.abs().square().mean()):
        raise _noise_not_measurable("noise at the ends of the readout's field of view")
    return outside


def _noise_not_measurable(missing: str) -> InputError:
    return InputError(
        "noise-not-measurable",
        f"No {missing} was measured",
        "The noise is estimated from samples far from the centre of k-space",
        "Give a scan with measured outer samples, or a noise covariance",
    )


def noise_level(samples: Tensor) -> Tensor:
    """Estimate the standard deviation sigma of each coil's complex noise: `E|n|^2 = sigma^2`.

    The estimate uses the median magnitude, which is sigma sqrt(ln 2) for complex Gaussian noise, so
    a few samples with signal do not matter. It is accurate to 4 % on simulated cine sampled by
    lines.

    Parameters
    ----------
    samples : Tensor of shape (coil, n), complex
        Noise samples from `noise_samples`.

    Returns
    -------
    Tensor of shape (coil,), real
        Noise levels; zero for a coil without data.
    """
    level: Tensor = samples.abs().median(1).values / math.sqrt(math.log(2))
    return level


def noise_covariance(samples: Tensor) -> Tensor:
    """Estimate the noise covariance `E[n n^H]` (coil, coil): robust levels, sample correlations.

    Parameters are those of `noise_level`.
    """
    level = noise_level(samples)
    norm = torch.linalg.vector_norm(samples, dim=1, keepdim=True)
    unit = samples / norm.clamp(min=torch.finfo(norm.dtype).tiny)
    covariance: Tensor = (unit @ unit.mH) * (level[:, None] * level)
    return covariance


def whitening_matrix(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Invert the Cholesky factor of a noise covariance (coil, coil).

    Returns
    -------
    whitening : Tensor of shape (coil, coil), complex
        The inverse of the factor.
    factor : Tensor of shape (coil, coil), complex
        The factor itself.

    Raises
    ------
    InputError
        If the covariance is not positive definite, for instance because a coil has no data
        (`noise-covariance`).
    """
    scale = covariance.diagonal().real.sqrt()
    unit = (covariance / (scale[:, None] * scale)).to(torch.complex128)
    factor, failed = torch.linalg.cholesky_ex(unit)

    singular = bool(failed) or not bool((factor.diagonal().real > LEAST_INDEPENDENT).all())
    if singular or not bool(torch.isfinite(scale).all() and (scale > 0).all()):
        raise InputError(
            "noise-covariance",
            "The noise covariance of the coils is not positive definite",
            "The noise of no coil may be a combination of the noise of the others",
            "Remove empty or duplicate coils, for instance by coil compression",
        )

    identity = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
    inverse = torch.linalg.solve_triangular(factor, identity, upper=False) / scale

    dtype = covariance.dtype
    return inverse.to(dtype), (factor * scale[:, None]).to(dtype)
