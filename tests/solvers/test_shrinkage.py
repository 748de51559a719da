import math
import random

import pytest
import torch

from cmrrecon.operators.cartesian import y_fastest
from cmrrecon.solvers.shrinkage import (
    BlockShrinkage,
    HaarShrinkage,
    TemporalVariationShrinkage,
    shorten,
    singular_value_threshold,
    soft_threshold,
    subtract_divergence,
    temporal_fourier_shrinkage,
)


def cnormal(*shape, seed=0, dtype=torch.complex128):
    return torch.randn(
        shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed)
    ).to(dtype)


def assert_proximal(shrunk, given, penalty):
    """Assert that no nearby x has a smaller 1/2 ||x - given||^2 + penalty(x) than `shrunk`."""

    def objective(x):
        return float(0.5 * (x - given).abs().square().sum() + penalty(x))

    best = objective(shrunk)
    assert best < objective(given)
    for seed in range(60):
        step = cnormal(*given.shape, seed=seed) * 10.0 ** -(seed % 6)
        # Also try steps of single pixels, and steps towards the input and towards zero.
        if seed % 3 == 1:
            step = step * (
                torch.rand(step.shape, generator=torch.Generator().manual_seed(seed)) < 0.05
            )
        if seed % 3 == 2:
            step = (given - shrunk if seed % 2 else shrunk) * step.flatten()[0].real
        assert objective(shrunk + step) >= best - 1e-12 * abs(best)


# Soft-thresholding


def test_soft_threshold_shortens_every_number():
    x = torch.tensor([3 + 4j, -0.6 + 0.8j, 0.3j, 0, 1e-30], dtype=torch.complex64)
    expected = torch.tensor([2.4 + 3.2j, 0, 0, 0, 0], dtype=torch.complex64)
    torch.testing.assert_close(soft_threshold(x, 1.0), expected)


def test_soft_threshold_is_the_proximal_map_of_the_l1_norm():
    given = cnormal(3, 4, 5)
    assert_proximal(soft_threshold(given.clone(), 0.7), given, lambda x: 0.7 * x.abs().sum())


def test_a_threshold_of_zero_changes_nothing_and_keeps_zeros():
    x = cnormal(4, 5, 6, dtype=torch.complex64)
    x[:, 2] = 0
    assert torch.equal(soft_threshold(x.clone(), 0.0), x)
    torch.testing.assert_close(temporal_fourier_shrinkage(x.clone(), 0.0), x)
    torch.testing.assert_close(singular_value_threshold(x, 0.0), x)
    torch.testing.assert_close(BlockShrinkage(0.0, 4)(x.clone()), x)
    torch.testing.assert_close(TemporalVariationShrinkage(0.0)(x.clone()), x)
    for dims in ((0,), (1, 2)):
        assert torch.equal(HaarShrinkage(dims, 0.0, 3)(x.clone()), x)


def test_shorten_keeps_what_soft_threshold_removes():
    x = cnormal(4, 5, 6)
    x[0, 0, 0] = 0
    torch.testing.assert_close(shorten(x.clone(), 0.7) + soft_threshold(x.clone(), 0.7), x)
    assert torch.equal(shorten(x.clone(), 0.0), torch.zeros_like(x))


# Haar wavelets


def haar_matrix(size):
    """Return the orthonormal matrix of even size: first the sums of all pairs, then differences."""
    first, second = torch.eye(size, dtype=torch.complex128).reshape(-1, 2, size).unbind(1)
    return torch.cat([first + second, first - second]) / math.sqrt(2)


