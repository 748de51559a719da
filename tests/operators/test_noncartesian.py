import math
from importlib.util import find_spec

import pytest
import torch
from refusals import refused

from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import centred, fft2c, ifft2c
from cmrrecon.operators.noncartesian import (
    NonCartesianEncoding,
    average_images,
    calibration,
    density,
    fast_length,
    grid,
)
from cmrrecon.operators.nufft import adjoint, forward
from cmrrecon.operators.sensitivity import espirit

pytestmark = pytest.mark.skipif(
    find_spec("finufft") is None, reason="needs finufft, the extra nufft"
)

# (frames, coils, y, x, spokes, samples), frames of trajectory, mask and weights
CASES = {
    "even": ((2, 3, 12, 16, 5, 20), (2, 2, 2)),
    "odd": ((3, 2, 9, 15, 4, 17), (3, 1, 1)),
    "one coil, one for all frames": ((2, 1, 10, 7, 3, 11), (1, 1, 1)),
    "only the mask changes": ((3, 2, 8, 8, 6, 8), (1, 3, 1)),
    "prime": ((1, 2, 13, 11, 7, 5), (1, 1, 1)),
}
TOLERANCE = {torch.complex64: 1e-4, torch.complex128: 1e-11}


def generator(seed):
    return torch.Generator().manual_seed(seed)


def cnormal(*shape, dtype=torch.complex128, seed=0):
    return torch.randn(shape, dtype=dtype, generator=generator(seed))


def anywhere(frames, spokes, samples, y, x, seed=0):
    """Random positions between -n/2 and n/2."""
    return (
        torch.rand((frames, spokes, samples, 2), generator=generator(seed)) - 0.5
    ) * torch.tensor([float(y), float(x)])


