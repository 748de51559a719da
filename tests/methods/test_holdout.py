"""Hold-out samples of a series, and how well images predict them."""

from dataclasses import replace

import pytest
import torch

from cmrrecon.classical.coils import Coils, estimate_coils
from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.classical.problem import LeastSquares, Problem
from cmrrecon.data import LineMask, Series
from cmrrecon.methods.holdout import (
    FEWEST_LINES,
    PATCH,
    HeldOut,
    count_hidden,
    describe_hidden,
    draw_share,
    hide,
    measured_energy,
    noise_energy,
)
from cmrrecon.operators.cartesian import encoding
from cmrrecon.operators.sensitivity import calibration_region
from cmrrecon.simulation import simulate

SIZE = {"frames": 6, "y": 48, "x": 64}


@pytest.fixture
def measured(sampled):
    """Makes an undersampled cine of 6 frames and 6 coils, 48 x 64."""

    def make(pattern, acceleration):
        return sampled(pattern, acceleration, **SIZE)

    return make


@pytest.mark.parametrize("pattern", ["kt-gaussian", "kt-uniform", "uniform"])
@pytest.mark.parametrize("acceleration", [4, 8, 16])
def test_holdout_lines_are_measured_lines_outside_the_calibration_region(
    measured, pattern, acceleration
):
    series = measured(pattern, acceleration)
    hidden, mask = hide(series), series.mask
    assert hidden.shape[2] == 1
    assert not (hidden & ~mask.samples).any()
    y, x = calibration_region(mask)
    assert not hidden[:, y, x].any()
    lines = int(hidden.expand(6, -1, -1).sum())
    free = int(mask.over(6).sum()) - 6 * (y.stop - y.start)
    assert FEWEST_LINES <= lines <= max(FEWEST_LINES + 6, 0.2 * free)
    assert count_hidden(mask.chosen(hidden), 6) == lines
    assert describe_hidden(mask.chosen(hidden), 6) == f"{lines} lines"
    assert torch.equal(hide(series), hidden)


def test_if_the_time_average_calibrates_any_line_may_be_held_out(sampled):
    series = sampled("kt-uniform", 4, acs=0, **SIZE)
    hidden = hide(series)
    assert not (hidden & ~series.mask.samples).any()
    assert hidden[:, 16:32].any()


def test_samples_for_calibration_only_are_not_held_out(measured):
    series = measured("kt-gaussian", 4)
    only = torch.zeros_like(series.mask.samples)
    only[:, ::2] = True
    mask = replace(series.mask, calibration_only=only & series.mask.samples)
    assert not (hide(replace(series, mask=mask)) & only).any()


def test_lines_that_all_frames_share_are_held_out_in_all(measured):
    assert len(hide(measured("uniform", 4))) == 1


