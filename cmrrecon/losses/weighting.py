"""Weight several losses by their coefficient of variation.

References: Groenendijk et al., WACV 2021, arXiv 2009.01717.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

# The number added to variances, as in the authors' code, and the smallest mean used as a divisor.
VARIANCE_EPSILON = 1e-8
LEAST_MEAN = 1e-12
# Averages values by name over all processes; None marks a value that a process does not have.
Mean = Callable[[Mapping[str, float | None]], dict[str, float]]


def single_process_mean(values: Mapping[str, float | None]) -> dict[str, float]:
    """Return the values without missing ones; this is the `Mean` of a single process."""
    return {name: value for name, value in values.items() if value is not None}


class CoefficientOfVariation:
    """Gives larger weights to losses that are still changing.

    The ratio of a loss to its own running mean is `l_t = L_t / mean_(t-1)(L)`. The weight is the
    coefficient of variation `sigma / mu` of l up to t - 1, divided by the sum over all losses. In
    the first two steps the weights are equal. Weights have no gradient and sum to one.

    A loss that has not appeared yet (None or zero) has no weight, and its statistics start when it
    appears.

    Parameters
    ----------
    names : tuple of str
        The names of the losses.
    decay : float or None
        The decay of the running statistics, in (0, 1). None weights all steps equally.
    """

    def __init__(self, names: tuple[str, ...], decay: float | None = None) -> None:
        self.names, self.decay = names, decay
        self.statistics: dict[str, dict[str, float]] = {
            name: {"count": 0, "mean": 0.0, "ratio": 0.0, "spread": 0.0} for name in names
        }

    def weights(self, present: tuple[str, ...]) -> dict[str, float]:
        """Return the weights of the losses that are present, computed from earlier steps."""
        counts = [self.statistics[name]["count"] for name in present]
        if not present or min(counts) <= 1:
            return {name: 1 / len(present) for name in present}
        variation = {name: self._variation(self.statistics[name]) for name in present}
        total = sum(variation.values())
        return {name: value / total for name, value in variation.items()}

    def __call__(
        self, losses: Mapping[str, Tensor | None], mean: Mean = single_process_mean
    ) -> tuple[Tensor, dict[str, float]]:
        """Weight the losses, then add them to the statistics.

        Parameters
        ----------
        losses : mapping of str to Tensor of shape () or None
            The losses of this step by name.
        mean : callable
            Averages the losses over the processes that have them, so that all processes keep the
            same statistics.

        Returns
        -------
        total : Tensor of shape ()
            The weighted sum.
        weights : dict of str to float
            The weights.
        """
        values = mean(
            {
                name: None if (loss := losses.get(name)) is None else float(loss.detach())
                for name in self.names
            }
        )
        present = tuple(
            name
            for name in self.names
            if name in values and (self.statistics[name]["count"] > 0 or values[name] != 0)
        )

        weights = self.weights(present)
        parts = [weights[name] * loss for name in present if (loss := losses.get(name)) is not None]

        for name in present:
            # A loss of NaN or infinity must not spoil later ones.
            if math.isfinite(values[name]):
                self._learn(self.statistics[name], values[name])

        return torch.stack(parts).sum() if parts else torch.zeros(()), weights

    @staticmethod
    def _variation(statistics: Mapping[str, float]) -> float:
        sigma = (statistics["spread"] / statistics["count"] + VARIANCE_EPSILON) ** 0.5
        return float(sigma / max(statistics["ratio"], LEAST_MEAN))

    def _learn(self, s: dict[str, float], loss: float) -> None:
        count = s["count"]
        ratio = loss / max(s["mean"], LEAST_MEAN) if count else 1.0
        keep = 0.0 if count == 0 else (1 - 1 / (count + 1) if self.decay is None else self.decay)
        mean = keep * s["ratio"] + (1 - keep) * ratio
        s["spread"] += (ratio - s["ratio"]) * (ratio - mean)
        s["ratio"], s["mean"], s["count"] = mean, keep * s["mean"] + (1 - keep) * loss, count + 1

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {name: dict(values) for name, values in self.statistics.items()}

    def load_state_dict(self, state: Mapping[str, Mapping[str, float]]) -> None:
        """Restore the state that `state_dict` returned."""
        for name in self.names:
            self.statistics[name] = dict(state[name])