def every_sample(y, x):
    """Cartesian k-space positions as a trajectory of one frame."""
    return torch.stack(
        torch.meshgrid(torch.arange(y) - y // 2, torch.arange(x) - x // 2, indexing="ij"), -1
    )[None].float()


def radial(spokes, samples, n, frames=1):
    angle = torch.arange(frames * spokes).reshape(frames, spokes, 1) * math.radians(111.246)
    radius = (torch.arange(samples) - samples // 2) * (n / samples)
    return torch.stack([angle.sin() * radius, angle.cos() * radius], -1)


def everything(spokes, frames=1):
    return torch.ones((frames, spokes, 1), dtype=torch.bool)


def smooth_image(n, seed=0):
    """An object with soft edges in the middle of the field of view, complex."""
    r = torch.linspace(-1, 1, n)
    y, x = r[:, None], r[None, :]
    shape = torch.sigmoid((0.55 - (y**2 + 1.5 * x**2).sqrt()) * 20) + 0.5 * torch.sigmoid(
        (0.2 - ((y - 0.1) ** 2 + x**2).sqrt()) * 25
    )
    return torch.polar(shape, x + 0.5 * y)


def smooth_maps(n):
    r = torch.linspace(-1, 1, n)
    y, x = r[:, None], r[None, :]
    maps = torch.stack(
        [
            torch.polar(torch.exp(-((y - a) ** 2 + (x - b) ** 2)), a * x + b * y)
            for a, b in ((1, 0), (-1, 0), (0, 1), (0, -1))
        ]
    )
    return maps / rss(maps)


def dense(A, frame):
    """A as a matrix (sample, pixel) for each coil, straight from its definition."""
    y, x = A.maps.shape[1:]
    points = A.trajectory[frame % len(A.trajectory)].flatten(0, 1).double()
    pixels = every_sample(y, x).reshape(-1, 2).double()
    phase = points / torch.tensor([y, x]) @ pixels.T
    fourier = torch.exp(-2j * math.pi * phase) / math.sqrt(y * x)
    measured = A.mask[frame % len(A.mask)].expand(-1, A.trajectory.shape[2]).reshape(-1, 1)
    return fourier * measured * A.maps.flatten(1)[:, None]


def relative(found, expected):
    return float((found - expected).norm() / expected.norm())


@pytest.fixture(params=TOLERANCE, ids=["single", "double"])
def dtype(request):
    return request.param


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def problem(request, dtype):
    (frames, coils, y, x, spokes, samples), (of_trajectory, of_mask, of_weights) = request.param
    mask = torch.rand((of_mask, spokes, 1), generator=generator(1)) < 0.7
    mask[:, 0] = True
    weights = torch.rand((of_weights, spokes, samples), generator=generator(2))
    A = NonCartesianEncoding(
        cnormal(coils, y, x, dtype=dtype),
        anywhere(of_trajectory, spokes, samples, y, x),
        mask,
        weights,
    )
    return (
        A,
        cnormal(frames, y, x, dtype=dtype, seed=3),
        cnormal(frames, coils, spokes, samples, dtype=dtype, seed=4),
    )


def test_forward_is_the_documented_sum(problem, dtype):
    A, x, k = problem
    expected = torch.stack(
        [dense(A, t) @ image.flatten().to(torch.complex128) for t, image in enumerate(x)]
    )
    assert A(x).dtype == dtype
    assert relative(A(x), expected.reshape(k.shape)) < TOLERANCE[dtype]


def test_adjoint_is_the_adjoint_with_weights(problem, dtype):
    A, x, k = problem
    expected = [
        (
            dense(A, t).mH
            @ (samples * A.weights[t % len(A.weights)]).flatten(1)[..., None].to(torch.complex128)
        ).sum(0)
        for t, samples in enumerate(k)
    ]
    assert relative(A.H(k), torch.stack(expected).reshape(x.shape)) < TOLERANCE[dtype]


def test_normal_is_adjoint_of_forward(problem, dtype):
    A, x, _ = problem
    assert relative(A.N(x), A.H(A(x))) < TOLERANCE[dtype]
    assert A.N(x).dtype == dtype


def test_normal_is_hermitian_and_positive_semidefinite(problem, dtype):
    A, x, _ = problem
    other = cnormal(*x.shape, dtype=dtype, seed=9)
    scale = float(x.norm() * A.N(other).norm())
    assert (
        abs(
            complex(
                torch.vdot(x.flatten(), A.N(other).flatten())
                - torch.vdot(A.N(x).flatten(), other.flatten())
            )
        )
        < 1e-5 * scale
    )
    assert float(torch.vdot(x.flatten(), A.N(x).flatten()).real) > 0


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.complex64, 1e-5), (torch.complex128, 1e-12)]
)
def test_adjointness_over_random_shapes(dtype, tolerance):
    for seed in range(60):
        frames, coils, spokes, samples, y, x = (
            int(n) for n in torch.randint(1, 14, (6,), generator=generator(seed))
        )
        mask = torch.rand((1, spokes, 1), generator=generator(seed)) < 0.8
        A = NonCartesianEncoding(
            cnormal(coils, y, x, dtype=dtype, seed=seed),
            anywhere(frames, spokes, samples, y, x, seed),
            mask,
        )
        image, k = (
            cnormal(frames, y, x, dtype=dtype, seed=seed),
            cnormal(frames, coils, spokes, samples, dtype=dtype, seed=seed + 1),
        )
        there, back = (
            torch.vdot(A(image).flatten(), k.flatten()),
            torch.vdot(image.flatten(), A.H(k).flatten()),
        )
        assert abs(complex(there - back)) <= tolerance * float(
            image.norm() * k.norm() * A.maps.abs().max() * coils
        ), seed


@pytest.mark.parametrize(("y", "x"), [(20, 24), (21, 17), (64, 33)])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.complex64, 4e-5), (torch.complex128, 1e-11)]
)
def test_on_cartesian_positions_it_is_the_centred_transform(y, x, dtype, tolerance):
    maps, images = cnormal(3, y, x, dtype=dtype), cnormal(2, y, x, dtype=dtype, seed=1)
    A = NonCartesianEncoding(maps, every_sample(y, x), everything(y))
    expected = fft2c(maps * images[:, None])
    assert relative(A(images), expected) < tolerance
    assert relative(A.H(expected), (maps.conj() * maps).sum(0) * images) < tolerance
    assert relative(A.N(images), (maps.conj() * maps).sum(0) * images) < tolerance


def test_functions_accept_any_leading_axes_and_no_points():
    images, points = cnormal(2, 3, 8, 9), anywhere(1, 1, 5, 8, 9)[0, 0]
    assert forward(images, points).shape == (2, 3, 5)
    torch.testing.assert_close(forward(images[1, 2], points), forward(images, points)[1, 2])
    assert forward(images, points[:0]).shape == (2, 3, 0)
    samples = cnormal(2, 3, 5)
    assert adjoint(samples, points, (8, 9)).shape == (2, 3, 8, 9)
    assert not adjoint(samples[..., :0], points[:0], (8, 9)).any()


