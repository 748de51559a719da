"""Losses in k-space, for complex tensors (batch, coil, y, x).

Unless stated otherwise, each entry of a batch is divided by the largest magnitude of its target.
The normalised errors compare all entries together.
"""

import torch
from torch import Tensor

from cmrrecon.tools.arrays import divisor

# A fraction of the largest magnitude; the phase of smaller samples is meaningless.
SMALLEST = 1e-8


def scaled(kspace: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Divide both tensors by the largest magnitude of the target, for each batch entry."""
    size = target.abs().amax((1, 2, 3), keepdim=True)
    size = divisor(size)
    return kspace / size, target / size


def kspace_loss(kspace: Tensor, target: Tensor) -> Tensor:
    """Compute the mean squared complex difference `|k - k_target|^2`.

    References
    ----------
    HyperCMR, arXiv 2410.03624, equation of the fidelity term.
    """
    k, t = scaled(kspace, target)
    return _power(k - t).mean()


def physical_loss(kspace: Tensor, target: Tensor) -> Tensor:
    """Compute GENRE-CMR's magnitude and phase fidelity in a numerically safe form.

    This is `mean (|k| - |t|)^2 + mean |t| (1 - cos(angle k - angle t))`. The phase term is weighted
    by the target's magnitude, because noise has no phase to learn, and it takes the wrapping of
    angles into account.
    """
    k, t = scaled(kspace, target)
    magnitude, expected = (torch.sqrt(_power(part) + SMALLEST**2) for part in (k, t))
    cosine = (k * t.conj()).real / (magnitude * expected)
    return (magnitude - expected).square().mean() + (expected * (1 - cosine)).mean()


def literal_physical_loss(kspace: Tensor, target: Tensor) -> Tensor:
    """Compute GENRE-CMR's fidelity literally: MSE of magnitudes plus MSE of angles.

    The angles jump at +-pi, and the angles of noise have full weight.
    """
    k, t = scaled(kspace, target)
    # The angle of zero has no gradient, so zeros are replaced by a tiny positive number.
    k = torch.where(k.abs() > SMALLEST, k, SMALLEST)
    return (k.abs() - t.abs()).square().mean() + (k.angle() - t.angle()).square().mean()


def coilwise_magnitude_loss(kspace: Tensor, target: Tensor) -> Tensor:
    """Compute the loss of HyperCMR's code: MSE of magnitudes, each coil divided by its maximum.

    Phases are ignored.
    """
    k, t = (
        part.abs() / (part.abs().amax((2, 3), keepdim=True) + SMALLEST) for part in (kspace, target)
    )
    return (k - t).square().mean()


def regularisation(kspace: Tensor, share: float = 0.05) -> Tensor:
    """Compute HyperCMR's regularisation of the reconstructed k-space.

    This is `mean |k| + share * sqrt(mean |k|^2)`, where k is divided by its largest magnitude and
    `share` is the paper's beta. Means replace the paper's norms, which grow with the size of the
    image.
    """
    k, _ = scaled(kspace, kspace.detach())
    energy = _power(k)
    return torch.sqrt(energy + SMALLEST**2).mean() + share * torch.sqrt(energy.mean() + SMALLEST**2)


def normalised_absolute_loss(kspace: Tensor, target: Tensor) -> Tensor:
    """Compute `mean |k - k_target| / mean |k_target|` of real and imaginary parts, as vSHARP does.

    References
    ----------
    Yiasemis et al., arXiv 2310.06628, section 2.3 (NMAE).
    """
    k, t = torch.view_as_real(kspace), torch.view_as_real(target)
    size = t.abs().mean()
    return (k - t).abs().mean() / divisor(size)


def normalised_squared_loss(kspace: Tensor, target: Tensor) -> Tensor:
    """Compute `mean |k - k_target|^2 / mean |k_target|^2` (NMSE)."""
    size = _power(target).mean()
    return _power(kspace - target).mean() / divisor(size)


def _power(x: Tensor) -> Tensor:
    return x.real.square() + x.imag.square()
