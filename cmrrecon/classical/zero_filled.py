"""Zero-filled reconstruction: unmeasured samples stay zero."""

import torch
from torch import Tensor

from cmrrecon.physics.coils import rss
from cmrrecon.physics.fourier import ifft2c
from cmrrecon.scan import Series


def zero_filled(series: Series) -> Tensor:
    """Root-sum-of-squares of the inverse Fourier transform: magnitudes (frame, y, x) float32."""
    return torch.stack([rss(ifft2c(frame)) for frame in series.kspace])
