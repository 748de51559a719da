import random
from typing import NamedTuple

import pytest
import torch
from kinds import mask_of
from refusals import refused
from torch import Tensor

from cmrrecon.operators.cartesian import Encoding, LineEncoding, SampleEncoding, encoding, y_fastest
from cmrrecon.operators.fourier import fft2c, ifft2c
from cmrrecon.operators.linear import LinearOperator

CASES = {
    "one coil, one mask, odd": (2, 1, 7, 9, (1, 7, 1)),
    "frame masks, even": (3, 4, 8, 10, (3, 8, 1)),
    "radial, odd y": (3, 5, 9, 8, (3, 9, 8)),
    "radial, one mask": (2, 8, 6, 7, (1, 6, 7)),
    "one frame": (1, 3, 5, 4, (1, 5, 1)),
}


# Rounding errors of single and double precision, relative to 1.
ROUNDING = {torch.complex64: 1e-5, torch.complex128: 1e-12}
# Whole lines or samples, and whether each frame has its own mask.
KINDS = [(True, False), (True, True), (False, False), (False, True)]


def cnormal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))


class Drawn(NamedTuple):
    """An encoding of random shape, its maps and mask, and random images and k-space to match."""

    A: Encoding
    maps: Tensor
    mask: Tensor
    columns: slice
    images: Tensor
    kspace: Tensor

    def coil_images(self, images):
        full = images.new_zeros((*images.shape[:2], self.maps.shape[2]))
        full[..., self.columns] = images
        return self.maps * full[:, None]

    def combined(self, coil_images):
        return (self.maps.conj() * coil_images).sum(1)[..., self.columns]


def draw(seed, dtype):
    """Draw odd or even sizes, lines or samples, one mask or one per frame, all or some columns.

    Some masks are empty.
    """
    dice = random.Random(seed)
    frames, coils, ny, nx = (
        dice.randint(1, 5),
        dice.randint(1, 12),
        dice.randint(1, 16),
        dice.randint(1, 16),
    )
    lines, moving = KINDS[seed % len(KINDS)]
    mask = (
        torch.rand(
            (frames if moving else 1, ny, 1 if lines else nx),
            generator=torch.Generator().manual_seed(seed),
        )
        < dice.random()
    )
    if moving:
        mask[dice.randrange(frames)] = False
    first = dice.randrange(nx)
    columns = dice.choice([slice(None), slice(first, dice.randint(first + 1, nx))])
    width = len(range(*columns.indices(nx)))
    maps, images, kspace = (
        cnormal(*shape, seed=3 * seed + i).to(dtype)
        for i, shape in enumerate([(coils, ny, nx), (frames, ny, width), (frames, coils, ny, nx)])
    )
    # Solvers keep images in the operator's memory order; callers do not.
    images = y_fastest(images) if dice.random() < 0.5 else images
    return Drawn(encoding(maps, mask_of(mask), columns), maps, mask, columns, images, kspace)


def norm(x):
    return float(torch.linalg.vector_norm(x.to(torch.complex128)))