def test_masked_spokes_are_ignored():
    maps, trajectory = cnormal(2, 12, 12), anywhere(2, 6, 9, 12, 12)
    mask = everything(6)
    mask[:, [1, 4]] = False
    kept = mask[0, :, 0]
    A, fewer = (
        NonCartesianEncoding(maps, trajectory, mask),
        NonCartesianEncoding(maps, trajectory[:, kept], mask[:, kept]),
    )
    x, k = cnormal(2, 12, 12), cnormal(2, 2, 6, 9)
    assert not A(x)[:, :, ~kept].any()
    torch.testing.assert_close(A(x)[:, :, kept], fewer(x))
    torch.testing.assert_close(A.H(k), fewer.H(k[:, :, kept]))
    torch.testing.assert_close(A.N(x), fewer.N(x))


def test_a_frame_without_spokes_gives_zeros():
    mask = everything(4, 2)
    mask[1] = False
    A = NonCartesianEncoding(cnormal(2, 8, 8), anywhere(1, 4, 9, 8, 8), mask)
    for result in (A(cnormal(2, 8, 8)), A.H(cnormal(2, 2, 4, 9)), A.N(cnormal(2, 8, 8))):
        assert result[0].any()
        assert not result[1].any()
    assert not density(A.trajectory, mask, (8, 8))[1].any()


def test_gradients_flow_through_the_normal_operator():
    A = NonCartesianEncoding(cnormal(2, 8, 8), anywhere(1, 4, 9, 8, 8), everything(4))
    x = cnormal(1, 8, 8).requires_grad_()
    A.N(x).abs().sum().backward()
    assert x.grad.abs().sum() > 0


def test_fast_lengths_are_long_enough_and_easy_to_transform():
    for least in range(1, 700):
        length = fast_length(least)
        assert least <= length <= max(32, 1.25 * least + 16)
        for prime in (2, 3, 5, 7):
            while length % prime == 0:
                length //= prime
        assert length == 1
    assert fast_length(448) == 448


def test_density_is_one_on_cartesian_positions_and_shared_by_repeated_ones():
    once = density(every_sample(16, 20), everything(16), (16, 20))
    torch.testing.assert_close(once, torch.ones(1, 16, 20), atol=0.01, rtol=0)
    twice = density(every_sample(16, 20).repeat(1, 2, 1, 1), everything(32), (16, 20))
    torch.testing.assert_close(twice, torch.full((1, 32, 20), 0.5), atol=0.01, rtol=0)


