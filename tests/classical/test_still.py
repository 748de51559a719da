"""Still images: the start of dynamic methods, and how much they save."""

import pytest
import torch

from cmrrecon import simulate, undersample
from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.classical.problem import Problem
from cmrrecon.classical.still import started, still_image
from cmrrecon.classical.wavelets import kt_wavelet, l1_wavelet
from cmrrecon.operators.coils import rss
from cmrrecon.solvers.shrinkage import singular_value_threshold

SIZE = {"slices": 1, "coils": 4, "y": 48, "x": 64}


def made(pattern, acceleration, frames=6):
    """A prepared series and its truth (frame, y, x)."""
    full = simulate("cine", frames=frames, **SIZE)
    scan = undersample(full.scan, pattern, acceleration, acs=12, seed=1)
    return PreparedSeries(scan.series(0)), full.image[:, 0]


@pytest.mark.parametrize(
    ("pattern", "acceleration"), [("uniform", 4), ("kt-gaussian", 6), ("kt-radial", 8)]
)
def test_few_steps_from_the_still_image_are_better_than_from_the_time_average(
    pattern, acceleration
):
    prepared, truth = made(pattern, acceleration)
    coils = prepared.coils()
    inside = rss(coils.measured) > 0

    def error(problem):
        images = problem.whole(kt_wavelet(problem, iterations=5).x).abs() * prepared.scale
        return float((images - truth.abs())[:, inside].norm())

    plain, better = Problem.of(prepared, coils), started(prepared, coils)
    assert error(better) < error(plain)
    torch.testing.assert_close(better.rhs, plain.rhs)


@pytest.mark.parametrize(
    ("pattern", "acceleration", "fewest", "most"),
    [("kt-uniform", 4, 30, 30), ("uniform", 2, 40, 50), ("uniform", 6, 60, 60)],
)
def test_an_average_of_fewer_lines_takes_more_steps(
    monkeypatch, pattern, acceleration, fewest, most
):
    counted = []

    def solver(problem, *, weight, iterations):
        counted.append(iterations)
        return l1_wavelet(problem, weight=weight, iterations=1)

    monkeypatch.setattr("cmrrecon.classical.still.l1_wavelet", solver)
    prepared, _ = made(pattern, acceleration)
    still_image(prepared, prepared.coils())
    assert fewest <= counted[0] <= most


def test_a_still_object_needs_nothing_else():
    prepared, _ = made("kt-gaussian", 2, frames=4)
    series = prepared.series
    first = simulate("cine", frames=4, **SIZE).image[:1, 0]
    full = simulate("cine", frames=4, **SIZE).scan.series(0).kspace[:1]
    still = type(series)(full * series.mask.over(4)[:, None], series.mask)
    found = PreparedSeries(still)
    coils = found.coils()
    inside = rss(coils.measured)[:, coils.columns] > 0
    image = still_image(found, coils).abs()[0][inside] * found.scale
    assert float((image - first.abs()[0][:, coils.columns][inside]).norm() / image.norm()) < 0.1


@pytest.mark.parametrize(
    ("pattern", "acceleration", "frames"), [("uniform", 3, 1), ("uniform", 1, 4)]
)
def test_single_frames_and_complete_series_start_as_before(pattern, acceleration, frames):
    prepared, _ = made(pattern, acceleration, frames)
    coils = prepared.coils()
    torch.testing.assert_close(started(prepared, coils).start, Problem.of(prepared, coils).start)


def test_blocks_of_identical_frames_are_shrunk_without_nan():
    """Single-precision eigenvalues of such matrices may be NaN."""
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randn((3000, 1, 64), dtype=torch.complex64, generator=draw)
    pixels *= torch.logspace(-6, 3, 3000)[:, None, None]
    frames = pixels.expand(-1, 12, -1)
    shrunk = singular_value_threshold(frames, 1e-3)
    assert bool(torch.isfinite(torch.view_as_real(shrunk)).all())
    torch.testing.assert_close(shrunk[:, :1].expand_as(shrunk), shrunk)
