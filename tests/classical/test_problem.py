import pytest
import torch
from kinds import mask_of, normal
from refusals import refused

from cmrrecon.classical.coils import estimate_coils
from cmrrecon.classical.low_rank import llr
from cmrrecon.classical.prepared import normalisation
from cmrrecon.classical.problem import Problem
from cmrrecon.classical.sense import sense
from cmrrecon.classical.total_variation import temporal_tv
from cmrrecon.data import LineMask, Series
from cmrrecon.operators.cartesian import encoding
from cmrrecon.operators.coils import apply_matrix, rss, virtual_coils
from cmrrecon.operators.fourier import ifft2c
from cmrrecon.operators.sensitivity import calibration_block
from cmrrecon.sampling.make import make_mask
from cmrrecon.simulation import simulate


def psnr(image, reference):
    return float(
        10
        * torch.log10(reference.abs().max() ** 2 / (image.abs() - reference.abs()).square().mean())
    )


def relative(a, b):
    return float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b))


@pytest.fixture(
    params=[(False, False), (True, False), (False, True), (True, True)],
    ids=["lines", "samples", "moving lines", "moving samples"],
)
def series(request, cine):
    radial, moving = request.param
    return cine(coils=10, frames=3, radial=radial, moving=moving, shape=(46, 57))[0]


@pytest.mark.parametrize("virtual", [1, 4, 10, 32])
def test_coils_have_unit_rss_on_the_columns_where_any_coil_sees(series, virtual):
    coils = estimate_coils(series, virtual)
    assert coils.maps.shape == (min(virtual, 10), 46, 57)
    assert coils.measured.shape == (10, 46, 57)
    for maps in (coils.maps, coils.measured):
        size = rss(maps)
        torch.testing.assert_close(size, (size > 0).float())
    seen = coils.maps.abs().amax((0, 1)) > 0
    assert seen[coils.columns][[0, -1]].all()
    assert not seen[: coils.columns.start].any()
    assert not seen[coils.columns.stop :].any()
    assert coils.columns.stop - coils.columns.start < 57 or virtual == 1


def test_folded_compression_equals_compressing_kspace(series):
    coils = estimate_coils(series, virtual=6)
    problem = Problem.of(normal(series), coils)
    matrix = virtual_coils([calibration_block(series.kspace, series.mask)], 6)
    torch.testing.assert_close(
        matrix @ matrix.mH, torch.eye(6, dtype=torch.complex64), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        torch.einsum("vc,cyx->vyx", matrix, coils.measured), coils.maps, atol=1e-5, rtol=0
    )
    virtual = encoding(coils.maps, series.mask)
    # For line masks the virtual coils of single columns drop a hundredth of the amplitude.
    near = 1e-2 if isinstance(series.mask, LineMask) else 1e-5
    rhs = virtual.H(apply_matrix(matrix, series.kspace))
    assert relative(problem.whole(problem.rhs), rhs) < near
    images = torch.randn(
        problem.rhs.shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(0)
    )
    kspace = apply_matrix(matrix, encoding(coils.measured, series.mask)(problem.whole(images)))
    assert relative(problem.whole(problem.A.N(images)), virtual.H(kspace)) < near


def test_start_is_the_combined_time_average_and_the_rhs_of_a_single_frame(series):
    coils = estimate_coils(series, virtual=8)
    problem = Problem.of(normal(series), coils)
    assert (
        problem.start.shape
        == problem.rhs.shape
        == (3, 46, coils.columns.stop - coils.columns.start)
    )
    assert torch.equal(problem.start[0], problem.start[2])
    if not series.mask.varies:
        assert relative(problem.start[0], problem.rhs.mean(0)) < 1e-5
    single = Problem.of(normal(Series(series.kspace[:1], mask_of(series.mask.samples[:1]))), coils)
    assert relative(single.start, single.rhs) < 1e-5


def test_average_of_a_still_object_is_its_image(cine):
    series, truth = cine(frames=3, step=3, moving=True)
    still = Series(cine(frames=1, step=1)[0].kspace * series.mask.samples[:, None], series.mask)
    problem = Problem.of(normal(still), estimate_coils(still, virtual=8))
    assert psnr(problem.whole(problem.start), truth[:1]) > 45


def test_whole_images_are_zero_outside_the_columns(series):
    problem = Problem.of(normal(series), estimate_coils(series, virtual=8))
    whole = problem.whole(torch.ones_like(problem.rhs))
    assert whole.shape == (3, 46, 57)
    assert (whole[..., problem.columns] == 1).all()
    assert whole.abs().sum() == problem.rhs.numel()


