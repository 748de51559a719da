"""A body larger than the field of view: two sets of coil maps."""

import pytest
import torch

from cmrrecon.classical.coils import estimate_coils
from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.classical.problem import Problem
from cmrrecon.data import Scan
from cmrrecon.methods.registry import auto, find_method
from cmrrecon.operators.cartesian import encoding
from cmrrecon.operators.coils import rss_images
from cmrrecon.operators.fourier import fft2c, ifftc
from cmrrecon.reconstruction.scan import reconstruct
from cmrrecon.sampling import make_mask
from cmrrecon.simulation.shapes import generator

Y, X, COILS, FRAMES = 64, 48, 6, 5


def scan(reach=1.3, acceleration=2, pattern="kt-uniform", frames=FRAMES):
    """A beating disc of `reach` times the field of view along y, and its root-sum-of-squares.

    The k-space of the wide image is computed on a fine grid. The scanner measures every
    `wide / Y`-th line of it, so that the ends fold over.
    """
    wide = 2 * Y
    y = ((torch.arange(wide) - wide // 2) / (Y / 2))[:, None]
    x = ((torch.arange(X) - X // 2) / (X / 2))[None]
    images = []
    for t in range(frames):
        heart = 0.3 + 0.08 * torch.sin(torch.tensor(2 * torch.pi * t / frames))
        body = 0.5 * ((y / reach) ** 2 + (x / 0.6) ** 2 <= 1).float()
        images.append(body + 0.6 * ((y**2 + x**2) <= heart**2).float())
    angle = 2 * torch.pi * torch.arange(COILS) / COILS
    distance = (y - 1.3 * torch.sin(angle)[:, None, None]) ** 2
    distance = distance + (x - 1.1 * torch.cos(angle)[:, None, None]) ** 2
    maps = torch.exp(-distance / 1.6) * torch.exp(1j * (angle[:, None, None] + 0.6 * x))
    kspace = fft2c((torch.stack(images)[:, None] * maps).to(torch.complex64))[:, :, ::2] * 2**0.5
    noise = torch.randn(kspace.shape, dtype=torch.complex64, generator=generator(0, "noise"))
    kspace = kspace + 1e-3 * noise
    mask = make_mask(pattern, frames=frames, y=Y, x=X, acceleration=acceleration, acs=20, seed=1)
    return Scan.from_kspace((kspace * mask[:, None])[:, None], mask), rss_images(kspace)


def error(images, truth):
    return float((images.abs() - truth).norm() / truth.norm())


@pytest.mark.parametrize("reach", [1.2, 1.35, 1.5])
@pytest.mark.parametrize("method", ["sense", "llr", "kt-wavelet", "auto"])
def test_every_method_unfolds_at_least_as_well_as_grappa(method, reach):
    folded, truth = scan(reach)
    grappa = error(reconstruct(folded, "grappa").slices[0], truth)
    assert error(reconstruct(folded, method).slices[0], truth) < 1.15 * grappa


def test_a_missing_side_of_a_folded_body_is_left_to_the_method():
    folded, truth = scan()
    kspace = folded.read_slice(0).clone()
    kspace[:, :, : Y // 5] = 0
    cut = Scan.from_kspace(kspace[:, None])
    result = reconstruct(cut, "sense")
    (text,) = (text for text in result.warnings if "partial Fourier" in text)
    assert "folds over" in text
    assert error(result.slices[0], truth) < 0.9 * error(
        reconstruct(cut, "zero-filled").slices[0], truth
    )


def test_single_samples_and_a_single_frame_unfold_too():
    folded, truth = scan(pattern="kt-radial", acceleration=3)
    one, still = scan(frames=1)
    assert error(reconstruct(folded, "llr").slices[0], truth) < 0.05
    assert error(reconstruct(one, "sense").slices[0], still) < 0.04


def test_the_network_is_tried_with_both_sets():
    folded, _ = scan()
    method = auto()
    prepared = PreparedSeries(folded.series(0))
    assert prepared.coils().sets == 2
    decision = method.decide(prepared, method.options())
    assert decision.maps == "espirit"
    assert decision.best(lambda name: name == "kt-unrolled") is not None


def test_a_body_within_the_field_of_view_has_one_set():
    assert estimate_coils(scan(reach=0.8)[0].series(0)).sets == 1


def test_a_network_uses_both_sets():
    folded, _ = scan()
    coils = estimate_coils(folded.series(0))
    assert coils.first.measured.shape == (COILS, Y, X)
    torch.testing.assert_close(coils.first.measured, coils.measured[:, :Y])
    outcome = find_method("kt-unrolled").reconstruct(
        PreparedSeries(folded.series(0)), find_method("kt-unrolled").options()
    )
    assert outcome.maps.shape == (COILS, Y, X)


def test_the_residual_is_that_of_both_images():
    folded, _ = scan()
    for method in ("llr", "kt-unrolled"):
        prepared = PreparedSeries(folded.series(0))
        outcome = find_method(method).reconstruct(prepared, find_method(method).options())
        height = prepared.series.image_shape[0]
        only_first = outcome.fit.x.clone()
        only_first[:, height:] = 0
        explained = [
            float(outcome.fit.term.explained(x).sum()) for x in (outcome.fit.x, only_first)
        ]
        assert explained[0] > explained[1]


@pytest.mark.parametrize("pattern", ["kt-uniform", "kt-radial"])
def test_the_encoding_of_two_sets_is_the_sum_of_both(pattern):
    series = scan(pattern=pattern)[0].series(0)
    draw = torch.Generator().manual_seed(0)
    maps = torch.randn((COILS, 2 * Y, X), dtype=torch.complex64, generator=draw)
    x = torch.randn((FRAMES, 2 * Y, X), dtype=torch.complex64, generator=draw)
    k = torch.randn((FRAMES, COILS, Y, X), dtype=torch.complex64, generator=draw)
    A = encoding(maps, series.mask)
    sets = [encoding(maps[:, part], series.mask) for part in (slice(Y), slice(Y, 2 * Y))]
    torch.testing.assert_close(A(x), sets[0](x[:, :Y]) + sets[1](x[:, Y:]))
    torch.testing.assert_close(A.H(k), torch.cat([one.H(k) for one in sets], 1))
    torch.testing.assert_close(A.N(x), A.H(A(x)), rtol=1e-4, atol=1e-3)
    left, right = (
        torch.vdot(A(x).flatten(), k.flatten()),
        torch.vdot(x.flatten(), A.H(k).flatten()),
    )
    torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-2)


def test_the_problem_starts_from_both_images():
    prepared = PreparedSeries(scan()[0].series(0))
    problem = Problem.of(prepared, prepared.coils())
    assert problem.whole(problem.start).shape == (FRAMES, 2 * Y, X)
    assert ifftc(problem.rhs, -2).shape[1] == 2 * Y
