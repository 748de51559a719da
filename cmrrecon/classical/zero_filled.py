"""Zero-filled reconstruction, which leaves unmeasured samples at zero."""

from torch import Tensor

from cmrrecon.data import Series
from cmrrecon.operators.coil_images import magnitudes


def zero_filled(series: Series) -> Tensor:
    """Compute root-sum-of-squares magnitudes (frame, y, x) float32 by inverse Fourier transform.

    Samples along a trajectory are density-compensated and gridded. Samples measured only for
    calibration are left out.
    """
    mask = series.mask
    if mask.calibration_only is not None:
        series = series.kept(mask.image_data)
    return magnitudes(series.kspace, series.mask)