def explicit_haar(x, dims, threshold, levels, dice):
    """Apply the shrinkage by explicit orthonormal matrices, with offsets from `dice`."""
    x, sizes = x.clone(), {}
    region = [slice(None)] * x.ndim
    for dim in dims:
        offset = dice.randrange(2) if x.shape[dim] > 2 else 0
        size = (x.shape[dim] - offset) // 2 * 2
        if size:
            region[dim], sizes[dim] = slice(offset, offset + size), size

    if not sizes:
        return x
    coefficients = x[tuple(region)]
    for dim, size in sizes.items():
        coefficients = torch.tensordot(haar_matrix(size), coefficients.movedim(dim, 0), 1).movedim(
            0, dim
        )

    sums = tuple(slice(sizes[dim] // 2) if dim in sizes else slice(None) for dim in range(x.ndim))
    low = coefficients[sums].clone()
    soft_threshold(coefficients, threshold)
    coefficients[sums] = (
        explicit_haar(low, dims, threshold, levels - 1, dice) if levels > 1 else low
    )

    for dim, size in sizes.items():
        coefficients = torch.tensordot(
            haar_matrix(size).T, coefficients.movedim(dim, 0), 1
        ).movedim(0, dim)

    x[tuple(region)] = coefficients
    return x


@pytest.mark.parametrize("dims", [(0,), (1,), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize(
    "shape", [(8, 16, 16), (7, 13, 9), (2, 31, 3), (5, 2, 24), (3, 5, 1), (1, 1, 1)]
)
@pytest.mark.parametrize("levels", [1, 2, 4])
def test_haar_shrinkage_agrees_with_orthonormal_matrices(dims, shape, levels):
    dice, shrink = random.Random(0), HaarShrinkage(dims, 0.5, levels)
    for seed in range(4):
        x = cnormal(*shape, seed=seed)
        torch.testing.assert_close(shrink(x.clone()), explicit_haar(x, dims, 0.5, levels, dice))


class LoadedDice:
    """A random generator that returns the given numbers."""

    def __init__(self, *numbers):
        self.numbers = list(numbers)

    def randrange(self, stop):
        return self.numbers.pop(0)


@pytest.mark.parametrize("offset", [0, 1])
def test_a_huge_threshold_leaves_the_means_of_pairs(offset):
    x = cnormal(9, 3, 2)
    shrink = HaarShrinkage((0,), 1e6, 1)
    shrink.random = LoadedDice(offset)
    pairs = x[offset : offset + 8].reshape(4, 2, 3, 2).mean(1).repeat_interleave(2, 0)
    expected = torch.cat([pairs, x[8:]] if offset == 0 else [x[:1], pairs])
    torch.testing.assert_close(shrink(x.clone()), expected)


def test_a_huge_threshold_leaves_the_means_of_blocks():
    x = cnormal(2, 16, 8)
    shrink = HaarShrinkage((1, 2), 1e6, 3)
    shrink.random = LoadedDice(*[0] * 6)
    blocks = (
        x.reshape(2, 2, 8, 1, 8).mean((2, 4), keepdim=True).expand(2, 2, 8, 1, 8).reshape(2, 16, 8)
    )
    torch.testing.assert_close(shrink(x.clone()), blocks)


def test_haar_shrinkage_does_not_wrap_around():
    x = torch.zeros((40, 40, 40), dtype=torch.complex128)
    x[0] = x[:, 0] = x[:, :, 0] = 1
    for dims in ((0,), (1, 2)):
        shrink = HaarShrinkage(dims, 0.1, 4)
        for _ in range(5):
            assert torch.equal(shrink(x.clone())[20:, 20:, 20:], x[20:, 20:, 20:])


def test_shifts_change_between_calls_but_not_between_objects():
    x = cnormal(8, 12, 10)
    for make in (lambda: HaarShrinkage((1, 2), 0.5, 2), lambda: BlockShrinkage(1.0, 4)):
        first, again = make(), make()
        found = [first(x.clone()) for _ in range(6)]
        assert all(torch.equal(f, again(x.clone())) for f in found)
        assert any(not torch.equal(found[0], f) for f in found[1:])


# Total variation over time


def temporal_variation(x, cyclic=False):
    wrapped = (x[0] - x[-1]).abs().sum() if cyclic else 0
    return (x[1:] - x[:-1]).abs().sum() + wrapped


def converged(given, threshold, calls=4000, cyclic=False):
    shrink = TemporalVariationShrinkage(threshold, cyclic=cyclic)
    for _ in range(calls):
        shrunk = shrink(given.clone())
    return shrunk


def test_temporal_variation_moves_two_frames_towards_each_other():
    given = cnormal(2, 5, 6)
    gap = (given[1] - given[0]) / 2
    step = shorten(gap.clone(), 0.8)
    torch.testing.assert_close(
        converged(given, 0.8, 200), torch.stack([given[0] + step, given[1] - step])
    )


@pytest.mark.parametrize("frames", [3, 9])
def test_repeated_calls_reach_the_proximal_map_of_temporal_variation(frames):
    given = cnormal(frames, 3, 4)
    shrunk = converged(given, 0.5)
    assert_proximal(shrunk, given, lambda x: 0.5 * temporal_variation(x))

    # Independent check: the accelerated dual method (Beck and Teboulle, IEEE Trans Image Process
    # 2009;18:2419).
    dual = ahead = torch.zeros_like(given[1:])
    momentum = 1.0

    for _ in range(3000):
        primal = subtract_divergence(given.clone(), ahead)
        previous, dual = dual, shorten(ahead + 0.25 * (primal[1:] - primal[:-1]), 0.5)
        before, momentum = momentum, (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = dual + (before - 1) / momentum * (dual - previous)

    torch.testing.assert_close(shrunk, subtract_divergence(given.clone(), dual), atol=1e-6, rtol=0)


@pytest.mark.parametrize("frames", [2, 3, 8])
def test_cyclic_temporal_variation_counts_the_step_from_the_last_frame_to_the_first(frames):
    given = cnormal(frames, 3, 4)
    shrunk = converged(given, 0.5, cyclic=True)
    assert_proximal(shrunk, given, lambda x: 0.5 * temporal_variation(x, cyclic=True))
    torch.testing.assert_close(
        converged(given.roll(1, 0), 0.5, cyclic=True), shrunk.roll(1, 0), atol=1e-5, rtol=0
    )


def test_a_huge_weight_of_temporal_variation_leaves_the_mean():
    given = cnormal(4, 3, 3)
    torch.testing.assert_close(converged(given, 100.0, 1000), given.mean(0).expand_as(given))


def test_temporal_variation_leaves_a_single_frame_unchanged():
    given = cnormal(1, 3, 4)
    for cyclic in (False, True):
        assert torch.equal(TemporalVariationShrinkage(0.5, cyclic=cyclic)(given.clone()), given)


def test_subtract_divergence_is_the_adjoint_of_differences():
    x, dual = cnormal(5, 2, 3), cnormal(4, 2, 3, seed=1)
    adjoint = -subtract_divergence(torch.zeros_like(x), dual)
    torch.testing.assert_close(
        torch.vdot((x[1:] - x[:-1]).flatten(), dual.flatten()),
        torch.vdot(x.flatten(), adjoint.flatten()),
    )


# Low rank


def svd_threshold(matrices, threshold):
    u, s, v = torch.linalg.svd(matrices, full_matrices=False)
    return (u * (s - threshold).clamp(min=0)[..., None, :]) @ v


@pytest.mark.parametrize("shape", [(6, 4, 16), (12, 40), (2, 3, 9, 7), (1, 5)])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.complex64, 1e-4), (torch.complex128, 1e-10)]
)
def test_singular_value_threshold_agrees_with_the_svd(shape, dtype, tolerance):
    matrices = cnormal(*shape, dtype=dtype)
    shrunk = singular_value_threshold(matrices, 2.0)
    assert shrunk.dtype == dtype
    torch.testing.assert_close(shrunk, svd_threshold(matrices, 2.0), atol=tolerance, rtol=0)


def test_singular_value_threshold_of_low_rank_and_zero_matrices():
    matrices = cnormal(3, 8, 2) @ cnormal(3, 2, 30, seed=1)
    matrices[1] = 0
    torch.testing.assert_close(
        singular_value_threshold(matrices, 0.5), svd_threshold(matrices, 0.5), atol=1e-6, rtol=0
    )
    assert torch.equal(singular_value_threshold(matrices, 1e6), torch.zeros_like(matrices))


def test_singular_value_threshold_is_the_proximal_map_of_the_nuclear_norm():
    given = cnormal(5, 12)
    penalty = lambda x: 1.5 * torch.linalg.svdvals(x).sum()  # noqa: E731
    assert_proximal(singular_value_threshold(given, 1.5), given, penalty)


@pytest.mark.parametrize("shape", [(4, 16, 24), (5, 13, 9), (2, 3, 4), (1, 8, 8), (9, 1, 17)])
@pytest.mark.parametrize("size", [4, 8])
def test_block_shrinkage_treats_every_block_separately(shape, size):
    dice, shrink = random.Random(0), BlockShrinkage(1.5, size)
    _, ny, nx = shape
    for seed in range(3):
        x = cnormal(*shape, seed=seed)
        top, left = dice.randrange(size), dice.randrange(size)
        expected = torch.empty_like(x)
        for y0 in range(-top, ny, size):
            for x0 in range(-left, nx, size):
                block = (
                    slice(None),
                    slice(max(0, y0), max(0, y0 + size)),
                    slice(max(0, x0), max(0, x0 + size)),
                )
                # Zeros that fill up a block at the edge do not change its singular values.
                if x[block].numel():
                    expected[block] = svd_threshold(x[block].flatten(1), 1.5).reshape(
                        x[block].shape
                    )

        torch.testing.assert_close(shrink(x.clone()), expected, atol=1e-9, rtol=0)


# Fourier over time


def test_temporal_fourier_shrinkage_is_the_proximal_map_of_all_nonzero_frequencies():
    given = cnormal(6, 3, 4)
    shrunk = temporal_fourier_shrinkage(given, 0.8)
    torch.testing.assert_close(shrunk.mean(0), given.mean(0))
    assert_proximal(
        shrunk, given, lambda x: 0.8 * torch.fft.fft(x, dim=0, norm="ortho")[1:].abs().sum()
    )
    torch.testing.assert_close(
        temporal_fourier_shrinkage(given, 1e6), given.mean(0).expand_as(given)
    )


def test_temporal_fourier_shrinkage_leaves_a_single_frame_unchanged():
    given = cnormal(1, 3, 4)
    torch.testing.assert_close(temporal_fourier_shrinkage(given, 1e6), given)


# Properties of all proximal maps

IN_PLACE = {
    "soft_threshold": lambda: lambda x: soft_threshold(x, 0.5),
    "shorten": lambda: lambda x: shorten(x, 0.5),
    "haar over time": lambda: HaarShrinkage((0,), 0.5, 2),
    "haar over space": lambda: HaarShrinkage((1, 2), 0.5, 2),
    "temporal variation": lambda: TemporalVariationShrinkage(0.5),
    "blocks": lambda: BlockShrinkage(0.5, 4),
}
FRESH = {
    "temporal fourier": lambda: lambda x: temporal_fourier_shrinkage(x, 0.5),
    "singular values": lambda: lambda x: singular_value_threshold(x, 0.5),
}


@pytest.mark.parametrize("make", IN_PLACE.values(), ids=IN_PLACE)
def test_shrinks_in_place(make):
    x = cnormal(6, 9, 7)
    before = x.clone()
    shrunk = make()(x)
    assert shrunk.data_ptr() == x.data_ptr()
    assert torch.equal(shrunk, x)
    assert not torch.equal(shrunk, before)


@pytest.mark.parametrize("make", FRESH.values(), ids=FRESH)
def test_the_input_is_not_changed(make):
    x = cnormal(6, 9, 7)
    make()(x)
    assert torch.equal(x, cnormal(6, 9, 7))


@pytest.mark.parametrize("make", {**IN_PLACE, **FRESH}.values(), ids={**IN_PLACE, **FRESH})
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.complex64, 1e-5), (torch.complex128, 1e-12)]
)
def test_precision_and_order_in_memory_do_not_matter(make, dtype, tolerance):
    x = cnormal(6, 9, 7)
    expected, given = make()(x.clone()), y_fastest(x.to(dtype))
    shrunk = make()(given)
    assert shrunk.dtype == dtype
    torch.testing.assert_close(shrunk.to(torch.complex128), expected, atol=tolerance, rtol=0)
