import torch

from cmrrecon.classical.solvers import conjugate_gradient


def hermitian(seed, size=12):
    a = torch.randn((size, size), dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))
    return a @ a.mH + torch.eye(size)


def test_equals_the_direct_solution_of_every_frame():
    matrices = torch.stack([hermitian(0), 100 * hermitian(1), hermitian(2)])
    rhs = torch.randn((3, 3, 4), dtype=torch.complex128, generator=torch.Generator().manual_seed(3))

    def normal(x):
        return (matrices @ x.reshape(3, 12, 1)).reshape(3, 3, 4)

    x = conjugate_gradient(normal, rhs, iterations=40, tolerance=1e-12)
    expected = torch.linalg.solve(matrices, rhs.reshape(3, 12, 1)).reshape(3, 3, 4)
    torch.testing.assert_close(x, expected)


def test_a_frame_of_zeros_stays_zero_and_does_not_disturb_the_others():
    matrix = hermitian(0)
    rhs = torch.zeros((2, 3, 4), dtype=torch.complex128)
    rhs[1] = 1
    x = conjugate_gradient(lambda v: (matrix @ v.reshape(2, 12, 1)).reshape(2, 3, 4), rhs, iterations=60)
    assert torch.equal(x[0], rhs[0])
    torch.testing.assert_close(matrix @ x[1].flatten(), rhs[1].flatten())


def test_stops_at_the_tolerance():
    calls = []
    rhs = torch.ones((1, 2, 2), dtype=torch.complex64)
    conjugate_gradient(lambda v: calls.append(1) or 2 * v, rhs, iterations=50, tolerance=1e-5)
    assert len(calls) == 1
