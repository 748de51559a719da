"""What a prepared series computes once: scale, coils and noise."""

import gc
import weakref
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from kinds import mask_of
from refusals import refused

from cmrrecon.classical import prepared as module
from cmrrecon.classical.coils import (
    calibration_samples,
    coil_maps,
    estimate_coils,
    reference_block,
)
from cmrrecon.classical.prepared import PreparedSeries, normalisation
from cmrrecon.classical.problem import Problem
from cmrrecon.data import Noise, Series, SpokeMask, Trajectory
from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import fft2c
from cmrrecon.operators.noise import noise_level, noise_samples
from cmrrecon.operators.sensitivity import MOST_COLUMNS, MOST_LINES, calibration_block

LINES = torch.ones((1, 32, 1), dtype=torch.bool)


def disc(factor=1.0, frames=4, coils=1, n=32):
    """K-space of a disc of brightness `factor` in every coil."""
    r = torch.linspace(-1, 1, n)
    image = ((r[:, None] ** 2 + r**2) < 0.5).to(torch.complex64)
    return fft2c(image.expand(frames, coils, n, n)) * factor


# Scale


@pytest.mark.parametrize("factor", [1e-11, 1e7])
def test_scale_follows_the_data_and_not_the_mask(factor):
    scale = normalisation(Series(disc(factor), mask_of(LINES)))
    assert scale == pytest.approx(factor, rel=1e-3)
    interleaved = torch.zeros((4, 32, 1), dtype=torch.bool)
    for t in range(4):
        interleaved[t, t::4] = True
    undersampled = Series(disc(factor) * interleaved[:, None], mask_of(interleaved))
    assert normalisation(undersampled) == pytest.approx(scale, rel=1e-3)


@pytest.mark.skipif(find_spec("finufft") is None, reason="needs finufft, the extra nufft")
def test_scale_is_the_same_for_cartesian_positions_given_as_a_trajectory():
    along = torch.arange(24) - 12
    positions = torch.stack(torch.meshgrid(along, along, indexing="ij"), -1)[None].float()
    kspace = disc(7e-5, frames=2, coils=3, n=24)
    samples = torch.ones((1, 24, 1), dtype=torch.bool)
    spokes = SpokeMask(samples, trajectory=Trajectory(positions, (24, 24)))
    cartesian = normalisation(Series(kspace, mask_of(samples)))
    assert normalisation(Series(kspace, spokes)) == pytest.approx(cartesian, rel=1e-2)


@pytest.mark.parametrize("factor", [0.0, float("nan"), float("inf")])
def test_kspace_without_a_scale_is_refused(factor):
    with refused("kspace-no-signal"):
        PreparedSeries(Series(disc() * factor, mask_of(LINES)))


def test_the_normalised_series_has_scale_one():
    prepared = PreparedSeries(Series(disc(1e-9), mask_of(LINES)))
    assert prepared.scale == normalisation(prepared.series)
    torch.testing.assert_close(prepared.normalised().kspace, prepared.kspace / prepared.scale)
    assert normalisation(prepared.normalised()) == pytest.approx(1, rel=1e-5)
    assert PreparedSeries(prepared.series, 5.0).scale == 5


# Coils


@pytest.fixture
def counted(monkeypatch):
    """The calls of `estimate_coils` that a prepared series makes."""
    calls = []

    def counting(series, virtual):
        calls.append(virtual)
        return estimate_coils(series, virtual)

    monkeypatch.setattr(module, "estimate_coils", counting)
    return calls


def test_coils_are_estimated_once_for_each_number_of_virtual_coils(cine, counted):
    prepared = PreparedSeries(cine()[0])
    assert counted == []
    assert prepared.coils() is prepared.coils()
    assert prepared.coils(2) is prepared.coils(2)
    assert len(prepared.coils(2).maps) == 2
    assert counted == [None, 2]


def test_a_part_shares_scale_coils_and_noise(cine, counted):
    prepared = PreparedSeries(cine()[0])
    hidden = torch.zeros((1, 45, 1), dtype=torch.bool)
    hidden[:, 16:28] = True
    part = prepared.part(prepared.mask.without(hidden))
    assert not part.mask.samples[:, 16:28].any()
    assert part.kspace is prepared.kspace
    assert part.scale == prepared.scale
    assert part.coils(3) is prepared.coils(3)
    assert part.part(part.mask).coils(3) is prepared.coils(3)
    assert part.noise_power is prepared.noise_power
    assert counted == [3]


def test_a_part_is_solved_as_if_nothing_else_was_measured(cine):
    series, _ = cine(frames=3, moving=True)
    prepared = PreparedSeries(series)
    hidden = torch.rand((3, 45, 1), generator=torch.Generator().manual_seed(0)) < 0.3
    part = prepared.part(prepared.mask.without(hidden))
    alone = PreparedSeries(series.kept(series.mask.samples & ~hidden), prepared.scale)
    problem, other = (Problem.of(one, prepared.coils()) for one in (part, alone))
    torch.testing.assert_close(problem.rhs, other.rhs)
    torch.testing.assert_close(problem.start, other.start)
    torch.testing.assert_close(problem.A.N(problem.start), other.A.N(problem.start))


