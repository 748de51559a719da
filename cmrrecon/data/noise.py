"""The noise of the receive coils, as measured by a scanner."""

from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Noise:
    """Noise of k-space samples.

    Attributes
    ----------
    covariance : Tensor of shape (coil, coil), complex64
        `E[n n^H]` of one k-space sample, in the units of the k-space.
    samples : int
        Number of noise samples from which the covariance was estimated.
    """

    covariance: Tensor
    samples: int

    def scaled(self, factor: float) -> "Noise":
        """Return the noise of k-space multiplied by `factor`."""
        return replace(self, covariance=self.covariance * factor**2)
