import pytest
import torch
from refusals import refused

from cmrrecon.data import (
    Acquisition,
    Noise,
    SamplingMask,
    Scan,
    Series,
    SpokeMask,
    require_cartesian,
)


def test_a_series_along_a_trajectory_moves_and_scales(along):
    scan = along()
    series = scan.series(1).to("cpu").scaled(2)
    assert torch.equal(series.mask.trajectory.positions, scan.mask.trajectory.positions)
    assert series.image_shape == (8, 8)
    torch.testing.assert_close(series.kspace, 2 * scan.read_slice(1))
    elsewhere = series.to("meta")
    assert elsewhere.mask.trajectory.positions.device.type == "meta"
    assert elsewhere.mask.samples.device.type == "meta"
    assert elsewhere.kspace.device.type == "meta"


def test_calibration_lines_move_too(kspace, lines):
    block = torch.ones((2, 4, 4), dtype=torch.complex64)
    series = Series(kspace()[:, 0], SamplingMask.of(lines(1)), calibration=block)
    assert series.to("meta").calibration.device.type == "meta"
    assert Series(kspace()[:, 0], SamplingMask.of(lines(1))).to("meta").calibration is None


def test_noise_stays_on_the_scale_of_the_kspace(kspace, lines):
    noise = Noise(torch.eye(2, dtype=torch.complex64), 1000)
    series = Series(kspace()[:, 0], SamplingMask.of(lines(1)), noise=noise).scaled(0.1)
    torch.testing.assert_close(series.noise.covariance, 0.01 * noise.covariance)
    assert series.noise.samples == 1000


def test_only_kept_samples_count_as_measured(kspace, lines):
    acquisition = Acquisition("cine_lax", year=2025)
    data = kspace()[:, 0]
    series = Series(data, SamplingMask.of(lines(*range(8))), acquisition).kept(lines(2, 5))
    assert series.frames == 3
    assert series.acquisition is acquisition
    assert torch.equal(series.mask.samples, lines(2, 5))
    assert torch.equal(series.kspace[:, :, [2, 5]], data[:, :, [2, 5]])
    assert (series.kspace.abs().sum((0, 1, 3)) > 0).nonzero().flatten().tolist() == [2, 5]


def test_tasks_that_need_a_grid_refuse_trajectories(along, kspace):
    scan = along()
    assert isinstance(scan.mask, SpokeMask)
    for mask in (scan.mask, scan.series(0).mask):
        with refused("needs-cartesian"):
            require_cartesian(mask, "The scan", "A store")
    require_cartesian(Scan.from_kspace(kspace()).mask, "The scan", "A store")
    require_cartesian(Scan.from_kspace(kspace()).series(0).mask, "The scan", "A store")


@pytest.mark.parametrize("frames", [1, 4])
def test_frames_are_counted(kspace, lines, frames):
    assert Series(kspace(frames=frames)[:, 0], SamplingMask.of(lines(1))).frames == frames
