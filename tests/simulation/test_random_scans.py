import math

import pytest
import torch
from refusals import refused

from cmrrecon.classical.prepared import normalisation
from cmrrecon.data import LineMask, SampleMask
from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import ifft2c
from cmrrecon.simulation import random_scans, simulate
from cmrrecon.simulation.random_scans import random_maps, random_scan
from cmrrecon.simulation.random_scenes import Scene, random_scene
from cmrrecon.simulation.shapes import generator


@pytest.fixture
def small(monkeypatch):
    """Makes scans small and leaves all other draws unchanged."""
    for name, value in {
        "FRAMES": (2, 3),
        "SMALL_FRAMES": (2, 3),
        "COILS": (3, 4),
        "ROWS": (32, 37),
        "COLUMNS": (48, 51),
        "SMALL": (42, 45),
    }.items():
        monkeypatch.setattr(random_scans, name, value)


@pytest.fixture(scope="module")
def many():
    return [random_scan(0, number) for number in range(16)]


def test_a_scan_does_not_depend_on_those_before_it_or_on_the_global_generator(many):
    torch.manual_seed(1)
    alone = random_scan(0, 7)
    torch.manual_seed(2)
    for made in (alone, random_scan(0, 7)):
        assert torch.equal(made.series.kspace, many[7].series.kspace)
        assert torch.equal(made.series.mask.samples, many[7].series.mask.samples)
        assert torch.equal(made.truth, many[7].truth)
        assert (made.columns, made.kinds) == (many[7].columns, many[7].kinds)


def test_other_numbers_and_seeds_give_other_scans(small):
    first, second, other = random_scan(0, 0), random_scan(0, 1), random_scan(1, 0)
    for made in (second, other):
        assert made.truth.shape != first.truth.shape or not torch.allclose(
            made.truth, first.truth, atol=0.1
        )


def test_shapes_and_values(many):
    for made in many:
        frames, coils, y, x = made.series.kspace.shape
        assert made.series.kspace.dtype == torch.complex64
        assert made.series.kspace.isfinite().all()
        assert 4 <= coils <= 12
        assert frames == 1 or 3 <= frames <= 14
        assert made.truth.shape == (frames, y, x)
        assert made.truth.dtype == torch.float32
        assert made.truth.min() >= 0
        radial = made.kinds[-1].startswith("kt-radial")
        assert isinstance(made.series.mask, SampleMask if radial else LineMask)
        assert made.series.mask.samples.shape[1:] == (y, x if radial else 1)
        width = len(range(x)[made.columns])
        assert width == x if radial else random_scans.FEWEST_COLUMNS <= width <= x
        assert (
            radial
            or width <= random_scans.FEWEST_COLUMNS
            or width * frames * y <= random_scans.PIXELS
        )
        assert normalisation(made.series) > 0


def test_unmeasured_samples_are_zero_and_others_are_not(many):
    for made in many:
        measured = made.series.mask.samples[:, None].expand(made.series.kspace.shape)
        assert not made.series.kspace[~measured].any()
        assert made.series.kspace[measured].abs().mean() > 0
        assert 0.03 < float(made.series.mask.samples.float().mean()) < 0.8


@pytest.mark.parametrize("asymmetric", [0.0, 1.0])
def test_truth_is_the_root_sum_of_squares_of_the_noise_free_coils(small, monkeypatch, asymmetric):
    monkeypatch.setattr(
        random_scans,
        "make_mask",
        lambda pattern, *, y, **plan: torch.ones((1, y, 1), dtype=torch.bool),
    )
    monkeypatch.setattr(random_scans, "PARTIAL", 0.0)
    monkeypatch.setattr(random_scans, "NOISELESS", 1.0)
    monkeypatch.setattr(random_scans, "ASYMMETRIC", asymmetric)
    for number in range(6):
        made = random_scan(0, number)
        torch.testing.assert_close(made.truth, rss(ifft2c(made.series.kspace)), atol=1e-5, rtol=0)
        assert bool((made.series.kspace[..., 0] == 0).all()) == bool(asymmetric)


