import pytest
import torch

from cmrrecon.solvers import conjugate_gradient, fista, primal_dual
from cmrrecon.solvers.shrinkage import shorten, soft_threshold

SIZE = 12


def cnormal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))


def hermitian(seed, size=SIZE):
    a = cnormal(size, size, seed=seed)
    return a @ a.mH + torch.eye(size)


class LeastSquares:
    """The problem 1/2 ||A x - y||^2 with one matrix of norm one for each frame (frame, 3, 4).

    With few rows it is ill-posed.
    """

    def __init__(self, frames=3, rows=10, dtype=torch.complex128):
        matrices = cnormal(frames, rows, SIZE, seed=1)
        self.matrices = (matrices / torch.linalg.matrix_norm(matrices, 2, keepdim=True)).to(dtype)
        self.data = cnormal(frames, rows, 1, seed=2).to(dtype)
        self.rhs = (self.matrices.mH @ self.data).reshape(frames, 3, 4)
        self.start = torch.zeros_like(self.rhs)

    def normal(self, x):
        return (self.matrices.mH @ (self.matrices @ x.reshape(len(x), SIZE, 1))).reshape(x.shape)

    def __call__(self, x):
        return float(
            0.5 * (self.matrices @ x.reshape(len(x), SIZE, 1) - self.data).abs().square().sum()
        )


def over_frames(x):
    return x[1:] - x[:-1]


def over_frames_adjoint(d):
    return torch.cat([-d[:1], d[:-1] - d[1:], d[-1:]])


def l1_by_fista(problem, weight, iterations, **options):
    return fista(
        problem.normal,
        problem.rhs,
        lambda v: soft_threshold(v, weight),
        problem.start,
        iterations,
        **options,
    )


def l1_by_primal_dual(problem, weight, iterations, **options):
    def same(x):
        return x.clone()

    def project(dual):
        return shorten(dual, weight)

    return primal_dual(
        problem.normal, problem.rhs, same, same, project, 1.0, problem.start, iterations, **options
    )


def variation_by_primal_dual(problem, weight, iterations, **options):
    def project(dual):
        return shorten(dual, weight)

    return primal_dual(
        problem.normal,
        problem.rhs,
        over_frames,
        over_frames_adjoint,
        project,
        4.0,
        problem.start,
        iterations,
        **options,
    )


def least_squares_by_cg(problem, weight, iterations, **options):
    return conjugate_gradient(
        lambda x: problem.normal(x).add_(x, alpha=weight), problem.rhs, iterations, **options
    )


SOLVERS = {
    solver.__name__: solver
    for solver in (least_squares_by_cg, l1_by_fista, l1_by_primal_dual, variation_by_primal_dual)
}


@pytest.fixture(params=SOLVERS.values(), ids=SOLVERS)
def solve(request):
    return request.param


# Conjugate gradient


def test_conjugate_gradient_equals_the_direct_solution_of_every_frame():
    matrices = torch.stack([hermitian(0), 100 * hermitian(1), hermitian(2)])
    rhs = cnormal(3, 3, 4, seed=3)

    def normal(x):
        return (matrices @ x.reshape(3, SIZE, 1)).reshape(3, 3, 4)

    found = conjugate_gradient(normal, rhs, iterations=40, tolerance=1e-12)
    expected = torch.linalg.solve(matrices, rhs.reshape(3, SIZE, 1)).reshape(3, 3, 4)
    torch.testing.assert_close(found.x, expected)


def test_conjugate_gradient_reports_the_true_residual_of_the_worst_frame():
    problem = LeastSquares(rows=20)
    found = conjugate_gradient(problem.normal, problem.rhs, iterations=5)
    residual = (problem.normal(found.x) - problem.rhs).flatten(1)
    worst = (
        torch.linalg.vector_norm(residual, dim=1)
        / torch.linalg.vector_norm(problem.rhs.flatten(1), dim=1)
    ).max()
    assert found.residuals[-1] == pytest.approx(float(worst))


def test_a_zero_frame_does_not_affect_the_others():
    matrix = hermitian(0)
    rhs = torch.zeros((2, 3, 4), dtype=torch.complex128)
    rhs[1] = 1
    x = conjugate_gradient(
        lambda v: (matrix @ v.reshape(2, SIZE, 1)).reshape(2, 3, 4), rhs, iterations=60
    ).x
    assert torch.equal(x[0], rhs[0])
    torch.testing.assert_close(matrix @ x[1].flatten(), rhs[1].flatten())


def test_conjugate_gradient_stops_at_the_tolerance():
    calls = []
    rhs = torch.ones((1, 2, 2), dtype=torch.complex64)
    found = conjugate_gradient(
        lambda v: calls.append(1) or 2 * v, rhs, iterations=50, tolerance=1e-5
    )
    assert len(calls) == len(found.residuals) == 1


