"""SDA, GENRE-CMR's statistical distribution alignment: features of different domains should have the same Gaussian."""

from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, Literal

import torch
from torch import Tensor

# Of the mean variance: added to every variance, so that none vanishes.
RELATIVE_EPSILON = 1e-3
Covariance = Literal["diagonal", "identity"]


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (channel,), in single precision at least, of the pixels of features (1, channel, h, w)."""
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    flat = features.flatten(2).transpose(0, 1).flatten(1)
    variance = flat.var(1)
    return flat.mean(1), variance + RELATIVE_EPSILON * variance.mean() + torch.finfo(
        variance.dtype
    ).tiny


def symmetric_divergence(
    a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor], covariance: Covariance = "diagonal"
) -> Tensor:
    """KL(a || b) + KL(b || a) of Gaussians with these means and variances (channel,).

    Diagonal: 1/2 sum [(v_a + d^2) / v_b + (v_b + d^2) / v_a - 2] with d the difference of means; identity: ||d||^2.
    """
    (mean_a, var_a), (mean_b, var_b) = a, (b[0].to(a[0].device), b[1].to(a[0].device))
    distance = (mean_a - mean_b).square()
    if covariance == "identity":
        return distance.sum()
    return 0.5 * ((var_a + distance) / var_b + (var_b + distance) / var_a - 2).sum()


# Of what each process has, a list.
Gather = Callable[[Any], list[Any]]


def alone(thing: Any) -> list[Any]:
    """The `Gather` of a single process."""
    return [thing]


class DistributionAlignment:
    """Compares the features of every cascade with those of the last few samples of other domains.

    A cascade has a bank of the moments of the last samples, without gradient. The loss of a cascade is the mean divergence
    from those of other domains, zero while there are none; the loss is the sum over the cascades.

    Parameters
    ----------
    window : how many earlier samples are remembered; the paper's sliding window is of five samples, four of them earlier
    covariance : "diagonal"; the paper's full covariance cannot be estimated from one sample

    Anvari Hamedani et al., GENRE-CMR, 2025, SDA loss; our reading, see docs/losses.md.
    """

    def __init__(self, window: int = 4, covariance: Covariance = "diagonal") -> None:
        self.window, self.covariance = window, covariance
        self.banks: list[deque[tuple[Hashable, tuple[Tensor, Tensor]]]] = []

    def __call__(
        self, features: tuple[Tensor, ...], domain: Hashable, gather: Gather = alone
    ) -> Tensor | None:
        """The loss of one sample, a scalar; None while no other domain has been seen. The sample then enters the banks.

        Parameters
        ----------
        features : a Tensor (1, channel, h, w) a cascade
        domain : where the sample comes from
        gather : with several processes, gives what each of them has; the samples of all enter the banks
        """
        while len(self.banks) < len(features):
            self.banks.append(deque(maxlen=self.window))
        present = [moments(feature) for feature in features]
        losses = []

        for bank, own in zip(self.banks, present, strict=False):
            others = [
                symmetric_divergence(own, known, self.covariance)
                for origin, known in bank
                if origin != domain
            ]
            if others:
                losses.append(torch.stack(others).mean())

        known = [(mean.detach().cpu(), variance.detach().cpu()) for mean, variance in present]
        for origin, every in gather((domain, known)):
            # A sample that broke down must not spoil those after it.
            if all(bool(torch.isfinite(part).all()) for moment in every for part in moment):
                for bank, moment in zip(self.banks, every, strict=False):
                    bank.append((origin, moment))

        return torch.stack(losses).sum() if losses else None

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint: tensors, strings and numbers only."""
        return {"banks": [[(domain, *known) for domain, known in bank] for bank in self.banks]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What `state_dict` gave."""
        self.banks = [
            deque(
                ((domain, (mean, variance)) for domain, mean, variance in bank), maxlen=self.window
            )
            for bank in state["banks"]
        ]