def test_separate_calibration_lines_make_the_maps(cine):
    full = cine(step=1)[0]
    series = cine(step=3, acs=0)[0]
    with refused("calibration-too-small"):
        PreparedSeries(series).coils()
    block = calibration_block(full.kspace, full.mask)
    assert torch.equal(calibration_samples(full), block)
    # Measured separately, on any scale.
    separate = replace(series, calibration=1e6 * block)
    assert torch.equal(calibration_samples(separate), 1e6 * block)
    maps = PreparedSeries(separate).coils(4).measured
    torch.testing.assert_close(maps, PreparedSeries(full).coils(4).measured, atol=1e-3, rtol=0)


def test_reference_lines_lose_empty_ends_and_are_limited_to_the_middle():
    lines = torch.ones((2, 60, 300), dtype=torch.complex64)
    lines[:, :10] = lines[..., 250:] = 0
    assert reference_block(lines).shape == (2, MOST_LINES, MOST_COLUMNS)
    assert bool((reference_block(lines) != 0).all())
    assert reference_block(lines[:, :20]).shape == (2, 10, MOST_COLUMNS)


def test_supplied_maps_are_used_instead_of_calibration_lines(cine):
    full = cine(step=1, coils=12)[0]
    maps = estimate_coils(full, virtual=12).measured
    series = replace(cine(step=3, acs=0, coils=12)[0], maps=7 * maps)
    coils = PreparedSeries(series).coils(12)
    torch.testing.assert_close(coils.measured, maps, atol=1e-4, rtol=0)
    few = PreparedSeries(series).coils(4)
    assert few.maps.shape[0] == 4
    size = rss(few.maps)
    torch.testing.assert_close(size[size > 0], torch.ones(int((size > 0).sum())))
    torch.testing.assert_close(coil_maps(series), maps, atol=1e-4, rtol=0)


def test_supplied_maps_are_zero_where_they_see_nothing_and_must_fit(cine):
    series = cine(step=3, acs=0)[0]
    maps = torch.ones((4, 45, 56), dtype=torch.complex64)
    maps[:, :, :20] = 1e-7
    maps[0, 0, 50] = complex("nan")
    coils = PreparedSeries(replace(series, maps=maps)).coils()
    assert coils.columns == slice(20, 56)
    assert torch.isfinite(torch.view_as_real(coils.maps)).all()
    with refused("maps-shape"):
        PreparedSeries(replace(series, maps=maps[:3])).coils()
    with refused("maps-empty"):
        PreparedSeries(replace(series, maps=0 * maps[:, :, :20].repeat(1, 1, 3)[..., :56])).coils()


# Noise


def test_noise_is_estimated_from_the_ends_of_kspace_without_a_noise_scan(cine):
    series = cine(step=1, shape=(96, 64))[0]
    prepared = PreparedSeries(series)
    expected = (
        noise_level(noise_samples(series.kspace, series.mask)).double().square() / prepared.scale**2
    )
    assert prepared.noise_power.dtype == torch.float64
    torch.testing.assert_close(prepared.noise_power, expected)
    assert prepared.noise_power is prepared.noise_power
    tenfold = PreparedSeries(series.scaled(10)).noise_power
    torch.testing.assert_close(tenfold, prepared.noise_power, rtol=1e-4, atol=0)


def test_measured_noise_is_used_unchanged(cine):
    series = cine()[0]
    covariance = torch.diag(torch.tensor([1.0, 2, 3, 4])).to(torch.complex64)
    covariance[0, 1] = covariance[1, 0] = 0.5
    prepared = PreparedSeries(replace(series, noise=Noise(covariance, 1000)))
    expected = torch.tensor([1.0, 2, 3, 4], dtype=torch.float64) / prepared.scale**2
    torch.testing.assert_close(prepared.noise_power, expected)
    again = PreparedSeries(prepared.normalised())
    torch.testing.assert_close(again.noise_power, expected, rtol=1e-4, atol=0)


def test_noise_is_unknown_without_suitable_samples(cine):
    series = cine(step=45, acs=12)[0]
    series.mask.samples[:, 0] = False
    assert PreparedSeries(series).noise_power is None
    trajectory = Trajectory(torch.zeros((1, 45, 56, 2)), (8, 8))
    mask = SpokeMask(series.mask.samples, trajectory=trajectory)
    assert PreparedSeries(replace(series, mask=mask), 1.0).noise_power is None


@pytest.mark.parametrize("whiten", [None, True])
def test_a_series_is_freed_as_soon_as_nobody_uses_it(whiten):
    """Reference cycles would keep the k-space of several slices until the next collection."""
    noise = torch.randn(4, 3, 32, 32, 2, generator=torch.Generator().manual_seed(0))
    kspace = disc(coils=3) + 0.01 * torch.view_as_complex(noise)
    gc.disable()
    try:
        prepared = PreparedSeries(Series(kspace, mask_of(LINES)), whiten=whiten)
        assert (prepared.white is prepared) == (whiten is None)
        prepared.white.coils()
        alive = weakref.ref(prepared)
        del prepared
        assert alive() is None
    finally:
        gc.enable()
