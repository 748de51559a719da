"""Small k-space, masks of lines, and a scan along a trajectory."""

import pytest
import torch

from cmrrecon.data import Acquisition, MaskSource, Scan, SpokeMask, Trajectory


@pytest.fixture
def kspace():
    """Makes random k-space (frame, slice, coil, y, x)."""

    def make(frames=3, slices=2, coils=2, y=8, x=10):
        shape = (frames, slices, coils, y, x)
        return torch.randn(shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))

    return make


@pytest.fixture
def lines():
    """Makes samples (frame, y, 1) bool in which some lines were measured."""

    def make(*measured, frames=1, y=8):
        samples = torch.zeros((frames, y, 1), dtype=torch.bool)
        samples[:, list(measured)] = True
        return samples

    return make


@pytest.fixture
def along(kspace):
    """Makes a scan along a trajectory: random k-space at positions up to the edge of k-space."""

    def make(samples=None, positions=None, matrix=(8, 8), source=MaskSource.GIVEN):
        if positions is None:
            drawn = torch.rand((3, 6, 10, 2), generator=torch.Generator().manual_seed(3))
            positions = (drawn - 0.5) * torch.tensor(matrix)
            positions[0, 0, 0] = torch.tensor(matrix) / 2
        if samples is None:
            samples = torch.ones((3, 6, 1), dtype=torch.bool)
        mask = SpokeMask(samples, source, trajectory=Trajectory(positions, matrix))
        data = kspace(y=6)
        return Scan(tuple(data.shape), lambda i: data[:, i], mask, Acquisition("cine_sax"))

    return make
