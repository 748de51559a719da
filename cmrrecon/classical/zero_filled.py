"""Zero-filled reconstruction: unmeasured samples stay zero."""

from torch import Tensor

from cmrrecon.data import Series
from cmrrecon.operators.coil_images import magnitudes


def zero_filled(series: Series) -> Tensor:
    """Root-sum-of-squares of the inverse Fourier transform: magnitudes (frame, y, x) float32.

    Samples along a trajectory are density-compensated and gridded. Samples for calibration only are
    left out.
    """
    mask = series.mask
    if mask.calibration_only is not None:
        series = series.kept(mask.image_data)
    return magnitudes(series.kspace, series.mask)
