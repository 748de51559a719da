"""Coil images straight from k-space, for lines and for spokes."""

import sys
from importlib.util import find_spec

import pytest
import torch
from kinds import cnormal, mask_of
from refusals import refused

from cmrrecon.data import SpokeMask, Trajectory
from cmrrecon.operators.coil_images import average_coil_images, magnitudes, time_average
from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import ifft2c
from cmrrecon.operators.noncartesian import average_images, grid

with_finufft = pytest.mark.skipif(
    find_spec("finufft") is None, reason="needs finufft, the extra nufft"
)


def spokes():
    """Two frames of twelve rotating spokes of 16 samples; one spoke is not measured."""
    angles = (torch.arange(24) * 0.4).reshape(2, 12)
    along = torch.arange(16) - 8
    directions = torch.stack([angles.sin(), angles.cos()], -1)
    positions = along[:, None] * directions[:, :, None]
    samples = torch.ones((2, 12, 1), dtype=torch.bool)
    samples[0, 3] = False
    return SpokeMask(samples, trajectory=Trajectory(positions / 2, (8, 8)))


def test_time_average_counts_measured_frames_only():
    samples = torch.tensor([[True, True, False], [True, False, False]])[:, :, None]
    data = torch.ones((2, 1, 3, 2), dtype=torch.complex64) * samples[:, None]
    expected = torch.tensor([1, 1, 0], dtype=torch.complex64)
    assert torch.equal(time_average(data, samples)[0, :, 0], expected)


def test_samples_outside_the_mask_are_not_averaged():
    samples = torch.tensor([[True, False, True], [True, True, False]])[:, :, None]
    data = cnormal(2, 2, 3, 4)
    assert torch.equal(time_average(data, samples), time_average(data * samples[:, None], samples))


def test_cartesian_coil_images_are_transforms_of_the_average():
    samples = torch.tensor([[True, False, True], [True, True, False]])[:, :, None]
    data = cnormal(2, 2, 3, 4) * samples[:, None]
    mask = mask_of(samples)
    assert torch.equal(average_coil_images(data, mask), ifft2c(time_average(data, samples)))
    torch.testing.assert_close(magnitudes(data, mask), rss(ifft2c(data)))


@with_finufft
def test_samples_along_a_trajectory_are_gridded():
    mask = spokes()
    data = cnormal(2, 3, 12, 16) * mask.samples[:, None]
    positions = mask.trajectory.positions
    images = average_coil_images(data, mask)
    assert images.shape == (3, 8, 8)
    assert torch.equal(images, average_images(data, positions, mask.samples, (8, 8)))
    frames = magnitudes(data, mask)
    assert frames.shape == (2, 8, 8)
    assert torch.equal(frames, rss(grid(data, positions, mask.samples, (8, 8))))


def test_without_finufft_a_trajectory_asks_for_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "finufft", None)
    with refused("package-missing") as error:
        average_coil_images(cnormal(2, 3, 12, 16), spokes())
    assert "pip install cmrrecon[nufft]" in str(error.value)
