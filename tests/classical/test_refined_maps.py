"""Maps refined on all measured samples are nearer to the truth than those of ESPIRiT."""

from dataclasses import replace

import pytest
import torch
from kinds import mask_of, normal

from cmrrecon.classical.coarse import fewer
from cmrrecon.classical.coils import Coils, estimate_coils
from cmrrecon.classical.prepared import normalisation
from cmrrecon.classical.refined_maps import (
    COSINES,
    Grid,
    LineFit,
    SampleFit,
    changed,
    cosines,
    refined,
)
from cmrrecon.classical.still import started
from cmrrecon.classical.wavelets import kt_wavelet
from cmrrecon.data import Series
from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import fft2c
from cmrrecon.sampling import make_mask
from cmrrecon.simulation import simulate
from cmrrecon.simulation.random_scans import random_maps
from cmrrecon.simulation.random_scenes import random_scene
from cmrrecon.simulation.shapes import generator


def scene(pattern="kt-gaussian", acceleration=6, frames=6, y=96, x=64, coils=6, acs=12):
    """A body that reaches the edges of the field of view, its maps, and an undersampled series."""
    images = random_scene(3, 4, frames, y, x).images + 0.3
    maps = random_maps(coils, y, x, generator(5, "maps"))
    mask = make_mask(pattern, frames=frames, y=y, x=x, acceleration=acceleration, acs=acs, seed=1)
    noise = 2e-3 * torch.randn(
        (frames, coils, y, x), dtype=torch.complex64, generator=torch.Generator().manual_seed(0)
    )
    return (
        Series((fft2c(images[:, None] * maps) + noise) * mask[:, None], mask_of(mask)),
        images,
        maps,
    )


def misses(found, maps):
    """The part of the true maps that the coils miss, whatever the phase of a pixel."""
    along = (found.measured.conj() * maps).sum(0).abs() / rss(found.measured).clamp(min=1e-6)
    return float((1 - along).mean())


@pytest.mark.parametrize(
    ("pattern", "acceleration"), [("kt-gaussian", 6), ("uniform", 3), ("kt-radial", 6)]
)
def test_maps_come_nearer_to_the_truth_and_so_do_images(pattern, acceleration):
    series, images, maps = scene(pattern, acceleration)
    scale = normalisation(series)
    coils = estimate_coils(series).first
    better = refined(normal(series, scale), coils)

    inside = rss(coils.measured) > 0

    def error(known):
        problem = started(normal(series, scale), known)
        found = problem.whole(kt_wavelet(problem).x).abs() * scale
        return float((found - images.abs())[:, inside].norm())

    assert misses(better, maps) < 0.9 * misses(coils, maps)
    assert error(better) < 0.97 * error(coils)


@pytest.mark.parametrize("kind", [LineFit, SampleFit])
def test_from_true_images_and_all_samples_the_maps_are_nearly_exact(kind):
    series, images, maps = scene(acceleration=1)
    mask = mask_of(torch.ones((1, *maps.shape[1:]), dtype=torch.bool))
    full = normal(replace(series, kspace=fft2c(images[:, None] * maps), mask=mask))
    coils = full.coils().first
    fit = kind(full, coils)
    found = changed(coils, fit.maps_of(fit.change(images * 1.0)))
    assert misses(found, maps) < 0.3 * misses(coils, maps)


def test_maps_have_unit_rss_in_the_support():
    made = simulate("cine", frames=3, slices=1, coils=4, y=48, x=96, seed=2)
    mask = make_mask("kt-gaussian", frames=3, y=48, x=96, acceleration=4, acs=12, seed=1)
    series = Series(made.scan.series(0).kspace * mask[:, None], mask_of(mask))
    coils = estimate_coils(series).first
    better = refined(normal(series, normalisation(series)), coils)
    inside = rss(coils.measured) > 0
    torch.testing.assert_close(
        rss(better.measured)[inside], torch.ones(int(inside.sum())), rtol=1e-4, atol=1e-4
    )
    assert bool((rss(better.measured)[~inside] == 0).all())
    assert better.columns == coils.columns


def test_they_do_not_depend_on_the_scale():
    series, _, _ = scene()
    found = [
        refined(normal(one, normalisation(one)), estimate_coils(one).first).measured
        for one in (series, series.scaled(1e-9))
    ]
    torch.testing.assert_close(*found, rtol=1e-2, atol=1e-3)


def test_only_the_given_columns_are_refined():
    series, _, maps = scene()
    coils = replace(estimate_coils(series).first, columns=slice(20, 44))
    better = refined(normal(series, normalisation(series)), coils)
    assert better.columns == slice(20, 44)
    assert float(better.measured[..., :20].abs().max()) == 0
    part = slice(20, 44)
    cut = (
        Coils(coils.maps[..., part], coils.measured[..., part], slice(None)),
        Coils(better.maps[..., part], better.measured[..., part], slice(None)),
    )
    assert misses(cut[1], maps[..., part]) < misses(cut[0], maps[..., part])


def test_a_single_coil_stays_as_it_is():
    series, _, _ = scene(coils=1)
    coils = estimate_coils(series).first
    assert refined(normal(series, normalisation(series)), coils) is coils


def test_a_single_frame():
    series, _, _ = scene("uniform", 2, frames=1)
    assert bool(
        torch.isfinite(
            torch.view_as_real(
                refined(normal(series, normalisation(series)), estimate_coils(series).first).maps
            )
        ).all()
    )


def test_cosines_are_orthonormal():
    basis = cosines(torch.arange(50), 50, COSINES)
    torch.testing.assert_close(basis.mT @ basis, torch.eye(COSINES), rtol=0, atol=1e-5)


def test_a_finer_grid_continues_the_cosines_of_a_coarse_one():
    grid = Grid((96, 150), (48, 75))
    fine = grid.cosines(1, slice(20, 60), slice(10, 30), 4)
    coarse = cosines(torch.arange(20), 20, 4)
    # Every second fine pixel is a pixel of the coarse grid.
    torch.testing.assert_close(fine[1::2], coarse, rtol=0, atol=1e-5)


def test_coarse_maps_are_the_fine_ones_at_their_pixels():
    maps = random_maps(3, 96, 64, generator(5, "maps"))
    found = Grid((96, 64), (48, 64)).sampled(Coils(maps, maps, slice(0, 64)))
    torch.testing.assert_close(found.measured, maps[:, ::2], rtol=1e-4, atol=1e-4)
    assert found.columns == slice(0, 64)


@pytest.mark.parametrize(("n", "few"), [(448, 225), (212, 108), (162, 81), (90, 64), (50, 50)])
def test_coarse_sizes_are_fast(n, few):
    assert fewer(n) == few
