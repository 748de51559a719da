"""Whitened coils: less noise from bad coils, on the scale of the measured ones."""

from dataclasses import replace

import pytest
import torch
from refusals import refused

from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.classical.whitening import Whitening, without_chance
from cmrrecon.data import LineMask, Noise, SampleMask, Scan
from cmrrecon.methods.decision import Decision
from cmrrecon.methods.registry import find_method
from cmrrecon.operators.coils import rss
from cmrrecon.reconstruction.scan import reconstruct
from cmrrecon.sampling import make_mask
from cmrrecon.simulation import simulate
from cmrrecon.tools.errors import InputError

SIGMA = 0.02


def noisy(levels=(1, 1, 20, 1, 1, 1), correlation=0.0, acceleration=2, frames=4):
    """A scan with coil noise of these levels, correlated in neighbours; its truth; its noise."""
    made = simulate("cine", frames=frames, slices=1, coils=len(levels), y=64, x=80, snr_db=80)
    kspace, image = made.scan.series(0).kspace, made.image[:, 0]
    generator = torch.Generator().manual_seed(0)
    level = SIGMA * float(image.abs().max()) * torch.tensor(levels)
    covariance = torch.diag(level.square()).to(torch.complex64)
    for i in range(len(levels) - 1):
        covariance[i, i + 1] = covariance[i + 1, i] = correlation * level[i] * level[i + 1]
    root = torch.linalg.cholesky(covariance)
    white = torch.randn(kspace.shape, dtype=torch.complex64, generator=generator)
    kspace = kspace + torch.einsum("cd,fdyx->fcyx", root, white)
    mask = make_mask("kt-uniform", frames=frames, y=64, x=80, acceleration=acceleration, acs=16)
    scan = Scan.from_kspace((kspace * mask[:, None])[:, None], mask)
    return scan, image, Noise(covariance, 4096)


def error(images, truth):
    """Relative error, without a fitted scale."""
    return float((images.abs() - truth.abs()).norm() / truth.norm())


@pytest.mark.parametrize("method", ["sense", "llr", "auto"])
def test_a_noisy_coil_does_not_spoil_the_images(method):
    scan, truth, noise = noisy()
    good, _, _ = noisy(levels=(1,) * 6)
    best = error(reconstruct(good, method).slices[0], truth)
    known = replace(scan, noise=noise)
    assert error(reconstruct(known, method).slices[0], truth) < 2 * best
    assert error(reconstruct(scan, method).slices[0], truth) < 2 * best
    assert error(reconstruct(known, method, whiten=False).slices[0], truth) > 4 * best


@pytest.mark.parametrize("level", [20, 100])
def test_refined_maps_do_not_bring_the_noise_of_a_coil_back(level):
    scan, truth, noise = noisy(levels=(1, 1, level, 1, 1, 1))
    prepared = PreparedSeries(replace(scan, noise=noise).series(0))
    method = find_method("kt-wavelet")
    made = Decision(method.name, 0.01, 20, (), "given")
    errors = [
        error(
            method.reconstruct(prepared, method.options(), replace(made, maps=maps)).images, truth
        )
        for maps in ("espirit", "refined")
    ]
    assert errors[1] < 1.05 * errors[0]


def test_magnitudes_are_the_root_sum_of_squares_of_the_measured_coils():
    scan, truth, noise = noisy(levels=(3, 1, 1, 1, 1, 1), correlation=0.4, acceleration=1)
    result = reconstruct(replace(scan, noise=noise), "sense", weight=0.0, iterations=30)
    seen = result.maps[0].abs().amax(0) > 0
    scale = (truth.abs() * result.slices[0].abs() * seen).sum() / (
        result.slices[0].abs().square() * seen
    ).sum()
    assert float(scale) == pytest.approx(1, abs=0.02)
    lit = rss(result.maps[0])[seen]
    torch.testing.assert_close(lit, torch.ones_like(lit))


