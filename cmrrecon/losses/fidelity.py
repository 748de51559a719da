"""Losses in k-space, on (batch, coil, y, x), complex. Every sample of a batch is divided by the largest magnitude of its target."""

import torch
from torch import Tensor

# Of the largest magnitude: phases of smaller samples have no direction to speak of.
SMALLEST = 1e-8


def scaled(kspace: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both over the largest magnitude of the target, sample by sample."""
    size = target.abs().amax((1, 2, 3), keepdim=True)
    size = torch.where(size > 0, size, 1)
    return kspace / size, target / size


def kspace_loss(kspace: Tensor, target: Tensor) -> Tensor:
    """Mean squared complex difference: |k - k_target|^2. HyperCMR's paper (arXiv 2410.03624, equation of the fidelity term)."""
    k, t = scaled(kspace, target)
    return _power(k - t).mean()


def physical_loss(kspace: Tensor, target: Tensor) -> Tensor:
    """GENRE-CMR's fidelity of magnitude and phase, made safe: mean (|k| - |t|)^2 + mean |t| (1 - cos(angle k - angle t)).

    The phase term is weighed by the target's magnitude, as noise has no phase to learn, and knows that angles wrap.
    """
    k, t = scaled(kspace, target)
    magnitude, wanted = (torch.sqrt(_power(part) + SMALLEST**2) for part in (k, t))
    cosine = (k * t.conj()).real / (magnitude * wanted)
    return (magnitude - wanted).square().mean() + (wanted * (1 - cosine)).mean()


def literal_physical_loss(kspace: Tensor, target: Tensor) -> Tensor:
    """GENRE-CMR's fidelity to the letter: MSE of magnitudes plus MSE of angles. Angles jump at +-pi, and those of noise count in full."""
    k, t = scaled(kspace, target)
    # The angle of zero has no gradient; it is given that of a trifle.
    k = torch.where(k.abs() > SMALLEST, k, SMALLEST)
    return (k.abs() - t.abs()).square().mean() + (k.angle() - t.angle()).square().mean()


def coilwise_magnitude_loss(kspace: Tensor, target: Tensor) -> Tensor:
    """HyperCMR's code: MSE of magnitudes, each coil over its own largest one; phases are not looked at."""
    k, t = (
        part.abs() / (part.abs().amax((2, 3), keepdim=True) + SMALLEST) for part in (kspace, target)
    )
    return (k - t).square().mean()


def regularisation(kspace: Tensor, share: float = 0.05) -> Tensor:
    """HyperCMR's regularisation of the reconstructed k-space: mean |k| + share * root mean |k|^2, k over its largest magnitude.

    The paper has norms, which grow with the size of the image; these are means. `share` is its beta.
    """
    k, _ = scaled(kspace, kspace.detach())
    energy = _power(k)
    return torch.sqrt(energy + SMALLEST**2).mean() + share * torch.sqrt(energy.mean() + SMALLEST**2)


def _power(x: Tensor) -> Tensor:
    return x.real.square() + x.imag.square()
