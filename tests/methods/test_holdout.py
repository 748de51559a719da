from dataclasses import replace

import pytest
import torch
from kinds import mask_of, normal

from cmrrecon.classical.coils import estimate_coils
from cmrrecon.classical.prepared import normalisation
from cmrrecon.classical.problem import Problem
from cmrrecon.data import Series
from cmrrecon.methods.holdout import FEWEST_LINES, PATCH, HeldOut, hide, noise_energy
from cmrrecon.operators.cartesian import encoding
from cmrrecon.operators.sensitivity import calibration_region
from cmrrecon.sampling import make_mask
from cmrrecon.simulation import simulate


@pytest.fixture(scope="module")
def full():
    """A fully sampled simulated cine (6 frames, 5 coils, 48 x 64)."""
    return simulate("cine", frames=6, slices=1, coils=5, y=48, x=64, seed=3).scan.series(0)


def sampled(full, pattern, acceleration, acs=12):
    frames, _, y, x = full.kspace.shape
    mask = make_mask(pattern, frames=frames, y=y, x=x, acceleration=acceleration, acs=acs, seed=1)
    return Series(full.kspace * mask[:, None], mask_of(mask))


@pytest.mark.parametrize("pattern", ["kt-gaussian", "kt-uniform", "uniform"])
@pytest.mark.parametrize("acceleration", [4, 8, 16])
def test_hidden_lines_are_measured_lines_outside_the_calibration_region(full, pattern, acceleration):
    series = sampled(full, pattern, acceleration)
    hidden = hide(series)
    assert hidden.shape[2] == 1
    assert not (hidden & ~series.mask).any()
    y, x = calibration_region(mask_of(series.mask))
    assert not hidden[:, y, x].any()
    lines = int(hidden.expand(6, -1, -1).sum())
    free = int(series.mask.expand(6, -1, -1).sum()) - 6 * (y.stop - y.start)
    assert FEWEST_LINES <= lines <= max(FEWEST_LINES + 6, 0.2 * free)
    assert torch.equal(hide(series), hidden)


def test_lines_that_all_frames_share_are_hidden_in_all(full):
    hidden = hide(sampled(full, "uniform", 4))
    assert len(hidden) == 1


def test_patches_are_contiguous_and_outside_the_calibration_region(full):
    series = sampled(full, "kt-radial", 6)
    hidden = hide(series)
    assert not (hidden & ~series.mask).any()
    y, x = calibration_region(mask_of(series.mask))
    assert not hidden[:, y, x].any()
    for t in range(6):
        for py, px in hidden[t].nonzero().tolist():
            tile = slice(py // PATCH * PATCH, (py // PATCH + 1) * PATCH), slice(px // PATCH * PATCH, (px // PATCH + 1) * PATCH)
            inside = torch.zeros_like(series.mask[t])
            inside[tile] = True
            inside[y, x] = False
            assert torch.equal(hidden[t][tile], (series.mask[t] & inside)[tile])


def test_nothing_is_hidden_where_nothing_can_be(full):
    only_acs = torch.zeros((1, 48, 1), dtype=torch.bool)
    only_acs[:, 18:30] = True
    assert hide(Series(full.kspace * only_acs[:, None], mask_of(only_acs))) is None
    few = only_acs.clone()
    few[:, [2, 9, 40]] = True
    assert hide(Series((full.kspace * few[:, None])[:1], mask_of(few))) is None


@pytest.mark.parametrize("pattern", ["kt-gaussian", "kt-radial"])
def test_error_is_the_squared_distance_from_the_hidden_samples(full, pattern):
    series = sampled(full, pattern, 6)
    series = series.scaled(1 / normalisation(series))
    hidden, coils = hide(series), estimate_coils(series)
    coils = replace(coils, columns=slice(0, 64))
    held_out = HeldOut(series, 1.0, hidden, coils)
    problem = Problem.of(normal(replace(series, mask=series.mask & ~hidden)), coils)
    x = problem.start
    missed = series.kspace * hidden[:, None] - encoding(coils.measured, mask_of(hidden))(x)
    # All coils are kept, so the maps of the measured coils are as good as those of the virtual ones.
    expected = float(missed.abs().square().sum() / (series.kspace * hidden[:, None]).abs().square().sum())
    assert held_out(x) == pytest.approx(expected, rel=1e-3)
    assert held_out(torch.zeros_like(x)) == 1


def test_columns_are_judged_by_their_own_part(full):
    series = sampled(full, "kt-gaussian", 6)
    coils = estimate_coils(series)
    part = replace(coils, columns=slice(20, 40))
    hidden = hide(series)
    whole, cut = HeldOut(series, 1.0, hidden, replace(coils, columns=slice(0, 64))), HeldOut(series, 1.0, hidden, part)
    assert 0 < cut.energy < whole.energy
    x = torch.zeros((6, 48, 64), dtype=torch.complex64)
    x[..., 20:40] = Problem.of(normal(series), part).start
    assert 1 - whole(x) == pytest.approx((1 - cut(x[..., 20:40])) * cut.energy / whole.energy, rel=1e-3)


def test_spokes_are_hidden_whole_and_a_perfect_image_predicts_them():
    pytest.importorskip("finufft")
    made = simulate("cine", frames=3, slices=1, coils=4, y=48, x=64, spokes=21, snr_db=float("inf"))
    series = made.scan.series(0)
    hidden = hide(series)
    assert hidden.shape[1:] == (21, 1)
    assert int(hidden.expand(3, -1, -1).sum()) >= FEWEST_LINES
    held_out = HeldOut(series, 1.0, hidden, Coils(made.maps, made.maps, slice(0, 48)))
    assert held_out(made.image[:, 0]) == pytest.approx(0, abs=2e-3)
    assert held_out(torch.zeros_like(made.image[:, 0])) == 1


def test_empty_coils_change_no_noise(full):
    series = sampled(full, "kt-gaussian", 4)
    hidden, problem = hide(series), Problem.of(normal(series), estimate_coils(series))
    padded = replace(series, kspace=torch.cat([series.kspace, torch.zeros_like(series.kspace)], 1))
    expected = noise_energy(series, hidden, problem, 1.0)
    assert noise_energy(padded, hidden, problem, 1.0) == pytest.approx(expected, rel=1e-5)
    assert expected > 0
