"""How far to trust a result: residual, training range, uncertainty."""

import json
import math
from dataclasses import replace
from functools import cache

import pytest
import torch
from kinds import mask_of

from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.data import LineMask, Series
from cmrrecon.methods.registry import find_method
from cmrrecon.operators.cartesian import encoding
from cmrrecon.operators.fourier import ifftc
from cmrrecon.operators.noise import noise_level, noise_samples
from cmrrecon.reconstruction.misfit import misfit
from cmrrecon.reconstruction.trust import (
    LABELS,
    envelope_of,
    facts_of,
    outside,
    uncertainty,
)
from cmrrecon.sampling import make_mask
from cmrrecon.simulation import simulate


def data_residual(fit):
    return misfit(fit)["data_residual"]


@cache
def full(snr_db, coils):
    made = simulate("cine", frames=4, slices=1, coils=coils, y=64, x=96, seed=3, snr_db=snr_db)
    return made.scan.series(0).kspace


def cine(acceleration=4, snr_db=30.0, coils=6):
    mask = make_mask("kt-gaussian", frames=4, y=64, x=96, acceleration=acceleration, acs=16, seed=1)
    return Series(full(snr_db, coils) * mask[:, None], mask_of(mask))


@pytest.fixture(scope="module")
def prepared():
    return PreparedSeries(cine())


@pytest.fixture(scope="module")
def outcome(prepared):
    """Images with an automatic decision."""
    method = find_method("temporal-tv")
    decision = method.decide(prepared, method.options())
    return method.reconstruct(prepared, method.options(), decision)


def outcome_of(prepared, method="sense", weight=0.01, iterations=10):
    chosen = find_method(method)
    options = {"weight": weight, "iterations": iterations} if method != "grappa" else {}
    return chosen.reconstruct(prepared, chosen.options(options))


def times(factor, outcome):
    return replace(outcome.fit, x=factor * outcome.fit.x)


def test_good_images_leave_the_noise(prepared, outcome):
    assert data_residual(outcome.fit) == pytest.approx(1, abs=0.15)
    auto = find_method("auto")
    decision = auto.decide(prepared, auto.options())
    found = auto.reconstruct(prepared, auto.options(), decision)
    assert data_residual(found.fit) == pytest.approx(1, abs=0.15)


def test_the_residual_is_the_norm_of_the_unexplained_part(prepared):
    """The shortcut by normal operators agrees with A x - y itself.

    All coils count, and the columns that coils see, relative to the noise.
    """
    found, series = outcome_of(prepared, "temporal-tv", 0.05), prepared.series
    images, coils, mask = found.images, found.fit.coils, series.mask
    seen = coils.columns.stop - coils.columns.start
    noise = (
        noise_level(noise_samples(series.kspace, mask)).square().sum() * mask.samples.sum() * seen
    )
    for factor in (1.0, 0.5):
        missed = encoding(coils.measured, mask)(factor * images) - series.kspace
        left = ifftc(missed, -1)[..., coils.columns]
        expected = float(left.norm() / noise.sqrt())
        assert data_residual(times(factor, found)) == pytest.approx(expected, rel=0.02)


def test_wrong_images_leave_more(prepared, outcome):
    assert data_residual(times(0.8, outcome)) > 1.5
    turned = replace(outcome.fit, x=outcome.fit.x.flip(1))
    assert data_residual(turned) > 3


def test_the_residual_does_not_depend_on_the_scale(prepared):
    scaled = PreparedSeries(prepared.series.scaled(1e-8))
    expected = data_residual(outcome_of(prepared).fit)
    assert data_residual(outcome_of(scaled).fit) == pytest.approx(expected, rel=1e-3)


def test_no_residual_without_a_term_or_known_noise(prepared):
    assert data_residual(outcome_of(prepared, "grappa").fit) is None
    centre = torch.zeros_like(prepared.mask.samples)
    centre[:, 24:40] = True
    few = PreparedSeries(Series(prepared.kspace * centre[:, None], LineMask(centre)))
    assert data_residual(outcome_of(few).fit) is None


def test_no_residual_along_a_trajectory():
    pytest.importorskip("finufft")
    made = simulate("cine", frames=3, slices=1, coils=4, y=48, x=64, spokes=21)
    radial = PreparedSeries(made.scan.series(0))
    assert data_residual(outcome_of(radial, iterations=2).fit) is None
    assert set(facts_of(radial)) == {"frames", "effective_acceleration"}


def test_facts_describe_the_scan(prepared):
    facts = facts_of(prepared)
    assert set(facts) == set(LABELS)
    assert facts["frames"] == 4
    assert 2 < facts["effective_acceleration"] < 4
    assert 1 < facts["independent_coils"] < 6
    noisy = facts_of(PreparedSeries(cine(snr_db=10.0)))
    assert noisy["snr_db"] == pytest.approx(facts["snr_db"] - 20, abs=2)
    assert facts_of(PreparedSeries(cine(coils=1)))["independent_coils"] == pytest.approx(1)


def test_properties_outside_the_range_are_named(prepared):
    facts = facts_of(prepared)
    wide = dict.fromkeys(facts, (-math.inf, math.inf))
    assert outside(facts, wide) == []
    (words,) = outside(facts, {**wide, "frames": (8, 14)})
    assert words == "frames 4 (trained on 8 to 14)"
    assert outside(facts, {}) == []
    assert outside({}, wide) == []


@pytest.mark.parametrize(
    "stored", ["", "[]", "{", '{"frames": 3}', '{"frames": ["a", "b"]}', "null", "3"]
)
def test_a_damaged_envelope_is_ignored(stored):
    assert envelope_of({"envelope": stored} if stored else {}) == {}


def test_an_envelope_is_read():
    stored = json.dumps({"frames": [1, 14], "other": [0, 1]})
    assert envelope_of({"envelope": stored}) == {"frames": (1.0, 14.0)}


def quick(part):
    return find_method("temporal-tv")(part, {"weight": 0.01, "iterations": 10})


def test_uncertainty_is_reproducible_and_largest_where_lines_matter(prepared):
    found = uncertainty(prepared.series, quick, 3)
    assert found.shape == (4, 64, 96)
    assert torch.equal(found, uncertainty(prepared.series, quick, 3))
    assert not torch.equal(found, uncertainty(prepared.series, quick, 3, seed=1))
    few = uncertainty(cine(acceleration=12), quick, 3)
    assert float(few.mean()) > float(found.mean())


def test_uncertainty_keeps_the_calibration(prepared):
    seen, whole = [], prepared.series

    def reconstruct(part):
        seen.append(part)
        return part.kspace[:, 0]

    uncertainty(whole, reconstruct, 2)
    for part in seen:
        samples = part.mask.samples
        assert isinstance(part.mask, LineMask)
        assert bool(samples[:, 24:40].all())
        assert int(samples.sum()) < int(whole.mask.samples.sum())
        assert bool((part.kspace * ~samples[:, None] == 0).all())


def test_uncertainty_is_the_standard_deviation_of_the_replicates(prepared):
    images = iter([torch.full((1, 2, 2), value) for value in (1.0, 2.0, 6.0)])
    found = uncertainty(prepared.series, lambda part: next(images), 3)
    torch.testing.assert_close(found, torch.full((1, 2, 2), 7.0**0.5))


def test_constant_images_have_no_uncertainty(prepared):
    found = uncertainty(prepared.series, lambda part: torch.ones(4, 64, 96), 4)
    assert float(found.max()) < 1e-6