def inner(a, b):
    return complex(torch.vdot(a.flatten().to(torch.complex128), b.flatten().to(torch.complex128)))


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def problem(request):
    frames, coils, y, x, mask_shape = request.param
    mask = torch.rand(mask_shape, generator=torch.Generator().manual_seed(1)) < 0.5
    A = encoding(cnormal(coils, y, x, seed=2), mask_of(mask))
    return A, cnormal(frames, y, x, seed=3), cnormal(frames, coils, y, x, seed=4)


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("seed", range(200))
def test_adjointness_and_the_plain_operator_on_random_shapes(seed, dtype):
    drawn, tolerance = draw(seed, dtype), ROUNDING[dtype]
    A, x, k = drawn.A, drawn.images, drawn.kspace

    forward, adjoint, normal = A(x), A.H(k), A.N(x)
    assert (forward.dtype, adjoint.dtype, normal.dtype) == (dtype,) * 3
    assert (forward.shape, adjoint.shape, normal.shape) == (k.shape, x.shape, x.shape)
    assert abs(inner(forward, k) - inner(x, adjoint)) <= tolerance * norm(forward) * norm(k)

    mask = drawn.mask[:, None]
    plain = fft2c(drawn.coil_images(x)) * mask
    assert norm(forward - plain) <= tolerance * norm(plain)
    plain = drawn.combined(ifft2c(plain))
    assert norm(normal - plain) <= tolerance * norm(plain)
    assert norm(normal - A.H(forward)) <= tolerance * norm(plain)
    plain = drawn.combined(ifft2c(k * mask))
    assert norm(adjoint - plain) <= tolerance * norm(plain)
    unmeasured = ~drawn.mask.any(2).any(1).expand(len(x))
    for result in (forward, adjoint, normal):
        assert torch.equal(result[unmeasured], torch.zeros_like(result[unmeasured]))


