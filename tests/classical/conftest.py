"""A small simulated cine, and measured data that show the quality of a method."""

import math
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from kinds import mask_of

from cmrrecon.data import Series
from cmrrecon.operators.fourier import fft2c


@pytest.fixture(scope="session")
def cine():
    """Make (series, truth): a beating ring in a body, smooth coil maps, faint noise.

    Every `step`-th line and the ACS lines are measured. `radial` measures samples instead of lines,
    `moving` different ones in each frame. `breath` is how far the body moves along y to either
    side, as a fraction of half the field of view.
    """

    def make(
        coils=4, step=3, acs=12, frames=2, shape=(45, 56), radial=False, moving=False, breath=0.0
    ):
        ny, nx = shape
        y, x = torch.meshgrid(torch.linspace(-1, 1, ny), torch.linspace(-1, 1, nx), indexing="ij")
        truth = []
        for t in range(frames):
            beat = abs((t + 4) % 8 - 4)
            moved = y - breath * math.sin(2 * math.pi * t / frames)
            radius = ((moved - 0.1) ** 2 + (x + 0.1) ** 2).sqrt()
            ring = ((radius > 0.2) & (radius < 0.35 + 0.03 * beat)).float()
            truth.append(
                (((moved / 0.8) ** 2 + (x / 0.6) ** 2 < 1) * (0.6 + ring)) * torch.exp(0.5j * x)
            )
        truth = torch.stack(truth).to(torch.complex64)
        angles = 2 * torch.pi * torch.arange(coils) / coils
        maps = torch.stack(
            [
                torch.exp(
                    -((y - 1.1 * a.sin()) ** 2 + (x - 1.1 * a.cos()) ** 2) / 2
                    + 1j * (a + y * a.sin())
                )
                for a in angles
            ]
        ).to(torch.complex64)
        maps /= torch.linalg.vector_norm(maps, dim=0)
        noise = torch.randn(
            (frames, coils, ny, nx),
            dtype=torch.complex64,
            generator=torch.Generator().manual_seed(0),
        )
        mask = torch.zeros((frames if moving else 1, ny, nx if radial else 1), dtype=torch.bool)
        for t, measured in enumerate(mask):
            measured[t % step :: step] = True
        if radial:
            mask |= torch.rand(mask.shape, generator=torch.Generator().manual_seed(1)) < 0.3
        start = ny // 2 - acs // 2
        mask[:, start : start + acs] = True
        return Series(
            (fft2c(maps * truth[:, None]) + 2e-3 * noise) * mask[:, None], mask_of(mask)
        ), truth

    return make


def complex_from(file: Path) -> torch.Tensor:
    """The only array of an HDF5 file of {real, imag}, as h5py shows it."""
    with h5py.File(file) as opened:
        data = opened[next(key for key in opened if not key.startswith("#"))][()]
    return torch.from_numpy((data["real"] + 1j * data["imag"]).astype(np.complex64))


@pytest.fixture
def measured_heart(real_data):
    """One measured frame of ten coils, 32 of 162 lines."""
    kspace = (
        complex_from(real_data / "CMRxRecon2025-P003-pair/underkslice.mat")
        .permute(2, 1, 0)[None]
        .contiguous()
    )
    return Series(kspace, mask_of((kspace != 0).all(1).all(-1, keepdim=True)))


@pytest.fixture
def measured_head(real_data):
    """Fully sampled k-space (1, 16, 96, 96) of a head."""
    return complex_from(real_data / "mchiew-SENSE-tutorial/raw_data.mat")[None, :, 0]
