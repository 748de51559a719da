"""SENSE: least squares with coil maps."""

from torch import Tensor

from cmrrecon.classical.solvers import conjugate_gradient
from cmrrecon.physics.encoding import Encoding
from cmrrecon.physics.sensitivity import CalibrationSource, estimate_maps
from cmrrecon.scan import Series


def sense(series: Series, *, weight: float = 0.003, iterations: int = 20, calibration: CalibrationSource = "average") -> Tensor:
    """Conjugate-gradient SENSE: min ||M F S x - y||^2 + weight ||x||^2, frame by frame.

    Parameters
    ----------
    series : normalised series
    weight : Tikhonov weight
    iterations : conjugate-gradient steps
    calibration : coil maps from the time `average` or the `first` frame

    Returns
    -------
    Tensor (frame, y, x) complex64

    Pruessmann et al., Magn Reson Med 2001;46:638.
    """
    A = Encoding(estimate_maps(series.kspace, series.mask, calibration), series.mask)
    return conjugate_gradient(lambda x: A.N(x) + weight * x, A.H(series.kspace), iterations, tolerance=1e-6)