def test_a_solved_problem_needs_no_steps():
    found = conjugate_gradient(
        LeastSquares(rows=20).normal, torch.zeros((3, 3, 4), dtype=torch.complex128), 10
    )
    assert not found.x.any()
    assert found.residuals == ()


def test_a_custom_inner_product_is_used_everywhere():
    problem, calls = LeastSquares(rows=20), []

    def inner(a, b):
        calls.append(None)
        return (torch.view_as_real(a) * torch.view_as_real(b)).sum((1, 2, 3))[:, None, None]

    found = conjugate_gradient(problem.normal, problem.rhs, 5, inner=inner)
    torch.testing.assert_close(found.x, conjugate_gradient(problem.normal, problem.rhs, 5).x)
    assert len(calls) > 10


def test_the_exact_inverse_as_preconditioner_solves_in_one_step():
    matrices = torch.stack([hermitian(0), 100 * hermitian(1), hermitian(2)])
    rhs = cnormal(3, 3, 4, seed=3)

    def normal(x):
        return (matrices @ x.reshape(3, SIZE, 1)).reshape(3, 3, 4)

    def inverse(x):
        return torch.linalg.solve(matrices, x.reshape(3, SIZE, 1)).reshape(3, 3, 4)

    found = conjugate_gradient(normal, rhs, 1, precondition=inverse)
    torch.testing.assert_close(found.x, inverse(rhs))
    assert found.residuals[0] < 1e-10


def test_a_preconditioner_reaches_the_same_solution_in_fewer_steps_with_true_residuals():
    diagonal = torch.logspace(0, 6, SIZE, dtype=torch.float64).reshape(3, 4)
    coupling = 1e-2 * hermitian(1)
    rhs = cnormal(2, 3, 4, seed=3)

    def normal(x):
        return diagonal * x + (coupling @ x.reshape(2, SIZE, 1)).reshape(x.shape)

    plain = conjugate_gradient(normal, rhs, 500, tolerance=1e-10)
    preconditioned_result = conjugate_gradient(
        normal, rhs, 500, tolerance=1e-10, precondition=lambda r: r / diagonal
    )
    torch.testing.assert_close(preconditioned_result.x, plain.x, atol=1e-9, rtol=1e-7)
    assert len(preconditioned_result.residuals) < len(plain.residuals) / 2
    early = conjugate_gradient(normal, rhs, 2, precondition=lambda r: r / diagonal)
    left = torch.linalg.vector_norm((normal(early.x) - rhs).flatten(1), dim=1)
    worst = (left / torch.linalg.vector_norm(rhs.flatten(1), dim=1)).max()
    assert early.residuals[-1] == pytest.approx(float(worst))


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("preconditioned", [False, True])
def test_gradients_reach_rhs_and_the_operator(steps, preconditioned):
    factors, rhs = cnormal(2, 4, 4, seed=1), cnormal(2, 2, 2, seed=2)
    weight = torch.tensor([[[0.5]], [[2.0]]], dtype=torch.float64)
    options = (
        {"precondition": lambda r: r / torch.arange(1.0, 5.0).reshape(2, 2)}
        if preconditioned
        else {}
    )

    def solve(factors, weight, rhs):
        def normal(x):
            product = factors.mH @ (factors @ x.reshape(2, 4, 1))
            return product.reshape(x.shape) + weight * x

        return conjugate_gradient(normal, rhs, steps, **options).x

    arguments = [argument.requires_grad_() for argument in (factors, weight, rhs)]
    assert torch.autograd.gradcheck(solve, arguments)


def test_gradients_of_a_solved_problem_are_finite():
    problem, rhs = LeastSquares(rows=20), torch.zeros((3, 3, 4), dtype=torch.complex128)
    rhs[1:] = cnormal(2, 3, 4)
    rhs.requires_grad_()
    conjugate_gradient(problem.normal, rhs, 50).x.abs().square().sum().backward()
    assert torch.isfinite(torch.view_as_real(rhs.grad)).all()
    assert (rhs.grad[0] == 0).all()


def test_steps_after_the_solution_do_no_harm_with_a_singular_operator():
    problem = LeastSquares(rows=5)
    # This frame is solved after two steps and must then stay unchanged.
    problem.matrices[0, 2:] = 0
    problem.rhs = (problem.matrices.mH @ problem.data).reshape(3, 3, 4)
    x = conjugate_gradient(problem.normal, problem.rhs, iterations=300).x
    expected = torch.linalg.pinv(problem.matrices) @ problem.data
    torch.testing.assert_close(x, expected.reshape(x.shape), atol=1e-8, rtol=0)


# Minima


@pytest.mark.parametrize("solver", [l1_by_fista, l1_by_primal_dual])
def test_l1_of_an_identity_is_soft_thresholding(solver):
    problem = LeastSquares(rows=SIZE)
    problem.matrices = torch.eye(SIZE, dtype=torch.complex128).expand(3, SIZE, SIZE)
    problem.rhs = cnormal(3, 3, 4)
    torch.testing.assert_close(
        solver(problem, 0.6, 200).x, soft_threshold(problem.rhs.clone(), 0.6)
    )


