"""Averaged lines: the mean of n lines has a variance of sigma^2 / n and a weight of n."""

from dataclasses import replace

import pytest
import torch

from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.classical.problem import LeastSquares
from cmrrecon.data import Noise, Scan
from cmrrecon.methods.holdout import measured_energy, noise_energy
from cmrrecon.operators.cartesian import encoding
from cmrrecon.operators.coils import rss
from cmrrecon.reconstruction.misfit import misfit
from cmrrecon.reconstruction.scan import reconstruct
from cmrrecon.sampling import make_mask
from cmrrecon.simulation import simulate
from cmrrecon.simulation.shapes import generator

FRAMES, Y, X, COILS = 3, 64, 48, 6


def averaged(counts, sigma=0.03, pattern="kt-uniform", acceleration=2):
    """A scan whose lines y are means of counts[y] measurements, its truth, and the single noise."""
    made = simulate("cine", frames=FRAMES, slices=1, coils=COILS, y=Y, x=X, snr_db=90)
    kspace, image = made.scan.series(0).kspace, made.image[:, 0]
    mask = make_mask(pattern, frames=FRAMES, y=Y, x=X, acceleration=acceleration, acs=16, seed=1)
    level = sigma * float(image.abs().max())
    noise = torch.randn(kspace.shape, dtype=torch.complex64, generator=generator(1, "noise"))
    kspace = (kspace + level * noise / counts.sqrt()[:, None]) * mask[:, None]
    scan = Scan.from_kspace(kspace[:, None], mask)
    averages = counts[None, :, None].expand(1, Y, 1)
    once = Noise(level**2 * torch.eye(COILS, dtype=torch.complex64), 4096)
    return replace(scan, mask=replace(scan.mask, averages=averages), noise=once), image


def uneven():
    """The outer lines are measured once, every other line of the rest four times."""
    counts = torch.ones(Y)
    counts[16:48:2] = 4
    return counts


@pytest.mark.parametrize("pattern", ["kt-uniform", "kt-radial"])
def test_the_encoding_weighs_and_stays_a_pair_of_adjoints(pattern):
    scan, _ = averaged(uneven(), pattern=pattern)
    mask, draw = scan.mask, torch.Generator().manual_seed(0)
    maps = torch.randn((COILS, Y, X), dtype=torch.complex64, generator=draw)
    x = torch.randn((FRAMES, Y, X), dtype=torch.complex64, generator=draw)
    k = torch.randn((FRAMES, COILS, Y, X), dtype=torch.complex64, generator=draw)
    A, plain = encoding(maps, mask), encoding(maps, replace(mask, averages=None))
    root = (uneven() / 4).sqrt()[:, None]
    torch.testing.assert_close(A(x), plain(x) * root)
    torch.testing.assert_close(A.N(x), A.H(A(x)), rtol=1e-4, atol=1e-3)
    pairs = (A(x), k), (x, A.H(k))
    left, right = (torch.vdot(a.flatten(), b.flatten()) for a, b in pairs)
    torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-2)


def test_lines_averaged_equally_often_have_weight_one():
    scan, _ = averaged(torch.full((Y,), 3.0))
    assert scan.mask.weights is None


def test_weights_lower_the_error():
    scan, truth = averaged(uneven(), sigma=0.1)
    alike = replace(scan, mask=replace(scan.mask, averages=None))

    def error(found):
        images = reconstruct(found, "sense", weight=0.01, whiten=False).slices[0]
        return float((images.abs() - truth.abs()).norm() / truth.norm())

    assert error(scan) < 0.98 * error(alike)


def test_the_least_squares_term_is_that_of_weighted_samples():
    scan, _ = averaged(uneven())
    prepared = PreparedSeries(scan.series(0), whiten=False)
    coils = prepared.coils()
    term = LeastSquares.of(prepared, coils)
    A = encoding(coils.measured, prepared.mask, coils.columns)
    x = term.rhs / term.rhs.abs().max()
    root = (uneven() / 4).sqrt()[:, None]
    left = A(x) - prepared.kspace / prepared.scale * root
    expected = (
        prepared.kspace / prepared.scale * root
    ).abs().square().sum() - left.abs().square().sum()
    assert float(term.explained(x).sum()) == pytest.approx(float(expected), rel=2e-3)


@pytest.mark.parametrize("counts", [torch.full((Y,), 4.0), uneven(), torch.ones(Y)])
def test_the_residual_is_relative_to_the_averaged_noise(counts):
    scan, _ = averaged(counts)
    assert reconstruct(scan, "llr").residuals[0] == pytest.approx(1, abs=0.12)


def test_noise_alone_has_the_energy_of_noise():
    scan, _ = averaged(uneven())
    series = scan.series(0)
    draw = generator(3, "pure noise")
    level = float(scan.noise.covariance[0, 0].real.sqrt())
    pure = torch.randn(series.kspace.shape, dtype=torch.complex64, generator=draw)
    pure = level * pure / uneven().sqrt()[:, None] * series.mask.samples[:, None]
    whole = PreparedSeries(series, whiten=False)
    noisy = PreparedSeries(replace(series, kspace=pure), whole.scale, whiten=False)
    term = LeastSquares.of(noisy, whole.coils())
    assert measured_energy(noisy, term) == pytest.approx(noise_energy(noisy, term), rel=0.05)


def test_scale_of_images_does_not_depend_on_averages():
    scan, truth = averaged(uneven(), sigma=0.001)
    images = reconstruct(scan, "sense", weight=0.001).slices[0]
    assert misfit(None)["data_residual"] is None
    inside = truth.abs() > 0.1 * truth.abs().max()
    ratio = (rss(images[:, None])[inside] / truth.abs()[inside]).median()
    assert float(ratio) == pytest.approx(1, abs=0.02)


def test_noise_estimated_from_single_lines_is_that_of_weighted_samples():
    counts = torch.ones(Y)
    counts[16:48] = 4
    scan, _ = averaged(counts)
    noise = PreparedSeries(scan.series(0), whiten=False).noise_power
    estimated = PreparedSeries(replace(scan, noise=None).series(0)).noise_power
    torch.testing.assert_close(estimated, noise, rtol=0.25, atol=0)


@pytest.mark.parametrize("counts", [torch.full((Y,), 4.0), uneven()])
def test_whitening_by_estimated_noise_accounts_for_averages(counts):
    scan, _ = averaged(counts)
    white = PreparedSeries(replace(scan, noise=None).series(0), whiten=True).white
    expected = scan.noise.covariance.diagonal().real.double() / float(counts.max())
    torch.testing.assert_close(white.noise_power * white.scale**2, expected, rtol=0.25, atol=0)


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("loud", [1, 25])
def test_the_estimated_noise_is_that_of_one_measurement(every, loud):
    """With or without a noise scan, residuals are near one and a noisy coil is whitened."""
    counts = torch.full((Y,), 4.0) if every else torch.ones(Y)
    counts[::4] = 4
    made, image = averaged(counts, sigma=0.02)
    kspace = made.read_slice(0).clone()
    noise = torch.randn(kspace[:, 2].shape, dtype=torch.complex64, generator=generator(2, "noise"))
    level = loud * 0.02 * float(image.abs().max())
    measured = made.mask.samples.expand(FRAMES, Y, X)
    kspace[:, 2] += (level * noise / counts.sqrt()[:, None]) * measured
    result = reconstruct(replace(made, read_slice=lambda _: kspace, noise=None), "sense")
    assert ("whitened" in result.provenance) == (loud > 1)
    assert 0.75 < result.residuals[0] < 1.25
