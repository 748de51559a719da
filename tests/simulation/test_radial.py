import math
import pickle
from importlib.util import find_spec

import pytest
import torch
from refusals import refused

from cmrrecon.operators.coil_images import magnitudes
from cmrrecon.operators.fourier import fft2c
from cmrrecon.simulation import simulate
from cmrrecon.simulation.radial import GOLDEN_ANGLE, acquire_along, golden_angle

pytestmark = pytest.mark.skipif(
    find_spec("finufft") is None, reason="needs finufft, the extra nufft"
)
SMALL = {"slices": 2, "coils": 3, "frames": 2, "y": 48, "x": 80}


def test_spokes_turn_by_the_golden_angle_from_frame_to_frame():
    assert math.degrees(GOLDEN_ANGLE) == pytest.approx(111.246, abs=1e-3)
    trajectory = golden_angle(2, 3, 10, 8)
    assert trajectory.shape == (2, 3, 10, 2)
    assert trajectory.dtype == torch.float32
    ends = trajectory[:, :, 0].flatten(0, 1)
    angles = torch.atan2(-ends[:, 0], -ends[:, 1])
    expected = torch.arange(6) * math.radians(111.24612)
    torch.testing.assert_close((angles - expected).cos(), torch.ones(6), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("samples", "n"), [(10, 8), (9, 9), (64, 32)])
def test_spokes_go_through_the_centre_from_end_to_end(samples, n):
    trajectory = golden_angle(1, 5, samples, n)[0]
    radius = torch.linalg.vector_norm(trajectory, dim=-1)
    assert not trajectory[:, samples // 2].any()
    torch.testing.assert_close(radius[:, 0], torch.full((5,), samples // 2 * n / samples))
    torch.testing.assert_close(radius.diff(dim=1).abs(), torch.full((5, samples - 1), n / samples))


def test_samples_at_cartesian_positions_are_those_of_cartesian_kspace():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 9, 9, dtype=torch.complex64, generator=generator)
    maps = torch.randn(3, 9, 9, dtype=torch.complex64, generator=generator)
    lines = golden_angle(1, 1, 9, 9)  # the first spoke lies along x
    kspace = acquire_along(lines, images, maps, 0.0)
    torch.testing.assert_close(
        kspace[:, :, 0], fft2c(maps * images[:, None])[:, :, 4], atol=1e-4, rtol=1e-4
    )


def test_a_radial_scan_has_its_trajectory_and_a_square_truth():
    made = simulate(**SMALL, spokes=7)
    assert made.scan.shape == (2, 2, 3, 7, 80)
    assert made.scan.matrix == (48, 48)
    assert made.image.shape == (2, 2, 48, 48)
    assert made.maps.shape == (3, 48, 48)
    assert made.scan.acquisition.pattern == "radial"
    assert torch.equal(made.scan.mask.trajectory.positions, golden_angle(2, 7, 80, 48))
    assert made.scan.series(1).mask.samples.all()
    cartesian = simulate(**{**SMALL, "x": 96})
    assert torch.equal(made.image, cartesian.image[..., 24:72])
    assert made.sigma == cartesian.sigma


def test_the_whole_body_is_inside_the_square_matrix():
    wide = simulate(slices=1, coils=1, frames=1, y=64, x=128).image.abs()
    assert float(wide[..., 32:96].square().sum() / wide.square().sum()) > 0.999


def test_gridding_many_spokes_gives_the_truth():
    made = simulate(**{**SMALL, "frames": 1}, spokes=150, snr_db=math.inf)
    series = made.scan.series(0)
    found = magnitudes(series.kspace, series.mask)
    truth = made.image[:, 0].abs()
    # Spokes do not reach the corners of k-space.
    assert float((found - truth).norm() / truth.norm()) < 0.07


def test_noise_has_the_stated_strength_and_is_the_same_each_time():
    made, silent = (simulate(**SMALL, spokes=20, seed=2, snr_db=snr) for snr in (20.0, math.inf))
    noise = made.scan.read_slice(1) - silent.scan.read_slice(1)
    assert float(noise.abs().square().mean().sqrt()) == pytest.approx(made.sigma, rel=0.03)
    assert torch.equal(made.scan.read_slice(1), made.scan.read_slice(1))
    assert not torch.equal(noise, made.scan.read_slice(0) - silent.scan.read_slice(0))


def test_scan_can_be_sent_to_a_worker_process():
    made = simulate(**SMALL, spokes=4)
    there = pickle.loads(pickle.dumps(made.scan))
    assert torch.equal(there.read_slice(0), made.scan.read_slice(0))


@pytest.mark.parametrize(("wrong", "least"), [({"spokes": 0}, 1), ({"spokes": 4, "x": 47}, 48)])
def test_impossible_spokes_are_refused(wrong, least):
    with refused("option-value") as error:
        simulate(**{**SMALL, **wrong})
    assert str(least) in error.value.expected
