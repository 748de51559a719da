"""The order of the frames of a gated scan, which form a circle.

Methods that couple frames choose their settings on random samples and pair frames at random, so
their images depend slightly on which frame comes first. Starting every series at its strongest
frame makes them independent of the moment at which the recording began.
"""

from dataclasses import replace

from torch import Tensor

from cmrrecon.data.mask import CartesianMask
from cmrrecon.data.series import Series


def from_strongest(series: Series) -> Series:
    """Roll a gated Cartesian series so that its frame with the most energy comes first.

    Other series stay as they are. `Series.first` is the frame of the scan that comes first.
    """
    mask = series.mask
    if not series.acquisition.cyclic or not isinstance(mask, CartesianMask):
        return series

    kspace = series.kspace
    energy = [float(frame.real.square().sum() + frame.imag.square().sum()) for frame in kspace]
    first = energy.index(max(energy))

    def rolled(part: Tensor | None) -> Tensor | None:
        return part if part is None or len(part) == 1 else part.roll(-first, 0)

    samples = rolled(mask.samples)
    assert samples is not None
    calibration, averages = rolled(mask.calibration_only), rolled(mask.averages)
    mask = replace(mask, samples=samples, calibration_only=calibration, averages=averages)
    return replace(series, kspace=kspace.roll(-first, 0), mask=mask, first=first)
