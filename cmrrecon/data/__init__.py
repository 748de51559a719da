"""What a scan is: k-space, sampling mask, trajectory, noise, geometry, and how it was made."""

from cmrrecon.data.acquisition import Acquisition
from cmrrecon.data.geometry import Geometry
from cmrrecon.data.mask import (
    CartesianMask,
    LineMask,
    MaskSource,
    SampleMask,
    SamplingMask,
    SpokeMask,
)
from cmrrecon.data.noise import Noise
from cmrrecon.data.scan import Scan
from cmrrecon.data.series import Series, require_cartesian
from cmrrecon.data.trajectory import Trajectory
from cmrrecon.data.view import View
from cmrrecon.data.windows import cyclic_window, window

__all__ = [
    "Acquisition",
    "CartesianMask",
    "Geometry",
    "LineMask",
    "MaskSource",
    "Noise",
    "SampleMask",
    "SamplingMask",
    "Scan",
    "Series",
    "SpokeMask",
    "Trajectory",
    "View",
    "cyclic_window",
    "require_cartesian",
    "window",
]