def test_noise_has_the_strength_drawn(small, monkeypatch):
    monkeypatch.setattr(random_scans, "NOISELESS", 0.0)
    monkeypatch.setattr(random_scans, "ASYMMETRIC", 0.0)
    for number in range(4):
        monkeypatch.setattr(random_scans, "NOISE_DB", (20.0, 20.0))
        noisy = random_scan(0, number)
        monkeypatch.setattr(random_scans, "NOISE_DB", (200.0, 200.0))
        clean = random_scan(0, number)
        assert torch.equal(noisy.truth, clean.truth)
        noise = (noisy.series.kspace - clean.series.kspace)[
            noisy.series.mask.samples[:, None].expand(noisy.series.kspace.shape)
        ]
        assert float(noise.abs().square().mean().sqrt()) == pytest.approx(
            0.1 * float(noisy.truth.square().mean().sqrt()), rel=0.05
        )


def test_every_pattern_acceleration_and_kind_of_scan_occurs(small, monkeypatch):
    """They follow from the draws alone, so a scene of uniform brightness suffices."""
    monkeypatch.setattr(
        random_scans,
        "random_scene",
        lambda seed, number, frames, y, x: Scene(
            torch.ones((frames, y, x), dtype=torch.complex64), ()
        ),
    )
    made = [random_scan(0, number) for number in range(300)]
    sampling = [one.kinds[-1].split() for one in made]
    patterns = [pattern for pattern, _ in sampling]
    for pattern, share in random_scans.PATTERNS.items():
        # Within four standard deviations.
        assert patterns.count(pattern) == pytest.approx(
            300 * share, abs=4 * math.sqrt(300 * share * (1 - share))
        )
    assert {int(acceleration) for _, acceleration in sampling} == set(random_scans.ACCELERATIONS)
    single = sum(len(one.truth) == 1 for one in made)
    assert single == pytest.approx(300 * random_scans.SINGLE_FRAMES, abs=20)
    assert {one.truth.shape[1] for one in made} == {32, 37, 42, 45}


def test_maps_have_unit_rss_and_differ():
    drawn = [random_maps(coils, 33, 46, generator(0, coils)) for coils in range(1, 13)]
    for coils, maps in enumerate(drawn, 1):
        assert maps.shape == (coils, 33, 46)
        assert maps.dtype == torch.complex64
        torch.testing.assert_close(rss(maps), torch.ones(33, 46), atol=1e-5, rtol=0)
    again, other = (
        random_maps(12, 33, 46, generator(0, 12)),
        random_maps(12, 33, 46, generator(1, 12)),
    )
    assert torch.equal(again, drawn[-1])
    assert not torch.allclose(other, again, atol=0.1)


def test_a_simulated_scan_has_one_random_scene_per_slice():
    made = simulate(random=True, frames=3, slices=2, coils=4, y=37, x=45, seed=5)
    assert made.kind == "random"
    assert made.scan.shape == (3, 2, 4, 37, 45)
    for index in range(2):
        assert torch.equal(made.image[:, index], random_scene(5, index, 3, 37, 45).images)
    assert torch.equal(made.maps, random_maps(4, 37, 45, generator(5, "coils")))
    facts = made.scan.acquisition
    assert (facts.base, facts.modality, facts.subject) == ("cine_random", "Cine", "P006")
    assert made.times is None
    assert made.lesions is None
    assert simulate(random=True, slices=1, coils=1, y=32, x=32).scan.shape[0] == 12


def test_the_truth_comes_from_noise_free_kspace():
    made = simulate(random=True, frames=2, slices=2, coils=4, y=36, x=40, snr_db=math.inf)
    torch.testing.assert_close(
        rss(ifft2c(made.scan.read_slice(1))), made.image[:, 1].abs(), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("other", [{"kind": "cine"}, {"spokes": 12}, {"lesions": True}])
def test_options_that_random_scenes_cannot_have_are_refused(other):
    with refused("options-conflict"):
        simulate(random=True, frames=1, slices=1, coils=1, y=32, x=64, **other)


def test_array_coils_are_more_independent_than_broad_ones(monkeypatch):
    def independent(share):
        monkeypatch.setattr(random_scans, "ARRAY", share)
        found = []
        for seed in range(8):
            energies = torch.linalg.svdvals(
                random_maps(10, 48, 48, generator(seed, "coils")).flatten(1)
            ).square()
            found.append(float(energies.sum() ** 2 / energies.square().sum()))
        return sum(found) / len(found)

    assert independent(1.0) > 1.3 * independent(0.0)
