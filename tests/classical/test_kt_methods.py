"""Every iterative method on small dynamic series.

Each lowers its documented functional and beats simpler methods.
"""

import inspect
import math

import pytest
import torch
from kinds import mask_of, normal

from cmrrecon.classical import total_variation, wavelets
from cmrrecon.classical.coils import estimate_coils
from cmrrecon.classical.low_rank import BLOCK, LOW_RANK_SHARE, llr, low_rank_sparse
from cmrrecon.classical.prepared import normalisation
from cmrrecon.classical.problem import Problem
from cmrrecon.classical.sense import sense
from cmrrecon.classical.temporal_fourier import temporal_fourier
from cmrrecon.classical.total_variation import differences, differences_adjoint, temporal_tv, tv
from cmrrecon.classical.wavelets import SPACE_LEVELS, TIME_LEVELS, kt_wavelet, l1_wavelet
from cmrrecon.classical.zero_filled import zero_filled
from cmrrecon.data import LineMask, Series
from cmrrecon.sampling.make import make_mask
from cmrrecon.simulation import simulate
from cmrrecon.solvers import primal_dual
from cmrrecon.solvers.shrinkage import shorten, singular_value_threshold, temporal_fourier_shrinkage

TEMPORAL = {
    method.__name__: method
    for method in (temporal_tv, temporal_fourier, llr, low_rank_sparse, kt_wavelet)
}
METHODS = {method.__name__: method for method in (sense, l1_wavelet, tv)} | TEMPORAL


@pytest.fixture(params=METHODS.values(), ids=METHODS)
def method(request):
    return request.param


@pytest.fixture(params=TEMPORAL.values(), ids=TEMPORAL)
def temporal(request):
    return request.param


@pytest.fixture(scope="module", params=[False, True], ids=["lines", "samples"])
def moving(request, cine):
    """A problem with a different mask in each of eight frames, its series and its truth."""
    return normalised(*cine(frames=8, step=8, moving=True, radial=request.param))


def normalised(series, truth):
    scale = normalisation(series)
    series = series.scaled(1 / scale)
    return Problem.of(normal(series), estimate_coils(series, virtual=8)), series, truth / scale


def psnr(image, reference):
    return float(
        10
        * torch.log10(reference.abs().max() ** 2 / (image.abs() - reference.abs()).square().mean())
    )


# The documented functionals, up to 1/2 ||y||^2.


def misfit(problem, x):
    return float((0.5 * x.conj() * problem.A.N(x) - x.conj() * problem.rhs).real.double().sum())


def haar_l1(x, dims, levels):
    """The l1-norm of the Haar details of all levels, averaged over all shifts of the grid."""
    total = 0.0
    for level in range(1, levels + 1):
        bands, half = [x], 2 ** (level - 1)
        for dim in dims:
            if x.shape[dim] < 2 * half:
                return total
            sums = [band.unfold(dim, half, 1).sum(-1) for band in bands]
            n = x.shape[dim] - 2 * half + 1
            ends = [(band.narrow(dim, 0, n), band.narrow(dim, half, n)) for band in sums]
            bands = [part / math.sqrt(2 * half) for a, b in ends for part in (a + b, a - b)]
        total += sum(float(band.abs().sum()) for band in bands[1:]) / (2 * half) ** len(dims)
    return total


def nuclear_norm(x):
    return float(torch.linalg.svdvals(x.flatten(1)).sum())


def block_norm(x):
    """Sum of the nuclear norms of blocks, averaged over some shifts of their grid."""
    shifts = range(0, BLOCK, 3)
    norms = []
    for top in shifts:
        for left in shifts:
            rows = [x[:, max(0, y) : y + BLOCK] for y in range(-top, x.shape[1], BLOCK)]
            norms.append(
                sum(
                    nuclear_norm(row[:, :, max(0, c) : c + BLOCK])
                    for row in rows
                    for c in range(-left, x.shape[2], BLOCK)
                )
            )
    return sum(norms) / len(norms)


def variation(x, dim):
    return float(x.diff(dim=dim).abs().sum())


def temporal_l1(x):
    return float(torch.fft.fft(x, dim=0, norm="ortho")[1:].abs().sum())


def low_rank_sparse_l1(x, weight):
    """The best split of x into L + S, by Douglas-Rachford steps.

    Eckstein and Bertsekas, Math Program 1992;55:293.
    """
    rank_weight, step = LOW_RANK_SHARE * weight * math.sqrt(x[0].numel()), 30.0
    z, best = torch.zeros_like(x), math.inf
    for _ in range(100):
        low = singular_value_threshold(z.flatten(1), step * rank_weight).reshape(x.shape)
        best = min(best, rank_weight * nuclear_norm(low) + weight * temporal_l1(x - low))
        z = z + x - temporal_fourier_shrinkage(x - (2 * low - z), step * weight) - low
    return best


