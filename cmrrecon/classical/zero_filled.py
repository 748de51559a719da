"""Zero-filled reconstruction: unmeasured samples stay zero, samples along a trajectory are density-compensated and gridded."""

from torch import Tensor

from cmrrecon.data.scan import Series
from cmrrecon.operators.coils import rss, rss_images
from cmrrecon.operators.noncartesian import grid


def zero_filled(series: Series) -> Tensor:
    """Root-sum-of-squares of the inverse Fourier transform: magnitudes (frame, y, x) float32."""
    if series.trajectory is not None and series.matrix is not None:
        return rss(grid(series.kspace, series.trajectory, series.mask, series.matrix))
    return rss_images(series.kspace)
