import json
import math

import pytest
import torch
from kinds import mask_of

from cmrrecon.data import Series
from cmrrecon.methods.registry import find_method
from cmrrecon.operators.cartesian import encoding
from cmrrecon.operators.coils import noise_level
from cmrrecon.operators.fourier import ifftc
from cmrrecon.reconstruction.trust import WORDS, data_residual, envelope_of, facts_of, outside, uncertainty
from cmrrecon.sampling import make_mask
from cmrrecon.simulation import simulate


def cine(pattern="kt-gaussian", acceleration=4, snr_db=30.0, coils=6, frames=4):
    made = simulate("cine", frames=frames, slices=1, coils=coils, y=64, x=160, seed=3, snr_db=snr_db)
    mask = make_mask(pattern, frames=frames, y=64, x=160, acceleration=acceleration, acs=16, seed=1)
    return Series(made.scan.series(0).kspace * mask[:, None], mask_of(mask))


@pytest.fixture(scope="module")
def series():
    return cine()


def test_good_images_leave_the_noise(series):
    for method in ("temporal-tv", "auto"):
        solved = find_method(method).solved(series)
        assert data_residual(series, solved.images, solved.coils) == pytest.approx(1, abs=0.15)


def test_residual_is_the_norm_of_what_is_not_explained(series):
    """The shortcut over normal operators agrees with A x - y itself, in all coils and the columns that coils see, over its noise."""
    solved = find_method("temporal-tv").solved(series, {"weight": 0.05, "iterations": 10})
    images, coils = solved.images, solved.coils
    seen = coils.columns.stop - coils.columns.start
    noise = noise_level(series.kspace, mask_of(series.mask)).square().sum() * series.mask.sum() * seen
    for factor in (1.0, 0.5):
        left = ifftc(encoding(coils.measured, mask_of(series.mask))(factor * images) - series.kspace, -1)[..., coils.columns]
        assert data_residual(series, factor * images, coils) == pytest.approx(float(left.norm() / noise.sqrt()), rel=0.02)


def test_wrong_images_leave_more(series):
    solved = find_method("temporal-tv").solved(series)
    assert data_residual(series, 0.8 * solved.images, solved.coils) > 1.5
    assert data_residual(series, solved.images.flip(1), solved.coils) > 3


def test_residual_does_not_depend_on_the_scale(series):
    solved = find_method("sense").solved(series)
    scaled = data_residual(series.scaled(1e-8), solved.images * 1e-8, solved.coils)
    assert scaled == pytest.approx(data_residual(series, solved.images, solved.coils), rel=1e-3)


def test_no_residual_without_maps_or_without_noise_to_compare_with(series):
    solved = find_method("grappa").solved(series)
    assert data_residual(series, solved.images, solved.coils) is None
    centre = torch.zeros_like(series.mask)
    centre[:, 24:40] = True
    few = Series(series.kspace * centre[:, None], mask_of(centre))
    solved = find_method("sense").solved(few)
    assert data_residual(few, solved.images, solved.coils) is None


def test_facts_say_what_the_scan_is_like(series):
    facts = facts_of(series)
    assert set(facts) == set(WORDS)
    assert facts["frames"] == 4
    assert 2 < facts["effective_acceleration"] < 4
    assert 1 < facts["independent_coils"] < 6
    assert facts_of(cine(snr_db=10.0))["snr_db"] == pytest.approx(facts["snr_db"] - 20, abs=2)
    assert facts_of(cine(coils=1))["independent_coils"] == pytest.approx(1)


def test_what_lies_outside_is_named(series):
    facts = facts_of(series)
    wide = dict.fromkeys(facts, (-math.inf, math.inf))
    assert outside(facts, wide) == []
    (told,) = outside(facts, {**wide, "frames": (8, 14)})
    assert told == "frames 4 (trained on 8 to 14)"
    assert outside(facts, {}) == []


@pytest.mark.parametrize("told", ["", "[]", "{", '{"frames": 3}', '{"frames": ["a", "b"]}', "null", "3"])
def test_a_damaged_envelope_says_nothing(told):
    assert envelope_of({"envelope": told} if told else {}) == {}


def test_an_envelope_is_read():
    assert envelope_of({"envelope": json.dumps({"frames": [1, 14], "other": [0, 1]})}) == {"frames": (1.0, 14.0)}


def test_uncertainty_is_reproducible_and_lies_where_lines_matter(series):
    def reconstruct(part):
        return find_method("temporal-tv")(part, {"weight": 0.01, "iterations": 10})

    found = uncertainty(series, reconstruct, 3)
    assert found.shape == (4, 64, 160)
    assert torch.equal(found, uncertainty(series, reconstruct, 3))
    assert not torch.equal(found, uncertainty(series, reconstruct, 3, seed=1))
    few = cine(acceleration=12)
    assert float(uncertainty(few, reconstruct, 3).mean()) > float(found.mean())


def test_uncertainty_keeps_the_calibration(series):
    seen = []

    def reconstruct(part):
        seen.append(part)
        return part.kspace[:, 0]

    uncertainty(series, reconstruct, 2)
    for part in seen:
        assert bool(part.mask[:, 24:40].all())
        assert int(part.mask.sum()) < int(series.mask.sum())
        assert bool((part.kspace * ~part.mask[:, None] == 0).all())


def test_what_does_not_change_is_certain(series):
    assert float(uncertainty(series, lambda part: torch.ones(4, 64, 160), 4).max()) < 1e-6