PENALTIES = {
    sense: lambda x, w: w / 2 * float(x.abs().square().sum()),
    l1_wavelet: lambda x, w: w * haar_l1(x, (1, 2), SPACE_LEVELS),
    tv: lambda x, w: w * (variation(x, 1) + variation(x, 2)),
    temporal_tv: lambda x, w: w * variation(x, 0),
    temporal_fourier: lambda x, w: w * temporal_l1(x),
    llr: lambda x, w: w * block_norm(x),
    low_rank_sparse: low_rank_sparse_l1,
    kt_wavelet: lambda x, w: (
        w * haar_l1(x, (0,), TIME_LEVELS)
        + wavelets.SPACE_SHARE * w * haar_l1(x, (1, 2), SPACE_LEVELS)
    ),
}


def solved(problem, method):
    """Solve almost to the minimum.

    The method for temporal variation has an inexact prox, so another solver is used.
    """
    if method is not temporal_tv:
        return method(problem, iterations=150).x
    weight = 0.01
    D, D_adjoint = (lambda x: differences(x, 0)), (lambda d: differences_adjoint(d, 0))
    return primal_dual(
        problem.A.N,
        problem.rhs,
        D,
        D_adjoint,
        lambda d: shorten(d, weight),
        4.0,
        problem.start,
        300,
    ).x


@pytest.fixture(scope="module")
def usual_images(moving):
    return {method: method(moving[0]).x for method in METHODS.values()}


@pytest.mark.parametrize("method", PENALTIES)
def test_documented_functional_is_lowered_close_to_its_minimum(moving, usual_images, method):
    problem, weight = moving[0], inspect.signature(method).parameters["weight"].default

    def functional(x):
        return misfit(problem, x) + PENALTIES[method](x, weight)

    start, usual, best = (
        functional(x) for x in (problem.start, usual_images[method], solved(problem, method))
    )
    assert usual < start
    assert usual - best < 0.05 * (start - best)
    # No image made for another functional does better.
    others = [problem.rhs, torch.zeros_like(problem.rhs)] + [
        x for other, x in usual_images.items() if other is not method
    ]
    assert usual < min(functional(x) for x in others) + 0.01 * (start - best)


@pytest.mark.parametrize("method", PENALTIES)
def test_weight_is_that_of_the_documented_functional(cine, method):
    problem, weight = (
        normalised(*cine(frames=8, step=8, moving=True))[0],
        inspect.signature(method).parameters["weight"].default,
    )
    smaller, right, larger = (method(problem, weight=factor * weight).x for factor in (0.25, 1, 4))
    functional = [
        misfit(problem, x) + PENALTIES[method](x, weight) for x in (smaller, right, larger)
    ]
    assert functional[1] < min(functional[0], functional[2])


def test_differences_and_their_adjoint():
    x, d = (
        torch.randn((3, 5, 4), dtype=torch.complex128, generator=torch.Generator().manual_seed(i))
        for i in range(2)
    )
    for dim in range(3):
        found = differences(x, dim)
        torch.testing.assert_close(found.narrow(dim, 0, x.shape[dim] - 1), x.diff(dim=dim))
        assert (found.select(dim, -1) == 0).all()
        dot = torch.vdot(x.flatten(), differences_adjoint(d, dim).flatten())
        torch.testing.assert_close(torch.vdot(found.flatten(), d.flatten()), dot)


# A single frame


@pytest.mark.parametrize("method", TEMPORAL.values(), ids=TEMPORAL)
@pytest.mark.parametrize("weight", [0.004, 0.1])
def test_a_single_frame_is_regularised_in_space(cine, method, weight):
    problem, _, _ = normalised(*cine(frames=1))
    spatial, share = (
        (tv, total_variation.SPACE_SHARE)
        if method is temporal_tv
        else (l1_wavelet, wavelets.SPACE_SHARE)
    )
    assert torch.equal(
        method(problem, weight=weight, iterations=7).x,
        spatial(problem, weight=share * weight, iterations=7).x,
    )


@pytest.mark.parametrize("step", [2, 3])
def test_a_single_frame_is_better_than_zero_filled(cine, method, step):
    problem, series, truth = normalised(*cine(frames=1, step=step))
    assert psnr(problem.whole(method(problem).x), truth) > psnr(zero_filled(series), truth) + 5


# Quality