def test_white_noise_is_uncorrelated_and_of_one_power():
    scan, _, noise = noisy(levels=(5, 1, 2, 1, 1, 1), correlation=0.5)
    series = replace(scan, noise=noise).series(0)
    whitening = Whitening.of(series)
    covariance = without_chance(noise.covariance, noise.samples)
    mixed = whitening.matrix @ covariance @ whitening.matrix.mH
    expected = whitening.power * torch.eye(6, dtype=torch.complex64)
    torch.testing.assert_close(mixed, expected, atol=1e-4 * whitening.power, rtol=0)
    torch.testing.assert_close(
        whitening.inverse @ whitening.matrix, torch.eye(6, dtype=torch.complex64), atol=1e-4, rtol=0
    )
    white = PreparedSeries(series).white
    assert white.white is white
    torch.testing.assert_close(
        white.noise_power, torch.full((6,), whitening.power / white.scale**2, dtype=torch.float64)
    )


def test_images_scale_with_the_data_and_their_noise():
    scan, _, noise = noisy()
    first = reconstruct(replace(scan, noise=noise), "sense").slices[0]
    factor = 2.0**-30
    smaller = replace(
        scan, read_slice=lambda index: scan.read_slice(index) * factor, noise=noise.scaled(factor)
    )
    torch.testing.assert_close(reconstruct(smaller, "sense").slices[0] / factor, first)


@pytest.mark.parametrize("levels", [(1,) * 6, (1.5, 1, 1, 1, 1, 1)])
def test_without_a_noise_scan_similar_coils_are_not_whitened(levels):
    scan, _, _ = noisy(levels)
    prepared = PreparedSeries(scan.series(0))
    assert prepared.whitening is None
    assert prepared.white is prepared


def test_signal_at_the_ends_of_the_readout_does_not_count_as_noise():
    made = simulate("cine", frames=3, slices=1, coils=6, y=64, x=80, snr_db=40)
    kspace = made.scan.series(0).kspace
    narrow = torch.fft.fftshift(kspace, -1).roll(0, -1)  # the body moves to the ends
    shift = (-1.0) ** torch.arange(80)
    moved = kspace * shift
    for data in (narrow, moved):
        assert Whitening.of(Scan.from_kspace(data[:, None]).series(0)) is None


def test_direct_methods_are_whitened_only_on_request():
    scan, _, noise = noisy()
    scan = replace(scan, noise=noise)
    plain = reconstruct(scan, "zero-filled")
    assert "whitened" not in plain.provenance
    asked = reconstruct(scan, "zero-filled", whiten=True)
    assert "4096 noise samples" in asked.provenance["whitened"]
    assert not torch.allclose(plain.slices[0], asked.slices[0], rtol=0.1)
    series = scan.series(0)
    expected = find_method("zero-filled")(Whitening.of(series).series(series))
    torch.testing.assert_close(asked.slices[0], expected)


def test_the_whitening_is_in_the_provenance():
    scan, _, noise = noisy()
    assert "estimated" in reconstruct(scan, "sense").provenance["whitened"]
    assert "factor of 20" in reconstruct(replace(scan, noise=noise), "sense").provenance["whitened"]
    assert "whitened" not in reconstruct(scan, "sense", whiten=False).provenance


def test_a_coil_without_noise_and_data_is_left_out():
    scan, truth, noise = noisy(levels=(1, 1, 20, 1, 1, 1))
    covariance = noise.covariance.clone()
    covariance[0] = covariance[:, 0] = 0
    kspace = scan.read_slice(0).clone()
    kspace[:, 0] = 0
    dead = replace(scan, read_slice=lambda _: kspace, noise=replace(noise, covariance=covariance))
    result = reconstruct(dead, "sense")
    assert not result.maps[0][0].abs().any()
    assert error(result.slices[0], truth) < 0.4


