"""What methods do about an unmeasured side of k-space."""

from dataclasses import replace

import pytest
import torch

import cmrrecon
from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.data import SamplingMask, Scan
from cmrrecon.methods.edges import next_to_cut
from cmrrecon.methods.registry import find_method
from cmrrecon.sampling import make_mask
from cmrrecon.simulation import simulate
from cmrrecon.simulation.acquisition import acquire, noise_sigma

FRAMES, N = 4, 64
GIVEN = {"weight": 0.005, "iterations": 25}


def part(y=slice(None), x=slice(None), pattern=None):
    """Samples (frame or 1, y, x) of a block, complete or by a pattern."""
    samples = torch.zeros((1, N, N), dtype=torch.bool)
    samples[:, y, x] = True
    return samples if pattern is None else samples & pattern


@pytest.fixture(scope="module")
def image():
    """A beating heart with a slow phase, (frame, y, x)."""
    made = simulate(slices=1, frames=FRAMES, coils=4, y=N, x=N)
    v, u = torch.meshgrid(torch.linspace(-1, 1, N), torch.linspace(-1, 1, N), indexing="ij")
    slow = torch.exp(1j * (1.2 * u + 0.8 * v + u * v + 0.9 * v**2))
    return made.image[:, 0].abs() * slow, made.maps


def scan_of(image, maps, samples):
    kspace = acquire(image, maps, noise_sigma(image, 40), 1) * samples[:, None]
    return Scan.from_kspace(kspace[:, None], SamplingMask.of(samples))


def error(result, image):
    return float((result.images[:, 0].abs() - image.abs()).norm() / image.abs().norm())


CUTS = {
    "partial Fourier 6/8": part(slice(N // 4, N)),
    "partial Fourier 5/8": part(slice(0, 5 * N // 8)),
    "partial Fourier and R 2": part(
        slice(N // 4, N),
        pattern=make_mask("kt-uniform", frames=FRAMES, y=N, x=N, acceleration=2, acs=16),
    ),
    "asymmetric echo": part(slice(None), slice(N // 4, N)),
}


@pytest.mark.parametrize("samples", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("method", ["sense", "kt-wavelet"])
def test_a_missing_side_is_filled(image, method, samples):
    truth, maps = image
    result = cmrrecon.reconstruct(scan_of(truth, maps, samples), method, **GIVEN)
    zeros = torch.where(samples, torch.fft.fftshift(torch.fft.fft2(truth)), 0)
    cut = torch.fft.ifft2(torch.fft.ifftshift(zeros)).abs()
    floor = float((cut - truth.abs()).norm() / truth.abs().norm())
    assert error(result, truth) < 0.55 * floor
    assert any("conjugate symmetry" in text for text in result.warnings)


def test_without_a_missing_side_nothing_changes(image):
    truth, maps = image
    for samples in (part(), part(slice(6, N - 5))):
        assert cmrrecon.reconstruct(scan_of(truth, maps, samples), "sense", **GIVEN).warnings == ()


def test_a_phase_that_jumps_is_not_used_for_filling(image):
    truth, maps = image
    bright = truth.abs()[0] > 0.6 * truth.abs().max()
    jumping = truth * torch.exp(1j * bright)
    samples = CUTS["partial Fourier 5/8"]
    scan = scan_of(jumping, maps, samples)
    result = cmrrecon.reconstruct(scan, "kt-wavelet", **GIVEN)
    assert "varies too fast" in result.warnings[0]


def test_velocity_images_are_not_filled(image):
    scan = scan_of(*image, CUTS["partial Fourier 6/8"])
    flow = replace(scan, acquisition=replace(scan.acquisition, modality="Flow2d"))
    (warning,) = cmrrecon.reconstruct(flow, "sense", **GIVEN).warnings
    assert "velocities" in warning


@pytest.mark.parametrize(
    ("method", "words"), [("zero-filled", "stays zero"), ("grappa", "measured extent")]
)
def test_direct_methods_say_that_they_keep_zeros(image, method, words):
    truth, maps = image
    lines = CUTS["partial Fourier and R 2"][..., :1]
    (warning,) = cmrrecon.reconstruct(scan_of(truth, maps, lines), method).warnings
    assert warning.startswith("partial Fourier: ")
    assert words in warning


def test_auto_leaves_the_network_out(image):
    truth, maps = image
    auto = find_method("auto")
    for samples, there in ((part(slice(16, N))[..., :1], False), (part()[..., :1], True)):
        series = scan_of(truth, maps, samples).series(0)
        prepared = PreparedSeries(series)
        assert ("kt-unrolled" in auto._solvers(prepared, auto.options())) == there


@pytest.mark.parametrize(
    ("samples", "hidden"),
    [
        (part(slice(16, N))[..., :1], slice(16, 20)),
        (part(slice(0, 49))[..., :1], slice(45, 49)),
    ],
)
def test_holdout_samples_lie_next_to_the_cut(samples, hidden):
    expected = torch.zeros((1, N, 1), dtype=torch.bool)
    expected[:, hidden] = True
    assert torch.equal(next_to_cut(SamplingMask.of(samples)), expected)