def test_five_decibels_better_than_zero_filled(moving, method):
    problem, series, truth = moving
    images = problem.whole(method(problem).x)
    assert images.dtype == torch.complex64
    least = 2.5 if method is sense and isinstance(series.mask, LineMask) else 5
    assert psnr(images, truth) > psnr(zero_filled(series), truth) + least


def test_five_decibels_better_than_zero_filled_with_one_mask_for_all_frames(cine, method):
    problem, series, truth = normalised(*cine(frames=8, step=3))
    assert psnr(problem.whole(method(problem).x), truth) > psnr(zero_filled(series), truth) + 5


@pytest.fixture(scope="module", params=["kt-gaussian", "kt-radial"])
def measured(request):
    """Make a problem of each kind of scan, its truth, and the PSNR of zero-filled and SENSE."""
    made = {}

    def make(kind):
        if kind not in made:
            frames = 3 if kind == "t2map" else 8
            simulated = simulate(kind, slices=1, frames=frames, coils=6, y=64, x=96, seed=1)
            mask = make_mask(
                request.param, frames=frames, y=64, x=96, acceleration=8, acs=12, seed=1
            )
            series = Series(simulated.scan.series(0).kspace * mask[:, None], mask_of(mask))
            problem, series, truth = normalised(series, simulated.image[:, 0])
            made[kind] = (
                problem,
                truth,
                psnr(zero_filled(series), truth),
                psnr(problem.whole(sense(problem).x), truth),
            )
        return made[kind]

    return make


@pytest.mark.parametrize("kind", ["cine", "perfusion", "t1map", "t2map"])
def test_temporal_methods_are_better_than_sense_on_every_kind_of_scan(temporal, kind, measured):
    problem, truth, by_zero_filled, by_sense = measured(kind)
    quality = psnr(problem.whole(temporal(problem).x), truth)
    assert quality > by_zero_filled + 4
    assert quality > by_sense + 1


def test_free_breathing_does_no_harm(cine, temporal):
    problem, series, truth = normalised(*cine(frames=12, step=8, moving=True, breath=0.05))
    images = psnr(problem.whole(temporal(problem).x), truth)
    assert images > psnr(zero_filled(series), truth) + 2


@pytest.mark.parametrize("method", [temporal_tv, kt_wavelet])
def test_free_breathing_is_better_than_with_sense(cine, method):
    problem, _, truth = normalised(*cine(frames=12, step=8, moving=True, breath=0.05))
    assert (
        psnr(problem.whole(method(problem).x), truth)
        > psnr(problem.whole(sense(problem).x), truth) + 3
    )


# Promises


def test_the_same_problem_gives_the_same_images_bit_by_bit(moving, method):
    problem, series, _ = moving
    again = Problem.of(normal(series), estimate_coils(series, virtual=8))
    assert torch.equal(method(problem, iterations=5).x, method(again, iterations=5).x)
    assert torch.equal(method(problem, iterations=5).x, method(problem, iterations=5).x)


def test_the_problem_is_not_changed(moving, method):
    problem = moving[0]
    kept = problem.rhs.clone(), problem.start.clone()
    method(problem, iterations=5)
    assert torch.equal(problem.rhs, kept[0])
    assert torch.equal(problem.start, kept[1])


def test_residuals_and_monitor_of_every_method(moving, method):
    problem, seen = moving[0], []

    def monitor(step, x):
        seen.append((step, x.clone()))
        return step == 4

    found = method(problem, monitor=monitor)
    assert [step for step, _ in seen] == [1, 2, 3, 4]
    assert len(found.residuals) == 4
    assert torch.equal(found.x, seen[-1][1])
    long = method(problem, iterations=15).residuals
    assert len(long) == 15
    assert long[-1] < long[0]


def test_weight_of_zero_is_least_squares(moving, method):
    problem = moving[0]
    found = method(problem, weight=0.0, iterations=40)
    assert torch.isfinite(torch.view_as_real(found.x)).all()
    gradient = problem.A.N(found.x) - problem.rhs
    assert torch.linalg.vector_norm(gradient) < 0.05 * torch.linalg.vector_norm(
        problem.A.N(problem.start) - problem.rhs
    )


@pytest.mark.parametrize("method", [temporal_fourier, llr, low_rank_sparse, kt_wavelet])
def test_huge_weight_makes_frames_alike(moving, method):
    problem = moving[0]
    x = method(problem, weight=1e4, iterations=60).x
    assert torch.isfinite(torch.view_as_real(x)).all()
    change = torch.linalg.vector_norm(x - x.mean(0))
    assert change <= 1e-3 * torch.linalg.vector_norm(problem.start)