def test_samples_outside_the_mask_are_ignored(series):
    mask = series.mask.samples.clone()
    mask[:, ::2] = False
    mask[:, 17:29] = series.mask.samples[:, 17:29]
    coils = estimate_coils(series, virtual=8)
    given, cleaned = (
        Problem.of(normal(Series(kspace, mask_of(mask))), coils)
        for kspace in (series.kspace, series.kspace * mask[:, None])
    )
    torch.testing.assert_close(given.rhs, cleaned.rhs)
    torch.testing.assert_close(given.start, cleaned.start)


def test_norm_is_up_to_one(series):
    problem = Problem.of(normal(series), estimate_coils(series, virtual=6))
    x = torch.randn(
        problem.rhs.shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(0)
    )
    for _ in range(30):
        x = problem.A.N(x / torch.linalg.vector_norm(x))
    assert 0.5 < torch.linalg.vector_norm(x) <= 1 + 1e-5


def test_one_coil_sees_everything_alike(cine):
    series, _ = cine(coils=1)
    coils = estimate_coils(series, virtual=8)
    assert coils.columns == slice(0, 56)
    torch.testing.assert_close(coils.maps, torch.ones_like(coils.maps))
    torch.testing.assert_close(
        Problem.of(normal(series), coils).rhs.abs(),
        ifft2c(series.kspace)[:, 0].abs(),
        atol=1e-5,
        rtol=1e-4,
    )


def test_silent_coils_change_nothing(cine):
    series, _ = cine(coils=6)
    kspace = torch.zeros((2, 12, 45, 56), dtype=torch.complex64)
    kspace[:, ::2] = series.kspace
    silent = Series(kspace, series.mask)
    with_silent, without = (
        Problem.of(normal(s), estimate_coils(s, virtual=8)) for s in (silent, series)
    )
    assert with_silent.columns == without.columns
    assert relative(with_silent.rhs.abs(), without.rhs.abs()) < 1e-3


def test_maps_that_vanish_are_refused(cine):
    series, _ = cine()
    # A single sample in the corner has no neighbourhood to calibrate coils from.
    series.kspace[:, :, 16:28] = 0
    series.kspace[:, :, 16, 0] = 1
    with refused("maps-empty"):
        estimate_coils(series, virtual=8)


def test_calibration_lines_without_signal_are_refused(cine):
    series, _ = cine()
    series.kspace[:, :, 16:28] = 0
    with refused("calibration-empty"):
        estimate_coils(series, virtual=8)
    with refused("calibration-too-small") as error:
        estimate_coils(cine(step=9, acs=3)[0], virtual=8)
    assert "Only 3 " in str(error.value)


# Largest cost of eight instead of ten coils in dB: little with random lines, more with folded
# ones, which need all coils.
@pytest.mark.parametrize(
    ("pattern", "acceleration", "cost"), [("kt-gaussian", 8, 0.25), ("uniform", 4, 0.6)]
)
@pytest.mark.parametrize("method", [sense, temporal_tv, llr])
def test_eight_of_ten_coils_are_nearly_as_good(method, pattern, acceleration, cost):
    made = simulate("cine", slices=1, coils=10, y=96, x=160, frames=6, seed=1)
    mask = make_mask(pattern, frames=6, y=96, x=160, acceleration=acceleration, acs=16, seed=1)
    series = Series(made.scan.series(0).kspace * mask[:, None], mask_of(mask))
    scale = normalisation(series)
    series = series.scaled(1 / scale)

    def quality(virtual):
        problem = Problem.of(normal(series), estimate_coils(series, virtual))
        return psnr(problem.whole(method(problem).x), made.image[:, 0] / scale)

    assert quality(8) > quality(10) - cost


@pytest.mark.parametrize("spokes", [3, 16])
def test_the_problem_of_spokes_has_norm_up_to_one_and_solvers_converge(spokes):
    pytest.importorskip("finufft")
    made = simulate(
        "cine", frames=2, slices=1, coils=1 if spokes == 3 else 4, y=48, x=64, spokes=spokes
    )
    series = made.scan.series(0)
    series = series.scaled(1 / normalisation(series))
    problem = Problem.of(normal(series), estimate_coils(series))
    x = torch.randn((2, 48, 48), dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    for _ in range(40):
        x = problem.A.N(x / torch.linalg.vector_norm(x))
    assert torch.linalg.vector_norm(x) < 1.02
    long = llr(problem, weight=1e-4, iterations=150).x
    assert float(long.abs().max()) < 20