def test_patches_are_contiguous_and_outside_the_calibration_region(measured):
    series = measured("kt-radial", 6)
    hidden, samples = hide(series), series.mask.samples
    assert not (hidden & ~samples).any()
    y, x = calibration_region(series.mask)
    assert not hidden[:, y, x].any()
    tiles = set()
    for t, py, px in hidden.nonzero().tolist():
        tiles.add((t, py // PATCH, px // PATCH))
        down, right = py // PATCH * PATCH, px // PATCH * PATCH
        tile = slice(down, down + PATCH), slice(right, right + PATCH)
        inside = torch.zeros_like(samples[t])
        inside[tile] = True
        inside[y, x] = False
        assert torch.equal(hidden[t][tile], (samples[t] & inside)[tile])
    assert describe_hidden(series.mask.chosen(hidden), 6) == f"{len(tiles)} patches of samples"


def test_nothing_is_held_out_if_too_little_was_measured(full):
    kspace = full(**SIZE)[0].kspace
    only_acs = torch.zeros((1, 48, 1), dtype=torch.bool)
    only_acs[:, 18:30] = True
    assert hide(Series(kspace * only_acs[:, None], LineMask(only_acs))) is None
    few = only_acs.clone()
    few[:, [2, 9, 40]] = True
    assert hide(Series((kspace * few[:, None])[:1], LineMask(few))) is None


@pytest.mark.parametrize(("places", "fewest", "chosen"), [(7, 4, None), (8, 4, 4), (100, 4, 10)])
def test_a_share_is_drawn_unless_too_little_would_remain(places, fewest, chosen):
    units = torch.zeros((1, 100), dtype=torch.bool)
    units[:, :places] = True
    drawn = draw_share(units, fewest)
    assert (drawn is None) == (chosen is None)
    if chosen:
        assert int(drawn.sum()) == chosen
        assert not (drawn & ~units).any()


def test_every_distance_from_the_centre_has_its_share():
    """One of every ten lines by distance; here two lines have the same distance."""
    drawn = draw_share(torch.ones((1, 101), dtype=torch.bool), 4)[0]
    distances = (drawn.nonzero().flatten() - 50).abs().sort().values
    assert len(distances) == 10
    for number, distance in enumerate(distances.tolist()):
        assert 5 * number - 1 <= distance <= 5 * (number + 1) + 1


@pytest.mark.parametrize("pattern", ["kt-gaussian", "kt-radial"])
def test_the_error_is_the_squared_distance_from_the_holdout_samples(measured, pattern):
    series = measured(pattern, 6)
    whole = PreparedSeries(series)
    hidden = hide(series)
    coils = replace(whole.coils(), columns=slice(0, 64))
    held_out = HeldOut(whole, hidden, coils)
    x = Problem.of(whole.part(series.mask.without(hidden)), coils).start
    # All coils are kept, so the maps of the measured coils are as good as those of virtual ones.
    kspace = series.kspace / whole.scale * hidden[:, None]
    missed = kspace - encoding(coils.measured, series.mask.chosen(hidden))(x)
    expected = float(missed.abs().square().sum() / kspace.abs().square().sum())
    assert held_out(x) == pytest.approx(expected, rel=1e-3)
    assert held_out(torch.zeros_like(x)) == 1
    assert held_out.energy == pytest.approx(float(kspace.abs().square().sum()), rel=1e-4)


def test_columns_are_judged_by_their_own_signal(measured):
    series = measured("kt-gaussian", 6)
    prepared, coils = PreparedSeries(series, 1.0), estimate_coils(series)
    hidden, part = hide(series), replace(coils, columns=slice(20, 40))
    whole = HeldOut(prepared, hidden, replace(coils, columns=slice(0, 64)))
    cut = HeldOut(prepared, hidden, part)
    assert 0 < cut.energy < whole.energy
    x = torch.zeros((6, 48, 64), dtype=torch.complex64)
    x[..., 20:40] = Problem.of(prepared, part).start
    explained = (1 - cut(x[..., 20:40])) * cut.energy
    assert 1 - whole(x) == pytest.approx(explained / whole.energy, rel=1e-3)


def test_spokes_are_held_out_whole_and_a_perfect_image_predicts_them():
    pytest.importorskip("finufft")
    size = {"frames": 3, "slices": 1, "coils": 4, "y": 48, "x": 64}
    made = simulate("cine", **size, spokes=21, snr_db=float("inf"))
    series = made.scan.series(0)
    hidden = hide(series)
    assert hidden.shape[1:] == (21, 1)
    assert int(hidden.expand(3, -1, -1).sum()) >= FEWEST_LINES
    assert describe_hidden(series.mask.chosen(hidden), 3).endswith("spokes")
    coils = Coils(made.maps, made.maps, slice(0, 48))
    held_out = HeldOut(PreparedSeries(series, 1.0), hidden, coils)
    assert held_out(made.image[:, 0]) == pytest.approx(0, abs=2e-3)
    assert held_out(torch.zeros_like(made.image[:, 0])) == 1


def test_empty_coils_do_not_change_the_noise(measured):
    series = measured("kt-gaussian", 4)
    coils = estimate_coils(series)
    zeros = torch.zeros_like(series.kspace)
    padded = replace(series, kspace=torch.cat([series.kspace, zeros], 1))
    maps = torch.cat([coils.measured, torch.zeros_like(coils.measured)])

    def noise(one, known):
        hidden = PreparedSeries(one, 1.0).part(one.mask.chosen(hide(one)))
        return noise_energy(hidden, LeastSquares.of(hidden, known))

    expected = noise(series, coils)
    assert noise(padded, Coils(maps, maps, coils.columns)) == pytest.approx(expected, rel=1e-5)
    assert expected > 0


def test_noise_alone_has_the_energy_of_noise(full):
    """Lines of pure noise: the measured energy is the predicted noise energy."""
    kspace = full(**SIZE)[0].kspace
    noise = torch.randn(
        kspace.shape, dtype=kspace.dtype, generator=torch.Generator().manual_seed(0)
    )
    lines = torch.zeros((1, 48, 1), dtype=torch.bool)
    lines[:, ::3] = True
    lines[:, 18:30] = True
    prepared = PreparedSeries(Series(kspace * lines[:, None], LineMask(lines)))
    coils = prepared.coils()
    only = PreparedSeries(Series(noise * lines[:, None], LineMask(lines)), 1.0)
    term = LeastSquares.of(only, coils)
    assert noise_energy(only, term) == pytest.approx(measured_energy(only, term), rel=0.1)