def test_density_of_dense_spokes_is_the_ramp():
    n, spokes, samples = 64, 120, 128
    angle, k = (
        torch.arange(spokes)[:, None] * math.pi / spokes,
        (torch.arange(samples) - samples // 2) * (n / samples),
    )
    trajectory = torch.stack([angle.sin() * k, angle.cos() * k], -1)[None]
    weights = density(trajectory, everything(spokes), (n, n))
    radius = torch.linalg.vector_norm(trajectory, dim=-1)
    inner = (radius > 2) & (radius < 0.4 * n)
    ramp = math.pi * radius / spokes * (n / samples)
    torch.testing.assert_close(weights[inner], ramp[inner], rtol=0.15, atol=0)
    assert bool((weights > 0).all())


def test_density_is_zero_where_nothing_was_measured():
    mask = everything(6, 2)
    mask[0, 2] = False
    weights = density(radial(6, 20, 16), mask, (16, 16))
    assert weights.shape == (2, 6, 20)
    assert not weights[0, 2].any()
    assert bool((weights[1] > 0).all())
    torch.testing.assert_close(
        weights[0, [0, 1, 3, 4, 5]],
        density(radial(6, 20, 16)[:, [0, 1, 3, 4, 5]], everything(5), (16, 16))[0],
    )


def test_with_density_weights_the_normal_operator_has_norm_one():
    n = 32
    trajectory = radial(12, 64, n)
    A = NonCartesianEncoding(
        smooth_maps(n), trajectory, everything(12), density(trajectory, everything(12), (n, n))
    )
    x = cnormal(1, n, n, dtype=torch.complex64)
    for _ in range(30):
        x = A.N(x / x.norm())
    assert float(x.norm()) == pytest.approx(1, abs=0.1)


def test_gridding_many_spokes_gives_the_coil_images():
    n = 48
    coils = smooth_maps(n) * smooth_image(n)
    trajectory = radial(160, 96, n)
    kspace = forward(coils, trajectory[0].flatten(0, 1)).reshape(1, 4, 160, 96)
    found = grid(kspace, trajectory, everything(160), (n, n))
    assert found.shape == (1, 4, n, n)
    assert relative(found[0], coils) < 0.03


def test_gridding_cartesian_positions_is_the_inverse_transform():
    kspace = cnormal(2, 3, 16, 20, dtype=torch.complex64)
    assert (
        relative(grid(kspace, every_sample(16, 20), everything(16), (16, 20)), ifft2c(kspace))
        < 0.01
    )


@pytest.mark.parametrize("turning", [True, False])
def test_the_average_uses_the_spokes_of_all_frames_together(turning):
    n, frames = 48, 10
    coils = smooth_maps(n) * smooth_image(n)
    trajectory = radial(16, 96, n, frames) if turning else radial(160, 96, n)
    spokes = trajectory.shape[1]
    kspace = torch.stack(
        [forward(coils, part.flatten(0, 1)).reshape(4, spokes, 96) for part in trajectory]
    )
    mask = everything(spokes)
    if not turning:
        kspace = kspace.repeat(frames, 1, 1, 1)
    assert relative(average_images(kspace, trajectory, mask, (n, n)), coils) < 0.03


def test_calibration_is_the_centre_of_cartesian_kspace_and_gives_the_maps():
    n = 48
    maps, image = smooth_maps(n), smooth_image(n)
    trajectory = radial(16, 96, n, 10)
    kspace = torch.stack(
        [forward(maps * image, part.flatten(0, 1)).reshape(4, 16, 96) for part in trajectory]
    )
    found = calibration(kspace, trajectory, everything(16), (n, n), 24)
    centre = centred(n, 24)
    assert found.shape == (4, 24, 24)
    assert relative(found, fft2c(maps * image)[:, centre, centre]) < 0.02
    inside = image.abs() > 0.5
    alike = (espirit(found, (n, n)).conj() * maps).sum(0).abs()[inside]
    assert float(alike.min()) > 0.99
    assert calibration(kspace, trajectory, everything(16), (n, n), 100).shape == (4, n, n)


@pytest.mark.parametrize(
    ("trajectory", "mask", "weights"),
    [
        ((1, 5, 9, 3), (1, 5, 1), None),
        ((5, 9, 2), (1, 5, 1), None),
        ((1, 5, 9, 2), (1, 4, 1), None),
        ((1, 5, 9, 2), (1, 5, 9), None),
        ((1, 5, 9, 2), (1, 5, 1), (1, 5, 8)),
        ((2, 5, 9, 2), (3, 5, 1), None),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(trajectory, mask, weights):
    with refused("shape-mismatch"):
        NonCartesianEncoding(
            cnormal(2, 8, 8),
            torch.zeros(trajectory),
            torch.ones(mask, dtype=torch.bool),
            None if weights is None else torch.ones(weights),
        )


def test_other_number_of_frames_is_refused():
    A = NonCartesianEncoding(cnormal(2, 8, 8), anywhere(3, 4, 9, 8, 8), everything(4))
    for call in (
        lambda: A(cnormal(2, 8, 8)),
        lambda: A.N(cnormal(2, 8, 8)),
        lambda: A.H(cnormal(2, 2, 4, 9)),
    ):
        with refused("shape-mismatch"):
            call()


@pytest.mark.parametrize("position", [float("nan"), float("inf"), 1e30, -9.0])
def test_positions_outside_kspace_are_refused(position):
    trajectory = anywhere(1, 4, 9, 8, 8)
    trajectory[0, 1, 2, 0] = position
    A = NonCartesianEncoding(cnormal(2, 8, 8), trajectory, everything(4))
    for call in (
        lambda: A(cnormal(1, 8, 8)),
        lambda: A.N(cnormal(1, 8, 8)),
        lambda: A.H(cnormal(1, 2, 4, 9)),
    ):
        with refused("trajectory-units"):
            call()