def test_a_singular_covariance_gives_levels_only_or_is_refused_on_request():
    scan, truth, noise = noisy()
    covariance = noise.covariance.clone()
    covariance[1] = covariance[0]
    covariance[:, 1] = covariance[:, 0]
    singular = replace(scan, noise=replace(noise, covariance=covariance))
    result = reconstruct(singular, "sense")
    assert error(result.slices[0], truth) < 0.2
    assert "levels only" in result.provenance["whitened"]
    with pytest.raises(InputError) as caught:
        reconstruct(singular, "sense", whiten=True)
    assert caught.value.code == "noise-covariance"


@pytest.mark.parametrize("samples", [4, 8, 16])
def test_few_noise_samples_whiten_nearly_as_well_as_many(samples):
    scan, truth, noise = noisy()
    level = noise.covariance.diagonal().sqrt()
    generator = torch.Generator().manual_seed(2)
    n = level[:, None] * torch.randn((6, samples), dtype=torch.complex64, generator=generator)
    few = replace(scan, noise=Noise(n @ n.mH / samples, samples))
    many = error(reconstruct(replace(scan, noise=noise), "sense").slices[0], truth)
    assert error(reconstruct(few, "sense").slices[0], truth) < 1.15 * many


def test_chance_correlations_are_removed_and_real_ones_kept():
    _, _, noise = noisy(levels=(1, 1, 20, 1, 1, 1))
    assert torch.equal(without_chance(noise.covariance, 4096), noise.covariance)
    _, _, noise = noisy(levels=(1, 1, 20, 1, 1, 1), correlation=0.5)
    kept = without_chance(noise.covariance, 4096)
    torch.testing.assert_close(kept, noise.covariance, rtol=0.02, atol=0)


def test_a_noisy_coil_is_found_beside_a_repeated_one():
    scan, _, _ = noisy(acceleration=1)
    kspace = scan.read_slice(0).clone()
    kspace[:, 5] = kspace[:, 4]
    repeated = replace(scan, read_slice=lambda _: kspace)
    assert reconstruct(repeated, "sense").provenance["whitened"]


def test_noise_beside_an_asymmetric_echo_is_estimated():
    scan, _, _ = noisy()
    kspace = scan.read_slice(0).clone()
    kspace[..., :20] = 0
    series = replace(scan, read_slice=lambda _: kspace, mask=None).series(0)
    assert isinstance(series.mask, SampleMask)
    found = Whitening.of(series)
    assert found is not None
    assert "factor of 2" in found.words


def test_noise_of_single_samples_is_not_estimated():
    scan, _, _ = noisy()
    series = scan.series(0)
    holes = torch.rand((4, 64, 80), generator=torch.Generator().manual_seed(0)) < 0.7
    sampled = replace(series, kspace=series.kspace * holes[:, None], mask=SampleMask(holes))
    assert Whitening.of(sampled) is None
    with pytest.raises(InputError) as caught:
        Whitening.of(sampled, wanted=True)
    assert caught.value.code == "noise-not-measurable"


def test_parts_of_a_series_share_its_whitening():
    scan, _, noise = noisy()
    prepared = PreparedSeries(replace(scan, noise=noise).series(0))
    mask = prepared.mask
    hidden = torch.zeros_like(mask.samples)
    hidden[:, 3] = True
    part = prepared.part(mask.without(hidden))
    assert part.whitening is prepared.whitening
    assert part.white.scale == prepared.white.scale
    assert isinstance(part.white.mask, LineMask)
    assert not part.white.mask.samples[:, 3].any()


def test_zero_noise_cannot_be_whitened():
    scan, _, noise = noisy()
    silent = replace(
        scan, noise=replace(noise, covariance=torch.zeros(6, 6, dtype=torch.complex64))
    )
    assert Whitening.of(silent.series(0)) is None
    with refused("noise-covariance"):
        Whitening.of(silent.series(0), wanted=True)
