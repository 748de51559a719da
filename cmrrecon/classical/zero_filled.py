"""Zero-filled reconstruction: unmeasured samples stay zero."""

from torch import Tensor

from cmrrecon.physics.coils import rss_images
from cmrrecon.scan import Series


def zero_filled(series: Series) -> Tensor:
    """Root-sum-of-squares of the inverse Fourier transform: magnitudes (frame, y, x) float32."""
    return rss_images(series.kspace)