def test_random_shapes_are_of_every_kind():
    drawn = [draw(seed, torch.complex64) for seed in range(200)]
    sizes = {(d.maps.shape[1] % 2, d.maps.shape[2] % 2, d.mask.shape[2] == 1) for d in drawn}
    assert len(sizes) == 8
    assert {len(d.maps) for d in drawn} == set(range(1, 13))
    assert {len(d.images) for d in drawn} == set(range(1, 6))
    assert {d.images.shape[2] < d.maps.shape[2] for d in drawn} == {True, False}
    assert {(len(d.mask) == 1, bool(d.mask.any((1, 2)).all())) for d in drawn} >= {
        (True, True),
        (False, False),
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("columns", [slice(None), slice(1, 3)])
def test_gradients_are_those_of_finite_differences(kind, columns):
    lines, moving = kind
    mask = (
        torch.rand(
            (2 if moving else 1, 3, 1 if lines else 4), generator=torch.Generator().manual_seed(5)
        )
        < 0.6
    )
    A = encoding(cnormal(2, 3, 4, seed=1), mask_of(mask), columns)
    x = cnormal(2, 3, 4, seed=2)[..., columns].clone().requires_grad_()
    k = cnormal(2, 2, 3, 4, seed=3).requires_grad_()
    assert torch.autograd.gradcheck(A, x)
    assert torch.autograd.gradcheck(A.H, k)
    assert torch.autograd.gradcheck(A.N, x)
    assert torch.autograd.gradgradcheck(lambda v: A.N(v).abs().square(), x)


@pytest.mark.parametrize("mask_shape", [(1, 5, 1), (3, 5, 6)])
def test_maps_of_zero_give_zero(mask_shape):
    A = encoding(
        torch.zeros((3, 5, 6), dtype=torch.complex64),
        mask_of(torch.ones(mask_shape, dtype=torch.bool)),
    )
    x, k = (cnormal(*shape).to(torch.complex64) for shape in [(3, 5, 6), (3, 3, 5, 6)])
    for result in (A(x), A.H(k), A.N(x)):
        assert torch.equal(result, torch.zeros_like(result))


@pytest.mark.parametrize("mask_shape", [(1, 5, 1), (3, 5, 6)])
def test_inputs_are_not_changed(mask_shape):
    A = encoding(cnormal(3, 5, 6), mask_of(torch.rand(mask_shape) < 0.5))
    for call, shape in [(A, (3, 5, 6)), (A.H, (3, 3, 5, 6)), (A.N, (3, 5, 6))]:
        given = cnormal(*shape)
        call(given)
        assert torch.equal(given, cnormal(*shape))


@pytest.mark.parametrize("mask_shape", [(3, 9, 1), (3, 9, 8)])
def test_frames_processed_together_give_the_same_as_alone(mask_shape, monkeypatch):
    A = encoding(
        cnormal(3, 9, 8, seed=1),
        mask_of(torch.rand(mask_shape, generator=torch.Generator().manual_seed(2)) < 0.5),
        slice(2, 7),
    )
    x = cnormal(3, 9, 5, seed=3)
    alone = A.N(x)
    # As on a GPU: two frames, then the last.
    monkeypatch.setattr(
        A,
        "_batches",
        lambda frames: ((part, A.weights[part]) for part in (slice(0, 2), slice(2, 3))),
    )
    torch.testing.assert_close(A.N(x), alone)


@pytest.mark.parametrize("kind", [LineEncoding, SampleEncoding])
@pytest.mark.parametrize("columns", [slice(None), slice(2, 5)])
def test_each_kind_is_a_linear_operator_with_its_adjoint(kind, columns):
    shape = (3, 5, 1 if kind is LineEncoding else 6)
    A = encoding(
        cnormal(4, 5, 6),
        mask_of(torch.rand(shape, generator=torch.Generator().manual_seed(3)) < 0.5),
        columns,
    )
    assert type(A) is kind
    assert isinstance(A, LinearOperator)
    x, k = cnormal(3, 5, 6, seed=1)[..., columns], cnormal(3, 4, 5, 6, seed=2)
    assert inner(A(x), k) == pytest.approx(inner(x, A.H(k)))
    torch.testing.assert_close(A.N(x), LinearOperator.N(A, x))


def test_operators_are_linear(problem):
    A, x, k = problem
    other_x, other_k = cnormal(*x.shape, seed=5), cnormal(*k.shape, seed=6)
    torch.testing.assert_close(A(2j * x + other_x), 2j * A(x) + A(other_x))
    torch.testing.assert_close(A.H(2j * k + other_k), 2j * A.H(k) + A.H(other_k))
    torch.testing.assert_close(A.N(2j * x + other_x), 2j * A.N(x) + A.N(other_x))


def test_adjoint_ignores_samples_outside_the_mask(problem):
    A, _, k = problem
    torch.testing.assert_close(A.H(k), A.H(k * A.mask.samples[:, None]))


@pytest.mark.parametrize("mask_shape", [(1, 5, 1), (1, 5, 7), (1, 6, 3)])
def test_mask_of_another_size_is_refused(mask_shape):
    samples = torch.ones(mask_shape, dtype=torch.bool)
    samples[..., 1:] = False
    with refused("shape-mismatch"):
        encoding(cnormal(2, 6, 7), mask_of(samples))


def test_maps_of_other_axes_are_refused():
    with refused("shape-mismatch"):
        encoding(cnormal(1, 2, 6, 7), mask_of(torch.ones((1, 6, 1), dtype=torch.bool)))


def test_other_number_of_frames_is_refused():
    A = encoding(cnormal(2, 6, 7), mask_of(torch.eye(3, 6, dtype=torch.bool)[..., None]))
    for call in (A, A.N):
        with refused("shape-mismatch"):
            call(cnormal(2, 6, 7))
    with refused("shape-mismatch"):
        A.H(cnormal(4, 2, 6, 7))


@pytest.mark.parametrize("one_mask", [False, True])
@pytest.mark.parametrize("x_mask", [1, 10])
def test_normal_operator_of_frames_together_is_that_of_single_frames(monkeypatch, one_mask, x_mask):
    mask = (
        torch.rand((1 if one_mask else 5, 9, x_mask), generator=torch.Generator().manual_seed(1))
        < 0.5
    )
    A, x = encoding(cnormal(3, 9, 10, seed=2), mask_of(mask), slice(2, 7)), cnormal(5, 9, 5, seed=3)
    single = A.N(x)

    def two_together(frames):
        for first in range(0, frames, 2):
            part = slice(first, min(first + 2, frames))
            yield part, A.weights if len(A.weights) == 1 else A.weights[part]

    monkeypatch.setattr(A, "_batches", two_together)
    torch.testing.assert_close(A.N(x), single)