@pytest.mark.parametrize("solver", [l1_by_fista, l1_by_primal_dual])
def test_l1_minimum_satisfies_its_optimality_conditions(solver):
    problem, weight = LeastSquares(rows=16), 0.1
    x = solver(problem, weight, 4000).x
    gradient = problem.normal(x) - problem.rhs
    active = x.abs() > 1e-6
    assert 0 < int(active.sum()) < x.numel()
    torch.testing.assert_close(gradient[active], -weight * torch.sgn(x[active]), atol=1e-6, rtol=0)
    assert gradient[~active].abs().max() <= weight + 1e-6


def test_variation_moves_two_frames_towards_each_other():
    problem = LeastSquares(frames=2)
    problem.matrices = torch.eye(SIZE, dtype=torch.complex128).expand(2, SIZE, SIZE)
    problem.rhs = cnormal(2, 3, 4)
    step = shorten((problem.rhs[1] - problem.rhs[0]) / 2, 0.5)
    expected = torch.stack([problem.rhs[0] + step, problem.rhs[1] - step])
    torch.testing.assert_close(variation_by_primal_dual(problem, 0.5, 2000).x, expected)


def test_fista_and_primal_dual_agree_on_total_variation():
    problem, weight = LeastSquares(frames=4, rows=24), 0.05

    def prox(v):
        """Compute the proximal map of the variation by projected gradient steps on its dual."""
        dual = torch.zeros_like(v[1:])
        for _ in range(100):
            dual = shorten(dual + 0.25 * over_frames(v - over_frames_adjoint(dual)), weight)
        return v - over_frames_adjoint(dual)

    def objective(x):
        return problem(x) + weight * float(over_frames(x).abs().sum())

    by_fista = fista(problem.normal, problem.rhs, prox, problem.start, 200).x
    by_primal_dual = variation_by_primal_dual(problem, weight, 2000).x
    assert objective(by_primal_dual) == pytest.approx(objective(by_fista), rel=1e-8)
    assert objective(by_primal_dual) < 0.9 * objective(problem.start)
    torch.testing.assert_close(by_primal_dual, by_fista, atol=1e-3, rtol=0)


# Properties of all solvers


def test_every_step_has_a_residual_and_residuals_fall(solve):
    steps = []
    residuals = solve(
        LeastSquares(rows=20), 0.05, 60, monitor=lambda step, x: bool(steps.append(step))
    ).residuals
    assert len(residuals) == len(steps)
    assert len(residuals) == 60 or solve is least_squares_by_cg
    assert residuals[-1] < 0.02 * residuals[0]
    assert all(isinstance(r, float) for r in residuals)


def test_monitor_sees_every_step_and_stops(solve):
    problem, seen = LeastSquares(), []

    def monitor(step, x):
        seen.append((step, x.clone()))
        return step == 4

    found = solve(problem, 0.05, 30, monitor=monitor)
    assert [step for step, _ in seen] == [1, 2, 3, 4]
    assert len(found.residuals) == 4
    assert torch.equal(found.x, seen[-1][1])
    for step, x in seen:
        assert torch.equal(solve(problem, 0.05, step).x, x)


def test_without_steps_the_result_is_the_start(solve):
    problem = LeastSquares()
    found = solve(problem, 0.05, 0)
    assert torch.equal(found.x, problem.start)
    assert found.residuals == ()


def test_rhs_and_start_are_not_changed(solve):
    problem = LeastSquares()
    problem.start = cnormal(3, 3, 4, seed=7)
    kept = problem.rhs.clone(), problem.start.clone()
    solve(problem, 0.05, 10)
    assert torch.equal(problem.rhs, kept[0])
    assert torch.equal(problem.start, kept[1])


def test_single_precision_gives_the_same_result(solve):
    single, double = (
        solve(LeastSquares(dtype=dtype), 0.05, 50) for dtype in (torch.complex64, torch.complex128)
    )
    assert single.x.dtype == torch.complex64
    assert double.x.dtype == torch.complex128
    torch.testing.assert_close(single.x.to(torch.complex128), double.x, atol=1e-4, rtol=0)


def test_a_frame_of_zeros_stays_zero(solve):
    problem = LeastSquares()
    problem.rhs[:] = 0
    found = solve(problem, 0.05, 20)
    assert torch.equal(found.x, problem.start)
    assert all(residual == 0 for residual in found.residuals)


@pytest.mark.parametrize("solve", [least_squares_by_cg, l1_by_fista, l1_by_primal_dual])
def test_frames_are_independent(solve):
    problem = LeastSquares()
    together = solve(problem, 0.05, 8).x
    problem.rhs = problem.rhs.clone()
    problem.rhs[0] *= 1e4
    problem.rhs[1] = 0
    torch.testing.assert_close(solve(problem, 0.05, 8).x[2], together[2])
