"""kt-unrolled: any size, scale and phase, any number of frames and coils, and its parts."""

import math
from dataclasses import replace

import pytest
import torch
from kinds import mask_of
from refusals import refused
from torch.nn import functional

from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.classical.problem import Problem
from cmrrecon.classical.wavelets import kt_wavelet
from cmrrecon.data import Series
from cmrrecon.methods.base import Weights
from cmrrecon.methods.series_network import ProblemNetworkMethod
from cmrrecon.networks import kt_unrolled
from cmrrecon.networks.catalog import build, name_of
from cmrrecon.networks.checkpoints import weights
from cmrrecon.networks.kt_unrolled import (
    SEEN,
    Block,
    KtUnrolled,
    Regulariser,
    data_consistency,
    starts,
)
from cmrrecon.networks.problem_facts import FACTS, facts, smooth_phase
from cmrrecon.operators.coils import rss
from cmrrecon.sampling import make_mask
from cmrrecon.simulation import simulate


def small(seed=0, **more):
    """Return a small network whose regulariser has an effect."""
    torch.manual_seed(seed)
    network = KtUnrolled(**{"cascades": 2, "channels": 8, "blocks": 2, "solver_steps": 2, **more})
    with torch.no_grad():
        network.unet.last.weight.normal_(std=0.02)
    return network.eval()


def series(frames=3, coils=4, y=40, x=48, pattern="kt-gaussian", acceleration=4, seed=1, acs=12):
    made = simulate("cine", frames=frames, slices=1, coils=coils, y=y, x=x, seed=seed)
    full = made.scan.series(0).kspace
    mask = make_mask(
        pattern, frames=frames, y=y, x=x, acceleration=acceleration, acs=acs, seed=seed
    )
    return Series(full * mask[:, None], mask_of(mask))


def images_of(network, one):
    """Reconstruct complex images, with refined maps as in the method."""
    return ProblemNetworkMethod("kt-unrolled", "", network, Weights(""))(one)


def problem_of(one):
    prepared = PreparedSeries(one)
    return Problem.of(prepared, prepared.coils())


def relative(a, b):
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("frames", [1, 2, 3, 5])
@pytest.mark.parametrize(("y", "x"), [(40, 48), (37, 45), (48, 33)])
def test_any_number_of_frames_and_any_size(frames, y, x):
    one = series(frames=frames, y=y, x=x)
    images = images_of(small(), one)
    assert images.shape == (frames, y, x)
    assert images.dtype == torch.complex64
    assert bool(torch.isfinite(torch.view_as_real(images)).all())


@pytest.mark.parametrize("coils", [1, 2, 8, 32])
def test_any_number_of_coils(coils):
    assert images_of(small(), series(coils=coils)).shape == (3, 40, 48)


@pytest.mark.parametrize("pattern", ["uniform", "kt-uniform", "kt-gaussian", "kt-radial"])
def test_every_pattern(pattern):
    images = images_of(small(), series(pattern=pattern))
    assert float(images.abs().max()) > 0


def test_images_scale_with_kspace():
    one, network = series(), small()
    images = images_of(network, one)
    for factor in (1e-9, 1e9):
        assert relative(images_of(network, one.scaled(factor)), images * factor) < 1e-3


def test_magnitudes_are_independent_of_the_phase_of_kspace():
    """The phase of the first solution is removed before the network sees the images."""
    one, network = series(), small()
    turned = images_of(
        network, Series(one.kspace * torch.polar(torch.tensor(1.0), torch.tensor(1.1)), one.mask)
    )
    assert relative(turned.abs(), images_of(network, one).abs()) < 1e-3


def test_images_are_reproducible():
    one = series()
    assert torch.equal(images_of(small(), one), images_of(small(), one))


def test_before_training_the_images_are_nearly_those_of_compressed_sensing():
    problem = problem_of(series())
    network = KtUnrolled(cascades=2, channels=8, blocks=1).eval()
    first = starts(problem)[0]
    assert relative(network.solve(problem).x, first) < 0.02


def test_the_regulariser_has_an_effect():
    problem = problem_of(series())
    assert relative(small(0).solve(problem).x, small(1).solve(problem).x) > 1e-4


