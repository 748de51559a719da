"""The noise of the coils, estimated from k-space, and the matrix that whitens it."""

import math

import torch
from torch import Tensor

from cmrrecon.data import CartesianMask
from cmrrecon.operators.fourier import ifftc
from cmrrecon.tools.errors import InputError

# Parts of the readout (at each end: mostly noise) and of the lines (around the centre: mostly
# signal).
READOUT_EDGE = 1 / 16
CENTRE_LINES = 1 / 2
# What single precision leaves of a signal's energy where there is nothing.
ROUNDING = 1e-12
# The part of a coil's noise, as a standard deviation, that no other coil holds: with less the coils
# are one and the same.
LEAST_INDEPENDENT = 1e-3


def noise_samples(kspace: Tensor, mask: CartesianMask) -> Tensor:
    """Samples (coil, n) with the noise of one k-space sample, measured once, and hardly any signal.

    Of lines, whole or with an asymmetric echo: the outer ends of the readout's field of view (the
    body seldom reaches them, least of all with readout oversampling) on lines away from the centre
    of k-space. Of single samples: measured ones at the outer ends of k-space, which hold more
    signal.

    Parameters
    ----------
    kspace : Tensor (frame, coil, y, x), complex
    mask : what was measured

    Raises
    ------
    InputError : `noise-not-measurable`, no line away from the centre, no sample at the ends of the
        readout, or nothing there but rounding, as after a filter or a regridding of ramps
    """
    frames, _, ny, nx = kspace.shape
    centre = round(CENTRE_LINES * ny)
    away = torch.ones((1, ny, 1), dtype=torch.bool, device=kspace.device)
    away[:, (ny - centre) // 2 : (ny + centre) // 2] = False
    chosen = (mask.samples & away).expand(frames, ny, -1)
    if not bool(chosen.any()):
        raise _noise_not_measurable("line away from the centre of k-space")

    edge = max(1, round(READOUT_EDGE * nx))
    ends = torch.arange(-edge, edge, device=kspace.device) % nx

    # The mean of n has a variance of sigma^2 / n.
    counts = torch.ones_like(chosen) if mask.averages is None else mask.averages
    root = counts.to(kspace.real.dtype).sqrt().expand(frames, ny, -1)
    if mask.echo is not None:
        return _beside_the_body(kspace, chosen.any(-1), ends, root)

    there = chosen[..., ends]
    if not bool(there.any()):
        raise _noise_not_measurable("sample at the ends of the readout")
    root = root.expand(-1, -1, nx)[..., ends]
    return kspace[..., ends].transpose(0, 1)[:, there] * root[there]


def _beside_the_body(kspace: Tensor, lines: Tensor, ends: Tensor, root: Tensor) -> Tensor:
    """The chosen lines (frame, y) at the ends of the readout's field of view, (coil, n)."""
    chosen = kspace.transpose(1, 2)[lines].transpose(0, 1) * root[lines]
    # Zero-filled parts of the readout bring no noise: make up for them.
    filled = (chosen != 0).float().mean((1, 2), keepdim=True).clamp(min=1 / chosen[0].numel())
    beside = (ifftc(chosen, -1)[..., ends] / filled.sqrt()).flatten(1)
    if float(beside.abs().square().mean()) <= ROUNDING * float(chosen.abs().square().mean()):
        raise _noise_not_measurable("noise at the ends of the readout's field of view")
    return beside


def _noise_not_measurable(missing: str) -> InputError:
    return InputError(
        "noise-not-measurable",
        f"No {missing} was measured",
        "The noise is estimated from samples far from the centre of k-space",
        "Give a scan that also measured outer ones, or a noise covariance of your own",
    )


def noise_level(samples: Tensor) -> Tensor:
    """Standard deviation of the complex noise of each coil: sigma with E|n|^2 = sigma^2.

    From the median magnitude (median = sigma sqrt(ln 2) for complex Gaussian noise), so the few
    samples that still hold signal do not matter. Within 4 % on line-sampled simulated cine.

    Parameters
    ----------
    samples : Tensor (coil, n), complex, see `noise_samples`

    Returns
    -------
    Tensor (coil,), real; zero for a coil that holds no data
    """
    level: Tensor = samples.abs().median(1).values / math.sqrt(math.log(2))
    return level


def noise_covariance(samples: Tensor) -> Tensor:
    """Noise covariance E[n n^H] (coil, coil): robust levels on the diagonal, correlations as
    sampled.

    Parameters as `noise_level`.
    """
    level = noise_level(samples)
    norm = torch.linalg.vector_norm(samples, dim=1, keepdim=True)
    unit = samples / norm.clamp(min=torch.finfo(norm.dtype).tiny)
    covariance: Tensor = (unit @ unit.mH) * (level[:, None] * level)
    return covariance


def whitening_matrix(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse of the Cholesky factor of a noise covariance (coil, coil), and the factor itself.

    Raises
    ------
    InputError : `noise-covariance`, not positive definite, for instance because a coil holds no
        data
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
