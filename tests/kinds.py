"""Shortcuts for tests to make objects of the library's types."""

import torch

from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.data import SamplingMask


def mask_of(mask):
    """A SamplingMask from a tensor (frame|1, y, x|1) bool; a SamplingMask or None unchanged."""
    return SamplingMask.of(mask) if hasattr(mask, "ndim") else mask


def normal(series, scale=1.0):
    """A prepared series that is already normalised."""
    return PreparedSeries(series, scale)


def cnormal(*shape, seed=0):
    """Complex Gaussian numbers of unit variance, complex64."""
    return torch.randn(shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))