def test_only_neighbouring_frames_are_combined():
    """Frames repeat beyond the ends, so the last frame does not affect the first."""
    torch.manual_seed(0)
    regulariser = Regulariser(8, 1, FACTS + 1)
    with torch.no_grad():
        for layer in (regulariser.last, regulariser.blocks[0].time):
            layer.weight.normal_(std=0.1)

    x, known = torch.randn(5, 2 * SEEN, 8, 8), torch.zeros(FACTS + 1)
    other = x.clone()
    other[4] += 1
    with torch.no_grad():
        change = (regulariser(x, known) - regulariser(other, known)).abs().amax((1, 2, 3))

    assert bool((change[:3] == 0).all())
    assert bool((change[3:] > 0).all())


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_a_block_and_its_gradients_equal_its_formula(frames):
    """FiLM after the convolution, then 1 x 1 over three frames, repeated at the ends."""
    torch.manual_seed(0)
    block = Block(4, 3)
    x, known = torch.randn(frames, 4, 6, 5), torch.randn(3)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.normal_(std=0.3)

    def formula():
        scale, shift = block.film(known).view(2, 1, -1, 1, 1)
        padded = functional.pad(x, (1, 1, 1, 1), mode="replicate")
        inner = functional.silu(block.space(padded) * (1 + scale) + shift)
        around = torch.cat([inner[:1], inner, inner[-1:]])
        beside = torch.cat([around[:-2], around[1:-1], around[2:]], 1)
        return x + block.time(beside.movedim(1, -1)).movedim(-1, 1)

    results = []
    for output in (block(x, known), formula()):
        output.square().sum().backward()
        results.append([output.detach(), *(p.grad.clone() for p in block.parameters())])
        block.zero_grad()
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_known_solutions_are_not_computed_again():
    problem = problem_of(series())
    first, second = starts(problem)
    known = torch.ones_like(first)
    again = starts(replace(problem, solutions={"kt-wavelet": known}))
    assert torch.equal(again[0], known)
    assert relative(again[1], second) > 0.1


@pytest.mark.parametrize(("pattern", "steps"), [("uniform", 20), ("kt-uniform", 30)])
def test_the_same_samples_in_all_frames_take_fewer_steps(pattern, steps):
    problem = problem_of(series(pattern=pattern))
    torch.testing.assert_close(starts(problem)[0], kt_wavelet(problem, iterations=steps).x)


def test_the_weight_of_the_start_comes_from_the_problem():
    problem = replace(problem_of(series()), weights={"kt-wavelet": 0.03})
    expected = kt_wavelet(problem, weight=0.03, iterations=30).x
    torch.testing.assert_close(starts(problem)[0], expected)


def test_forward_returns_magnitudes_of_all_frames():
    one, network = series(), small()
    with torch.no_grad():
        output = network(one.kspace[None], one.mask.samples[None])
    inside = rss(PreparedSeries(one).coils().measured) > 0
    expected = images_of(network, one).abs()[:, inside]
    torch.testing.assert_close(output.image[:, inside], expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="one series"):
        network(
            one.kspace[None].expand(2, -1, -1, -1, -1), one.mask.samples[None].expand(2, -1, -1, -1)
        )


def test_inner_columns_hardly_depend_on_the_others():
    """Columns are independent in the data, but the regulariser and wavelets use a few neighbours.

    The inner columns therefore agree best.
    """
    one, network = series(x=96), small(blocks=1)
    with torch.no_grad():
        whole = network(one.kspace[None], one.mask.samples[None]).image
        part = network(one.kspace[None], one.mask.samples[None], columns=slice(24, 72)).image
    assert part.shape == (3, 40, 48)
    assert relative(part[..., 12:36], whole[..., 36:60]) < 0.05


@pytest.mark.parametrize("x", [41, 64, 70])
def test_tiles_do_not_change_the_result(monkeypatch, x):
    network, channels, context = (
        small(blocks=2),
        torch.randn(3, 2 * SEEN, 21, x),
        torch.randn(FACTS + 2),
    )

    with torch.no_grad():
        for block in network.unet.blocks:
            block.time.weight.normal_(std=0.1)
        whole = network.unet(channels, context, True)
        monkeypatch.setattr(kt_unrolled, "TILE", 16)
        tiled = network._in_tiles(channels, context, True)
        torch.testing.assert_close(tiled, whole, rtol=1e-4, atol=1e-5)


