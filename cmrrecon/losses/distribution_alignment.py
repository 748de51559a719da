"""SDA, the statistical distribution alignment of GENRE-CMR.

Features of different domains should follow the same Gaussian distribution.
"""

from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, Literal

import torch
from torch import Tensor

# The fraction of the mean variance that is added to every variance, so that no variance is zero.
RELATIVE_EPSILON = 1e-3
Covariance = Literal["diagonal", "identity"]


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of each channel, in at least single precision.

    Parameters
    ----------
    features : Tensor of shape (1, channel, h, w)
        The features of one sample.

    Returns
    -------
    tuple of two Tensors of shape (channel,)
        Mean and variance over the pixels.
    """
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    flat = features.flatten(2).transpose(0, 1).flatten(1)
    variance = flat.var(1)
    return flat.mean(1), variance + RELATIVE_EPSILON * variance.mean() + torch.finfo(
        variance.dtype
    ).tiny


def symmetric_divergence(
    a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor], covariance: Covariance = "diagonal"
) -> Tensor:
    """Compute `KL(a || b) + KL(b || a)` of two Gaussians.

    With diagonal covariance this is `1/2 sum [(v_a + d^2) / v_b + (v_b + d^2) / v_a - 2]`, where d
    is the difference of the means. With identity covariance it is `||d||^2`.

    Parameters
    ----------
    a, b : tuple of two Tensors of shape (channel,)
        Mean and variance.
    covariance : str
        "diagonal" or "identity".

    Returns
    -------
    Tensor of shape ()
        The divergence.
    """
    (mean_a, var_a), (mean_b, var_b) = a, (b[0].to(a[0].device), b[1].to(a[0].device))
    distance = (mean_a - mean_b).square()
    if covariance == "identity":
        return distance.sum()
    return 0.5 * ((var_a + distance) / var_b + (var_b + distance) / var_a - 2).sum()


# Collects an object from every process in a list.
Gather = Callable[[Any], list[Any]]


def single_process_gather(value: Any) -> list[Any]:
    """Return the object in a list; this is the `Gather` of a single process."""
    return [value]


class DistributionAlignment:
    """Compares the features of every cascade with recent samples of other domains.

    Each cascade has a bank with the moments of the most recent samples, without gradient. The loss
    of a cascade is the mean divergence from the samples of other domains, or zero if there are
    none. The total loss is the sum over the cascades.

    Parameters
    ----------
    window : int
        The number of earlier samples that are kept. The paper's sliding window has five samples,
        four of them earlier.
    covariance : str
        "diagonal" or "identity". The paper's full covariance cannot be estimated from one sample.

    References
    ----------
    Anvari Hamedani et al., GENRE-CMR, 2025, SDA loss; our interpretation, see docs/losses.md.
    """

    def __init__(self, window: int = 4, covariance: Covariance = "diagonal") -> None:
        self.window, self.covariance = window, covariance
        self.banks: list[deque[tuple[Hashable, tuple[Tensor, Tensor]]]] = []

    def __call__(
        self, features: tuple[Tensor, ...], domain: Hashable, gather: Gather = single_process_gather
    ) -> Tensor | None:
        """Compute the loss of one sample, then add the sample to the banks.

        Parameters
        ----------
        features : tuple of Tensor of shape (1, channel, h, w)
            The features of each cascade.
        domain : hashable
            The domain of the sample.
        gather : callable
            Collects objects from all processes. The samples of all processes enter the banks.

        Returns
        -------
        Tensor of shape () or None
            The loss, or None as long as there are no samples of another domain.
        """
        while len(self.banks) < len(features):
            self.banks.append(deque(maxlen=self.window))

        present = [moments(feature) for feature in features]
        losses = []
        for bank, current in zip(self.banks, present, strict=False):
            others = [
                symmetric_divergence(current, known, self.covariance)
                for origin, known in bank
                if origin != domain
            ]
            if others:
                losses.append(torch.stack(others).mean())

        known = [(mean.detach().cpu(), variance.detach().cpu()) for mean, variance in present]
        for origin, every in gather((domain, known)):
            # A sample with NaN or infinity must not spoil later ones.
            if all(bool(torch.isfinite(part).all()) for moment in every for part in moment):
                for bank, moment in zip(self.banks, every, strict=False):
                    bank.append((origin, moment))

        return torch.stack(losses).sum() if losses else None

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint, as tensors, strings and numbers only."""
        return {"banks": [[(domain, *known) for domain, known in bank] for bank in self.banks]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""
        self.banks = [
            deque(
                ((domain, (mean, variance)) for domain, mean, variance in bank), maxlen=self.window
            )
            for bank in state["banks"]
        ]
