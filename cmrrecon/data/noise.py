"""The noise of the receive coils, as a scanner measured it."""

from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Noise:
    """The noise of k-space samples.

    Attributes
    ----------
    covariance : Tensor (coil, coil) complex64, E[n n^H] of one k-space sample on the scale of the k-space
    samples : number of noise samples that it was estimated from
    """

    covariance: Tensor
    samples: int

    def scaled(self, factor: float) -> "Noise":
        """The noise of k-space that is multiplied by `factor`."""
        return replace(self, covariance=self.covariance * factor**2)
