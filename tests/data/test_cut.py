"""Half-copied files are refused; honest zeros are not."""

import os

import numpy as np
import pytest
import torch
from refusals import refused
from scipy.io import savemat

from cmrrecon import formats, simulate, undersample
from cmrrecon.data import Scan
from cmrrecon.tools.errors import InputError

# A frame of zeros alone has its own code.
REFUSED = ("kspace-cut-off", "kspace-empty")
SHAPE = (4, 2, 3, 24, 32)


@pytest.fixture(scope="module")
def full():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(SHAPE, dtype=torch.complex64, generator=generator)


def with_zero_tail(path, fraction):
    """Zero the last part of a file, as a copy that stopped early."""
    size = path.stat().st_size
    os.truncate(path, int(size * (1 - fraction)))
    os.truncate(path, size)


def all_slices(scan):
    for index in range(scan.shape[1]):
        scan.series(index)


@pytest.mark.parametrize("fraction", [0.1, 0.15, 0.2, 0.3, 0.4])
@pytest.mark.parametrize("frames", [1, 4])
def test_a_zero_tail_is_refused_in_every_uncompressed_format(full, tmp_path, fraction, frames):
    kspace = full[:frames].numpy()
    np.save(tmp_path / "a.npy", kspace)
    # SciPy writes MAT 5 without compression: real parts first, then imaginary parts.
    savemat(tmp_path / "a.mat", {"kspace": kspace.transpose()})
    for name in ("a.npy", "a.mat"):
        path = tmp_path / name
        all_slices(formats.read(path))
        with_zero_tail(path, fraction)
        with pytest.raises(InputError, check=lambda error: error.code in REFUSED):
            all_slices(formats.read(path))


def test_zeros_from_one_sample_on_in_one_coil_are_refused(full):
    cut = full.clone()
    cut[3, 0, 2, 20, 7:] = 0
    cut[3, 0, 2, 21:] = 0
    with refused("kspace-cut-off"):
        Scan.from_kspace(cut).series(0)
    Scan.from_kspace(cut).series(1)


def honest(full):
    """Data with honest zeros, by name."""
    y = torch.arange(24)[:, None]
    x = torch.arange(32)
    yield "partial Fourier", full * (y < 16)
    yield "partial echo", full * (x > 9)
    yield "zero-filled", full * ((y > 5) & (y < 18) & (x > 7) & (x < 24))
    yield "undersampled", full * (y % 4 == 1)
    yield "ellipse", full * ((y - 12) ** 2 / 100 + (x - 16) ** 2 / 200 < 1)
    yield "dropout", torch.where(torch.arange(3)[:, None, None] == 2, full * 0, full)

    decay = torch.exp(-((y - 5) ** 2 / 20 + (x - 16) ** 2 / 40))
    weak = torch.tensor([1.0, 0.3, 0.02])[:, None, None]
    scaled = full * decay * weak * 300 * (y < 16)
    yield (
        "integers of a weak coil, partial Fourier",
        torch.complex(scaled.real.round(), scaled.imag.round()),
    )
    yield "real", torch.complex(full.real, torch.zeros_like(full.real))


def test_honest_zeros_are_accepted(full):
    for name, kspace in honest(full):
        frames = kspace.clone()
        if name == "dropout":
            frames[:3] = full[:3]
        all_slices(Scan.from_kspace(frames))


@pytest.mark.parametrize("pattern", ["uniform", "kt-gaussian", "kt-radial", "random"])
def test_simulated_scans_without_noise_are_accepted(pattern):
    made = simulate(frames=3, slices=2, coils=3, y=32, x=48, snr_db=300).scan
    all_slices(made)
    all_slices(undersample(made, pattern, 4))