def test_a_larger_weight_trusts_the_network_more():
    """With less weight on the network the data residual is smaller."""
    problem, network = problem_of(series()), small()

    def residual(weight):
        x = network.solve(problem, weight=weight).x
        return float((problem.A.N(x) - problem.rhs).norm())

    assert residual(0.01) < residual(1.0) < residual(100.0)


def test_the_monitor_can_stop_early():
    problem, network, seen = problem_of(series()), small(cascades=3), []
    solution = network.solve(problem, monitor=lambda step, x: seen.append(step) or step == 2)
    assert seen == [1, 2]
    assert len(solution.residuals) == 2
    assert len(network.solve(problem, iterations=1).residuals) == 1


def test_closer_solves_its_equation():
    """The equation is (A^H A + l) x = A^H y + l z."""
    problem = problem_of(series())
    z, weight = torch.randn_like(problem.rhs), torch.tensor(0.3)
    x = data_consistency(problem, z, weight, 60)
    assert relative(problem.A.N(x) + weight * x, problem.rhs + weight * z) < 1e-4


def test_smooth_phase_has_magnitude_one_and_follows_the_image():
    x = torch.polar(1 + torch.rand(3, 9, 11), torch.full((3, 9, 11), 0.7))
    torch.testing.assert_close(
        smooth_phase(x), torch.polar(torch.ones(9, 11), torch.full((9, 11), 0.7))
    )
    assert bool(torch.isfinite(torch.view_as_real(smooth_phase(torch.zeros_like(x)))).all())


def test_facts_distinguish_scans():
    known = {
        name: facts(problem, starts(problem)[0])
        for name, problem in {
            "slow": problem_of(series(acceleration=2)),
            "fast": problem_of(series(acceleration=8)),
            "fixed": problem_of(series(pattern="uniform")),
            "samples": problem_of(series(pattern="kt-radial")),
        }.items()
    }
    assert all(
        value.shape == (FACTS,) and bool(torch.isfinite(value).all()) for value in known.values()
    )
    assert float(known["fast"][0]) > float(known["slow"][0]) + math.log(1.5)
    assert float(known["samples"][4]) == 1 > float(known["slow"][4])
    assert float(known["fixed"][5]) == 0 < float(known["slow"][5])


def test_checkpointing_does_not_change_gradients():
    one, found = series(), []
    for again in (False, True):
        network = small(checkpointing=again).train()
        network(one.kspace[None], one.mask.samples[None]).image.sum().backward()
        found.append(network.unet.first.weight.grad)
    assert float(found[0].abs().max()) > 0
    torch.testing.assert_close(
        found[1], found[0], rtol=1e-3, atol=1e-5 * float(found[0].abs().max())
    )


def test_gradients_reach_every_parameter():
    one, network = series(), small().train()
    output = network(one.kspace[None], one.mask.samples[None])
    assert len(output.stages) == 2
    output.image.square().sum().backward()
    assert all(p.grad is not None and float(p.grad.abs().max()) > 0 for p in network.parameters())


def test_weights_can_be_saved_and_loaded(tmp_path):
    network = small()
    weights.save(tmp_path / "w.safetensors", network)
    again = weights.load(tmp_path / "w.safetensors").network.eval()
    assert name_of(again) == "kt-unrolled"
    one = series()
    assert torch.equal(images_of(again, one), images_of(network, one))


def test_missing_calibration_is_refused():
    one = series()
    mask = torch.zeros_like(one.mask.samples)
    mask[:, ::5] = True
    with refused("calibration-too-small"):
        images_of(small(), Series(one.kspace * mask[:, None], mask_of(mask)))


def test_the_network_is_small():
    """With two bytes per weight the file must stay below 5 MB."""
    assert sum(p.numel() for p in build("kt-unrolled").parameters()) * 2 < 5e6
