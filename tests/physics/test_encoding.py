import pytest
import torch

from cmrrecon.errors import UsageError
from cmrrecon.physics.encoding import Encoding
from cmrrecon.physics.fourier import fft2c

CASES = {
    "one coil, one mask, odd": (2, 1, 7, 9, (1, 7, 1)),
    "frame masks, even": (3, 4, 8, 10, (3, 8, 1)),
    "radial, odd y": (3, 5, 9, 8, (3, 9, 8)),
    "radial, one mask": (2, 8, 6, 7, (1, 6, 7)),
    "one frame": (1, 3, 5, 4, (1, 5, 1)),
}


def cnormal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def problem(request):
    frames, coils, y, x, mask_shape = request.param
    mask = torch.rand(mask_shape, generator=torch.Generator().manual_seed(1)) < 0.5
    A = Encoding(cnormal(coils, y, x, seed=2), mask)
    return A, cnormal(frames, y, x, seed=3), cnormal(frames, coils, y, x, seed=4)


def test_adjoint_is_the_adjoint(problem):
    A, x, k = problem
    torch.testing.assert_close(torch.vdot(A(x).flatten(), k.flatten()), torch.vdot(x.flatten(), A.H(k).flatten()))


def test_normal_is_adjoint_of_forward(problem):
    A, x, _ = problem
    torch.testing.assert_close(A.N(x), A.H(A(x)))


def test_forward_is_masked_transform_of_coil_images(problem):
    A, x, _ = problem
    expected = fft2c(A.maps * x[:, None]) * A.mask[:, None]
    torch.testing.assert_close(A(x), expected)


def test_operators_are_linear(problem):
    A, x, k = problem
    other_x, other_k = cnormal(*x.shape, seed=5), cnormal(*k.shape, seed=6)
    torch.testing.assert_close(A(2j * x + other_x), 2j * A(x) + A(other_x))
    torch.testing.assert_close(A.H(2j * k + other_k), 2j * A.H(k) + A.H(other_k))
    torch.testing.assert_close(A.N(2j * x + other_x), 2j * A.N(x) + A.N(other_x))


def test_adjoint_ignores_samples_outside_the_mask(problem):
    A, _, k = problem
    torch.testing.assert_close(A.H(k), A.H(k * A.mask[:, None]))


def test_gradients_flow_through_all_three_operators(problem):
    A, x, k = problem
    x, k = x.clone().requires_grad_(), k.clone().requires_grad_()
    (A.N(x).abs().sum() + A(x).abs().sum() + A.H(k).abs().sum()).backward()
    assert x.grad.abs().sum() > 0
    assert k.grad.abs().sum() > 0


@pytest.mark.parametrize("mask_shape", [(1, 5, 1), (1, 6, 3), (6, 1)])
def test_mask_of_another_size_is_refused(mask_shape):
    with pytest.raises(UsageError, match="same y and x"):
        Encoding(cnormal(2, 6, 7), torch.ones(mask_shape, dtype=torch.bool))


def test_other_number_of_frames_is_refused():
    A = Encoding(cnormal(2, 6, 7), torch.ones((3, 6, 1), dtype=torch.bool))
    for call in (A, A.N):
        with pytest.raises(UsageError, match="3 frames and the data 2"):
            call(cnormal(2, 6, 7))
    with pytest.raises(UsageError, match="3 frames and the data 4"):
        A.H(cnormal(4, 2, 6, 7))
