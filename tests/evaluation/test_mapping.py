"""T1 and T2 fits against known curves, another optimiser, simulated hearts and measured ones."""

import itertools

import numpy as np
import pytest
import scipy.io
import torch
from refusals import refused
from scipy.optimize import curve_fit

from cmrrecon.evaluation.mapping import compare_maps, fit_t1, fit_t2, full_scale, parameter_of
from cmrrecon.simulation import simulate
from cmrrecon.simulation.heart import Heart, heart_layers
from cmrrecon.simulation.phantoms import DIASTASIS, INVERSION_TIMES, PREPARATION_TIMES, positions
from cmrrecon.simulation.shapes import grid
from cmrrecon.simulation.tissues import TISSUES

MOLLI = torch.tensor(INVERSION_TIMES, dtype=torch.float64)
PREPARED = torch.tensor(PREPARATION_TIMES, dtype=torch.float64)
T1 = torch.linspace(150, 3500, 200, dtype=torch.float64)


def recovery(times, t1, inversion=2.0, density=1.0):
    """|signal| (frame, pixel) of an imperfect inversion read out by pulses.

    The apparent T1 is t1 / (inversion - 1).
    """
    return (density * (1 - inversion * torch.exp(-times[:, None] * (inversion - 1) / t1))).abs()


@pytest.mark.parametrize("inversion", [2.0, 1.7, 1.45])
def test_t1_of_exact_curves(inversion):
    assert torch.allclose(fit_t1(recovery(MOLLI, T1, inversion), MOLLI), T1, rtol=1e-6, atol=0)


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_t1_does_not_depend_on_the_unit_of_the_images(unit):
    signal = unit * recovery(MOLLI, T1)
    series = full_scale(signal[:, None])
    assert float(series.max()) == pytest.approx(1000)
    assert torch.allclose(fit_t1(series[:, 0], MOLLI), T1, rtol=1e-6, atol=0)


def test_the_order_of_the_weightings_does_not_matter_and_a_last_time_of_zero_leaves_one_out():
    signal, order = recovery(MOLLI, T1), torch.tensor([3, 0, 8, 1, 5, 2, 7, 6, 4])
    assert torch.allclose(fit_t1(signal[order], MOLLI[order]), T1, rtol=1e-6, atol=0)
    more = torch.cat([signal, torch.full_like(signal[:1], 123.0)])
    assert torch.allclose(fit_t1(more, torch.cat([MOLLI, torch.zeros(1)])), T1, rtol=1e-6, atol=0)


def test_t1_of_noisy_curves_is_unbiased_and_close():
    generator = torch.Generator().manual_seed(0)
    truth = torch.full((2000,), 1200.0, dtype=torch.float64)
    noise = 0.02 * torch.randn((2, 9, 2000), generator=generator, dtype=torch.float64)
    fitted = fit_t1(torch.hypot(recovery(MOLLI, truth, 1.9) + noise[0], noise[1]), MOLLI)
    assert float(fitted.mean()) == pytest.approx(1200, rel=0.01)
    assert float(fitted.std()) < 60
    assert int((fitted == 0).sum()) == 0


def test_t1_is_the_least_squares_fit_of_another_optimiser():
    generator = torch.Generator().manual_seed(1)
    truth = torch.tensor([300.0, 700, 1000, 1250, 1600, 2200], dtype=torch.float64)
    signal = (
        recovery(MOLLI, truth, 1.9)
        + 0.03 * torch.randn((9, 6), generator=generator, dtype=torch.float64)
    ).abs()
    fitted = fit_t1(signal, MOLLI)

    def model(t, a, b, c):
        return a * (1 - np.exp(-b * t)) + c

    for pixel in range(6):
        best = (np.inf, 0.0)
        for flipped in range(9):
            y = 350 * signal[:, pixel].numpy().copy()
            y[:flipped] *= -1
            try:
                (a, b, c), *_ = curve_fit(
                    model, MOLLI.numpy(), y, p0=(700, 0.001, -350), maxfev=5000
                )
            except RuntimeError:
                continue
            found = (a / (a + c) - 1) / b
            if a + c > 0 and 0 < found < 1e5 and 50 < 1 / b < 10_000:
                best = min(best, (float(((model(MOLLI.numpy(), a, b, c) - y) ** 2).sum()), found))
        assert float(fitted[pixel]) == pytest.approx(best[1], rel=1e-3)


def test_a_curve_that_is_no_recovery_is_not_fitted():
    rising, zero = (
        torch.linspace(1, 1.001, 9, dtype=torch.float64),
        torch.zeros(9, dtype=torch.float64),
    )
    decaying = torch.exp(-MOLLI / 40) + 1
    fitted = fit_t1(torch.stack([zero, decaying, rising], 1), MOLLI)
    assert fitted[0] == 0
    assert fitted.isfinite().all()
    assert (fitted >= 0).all()


def test_t2_of_exact_curves_and_its_limits():
    t2 = torch.tensor([20.0, 46.0, 120.0, 199.0, 201.0, 900.0, -50.0], dtype=torch.float64)
    fitted = fit_t2(70 * torch.exp(-PREPARED[:, None] / t2), PREPARED)
    assert torch.allclose(
        fitted, torch.tensor([20.0, 46, 120, 199, 0, 0, 0], dtype=torch.float64), rtol=1e-9
    )
    dark = torch.tensor([[5.0, 0.0, 1.0], [0.0, 0.0, 1.0], [2.0, 0.0, 1.0]], dtype=torch.float64)
    assert fit_t2(dark, PREPARED).tolist() == [0, 0, 0]


def test_t2_is_the_line_of_least_squares():
    signal = torch.rand(
        (3, 50), generator=torch.Generator().manual_seed(2), dtype=torch.float64
    ) + torch.exp(-PREPARED[:, None] / 30)
    slope = np.polyfit(PREPARED.numpy(), np.log(signal.numpy()), 1)[0]
    expected = np.where((-1 / slope > 0) & (-1 / slope <= 200), -1 / slope, 0)
    np.testing.assert_allclose(fit_t2(signal, PREPARED).numpy(), expected, rtol=1e-9)
    assert 0 < (expected == 0).sum() < 50


def test_too_few_times_are_refused():
    with refused("times-too-few"):
        fit_t1(torch.ones((4, 2)), torch.tensor([100.0, 100, 900, 1800]))
    with refused("times-too-few"):
        fit_t2(torch.ones((2, 2)), torch.tensor([35.0, 35]))


def square(slices=1):
    inside = torch.zeros((slices, 12, 12), dtype=torch.bool)
    inside[:, 3:9, 3:9] = True
    return inside


def heart(t1, slices=1):
    """A series (frame, slice, y, x) of one T1 inside a rim of fat, and times (frame, slice)."""
    signal = recovery(MOLLI, torch.tensor([float(t1)]))[:, :, None, None].repeat(1, slices, 12, 12)
    signal[..., 0, :] = 40
    return signal, MOLLI[:, None].repeat(1, slices)


def test_maps_are_compared_inside_the_myocardium():
    reference, times = heart(1200, slices=2)
    image, _ = heart(1250, slices=2)
    image[..., 9:, 9:] = 3.3  # outside
    found = compare_maps(5 * image, reference, square(2), times, "T1")
    assert (found.parameter, found.pixels, found.failed, found.reference_failed) == ("T1", 72, 0, 0)
    assert found.mean == pytest.approx(1250)
    assert found.reference_mean == pytest.approx(1200)
    assert found.rmse == pytest.approx(50, rel=1e-5)


def test_failed_fits_count_as_zero_and_those_of_the_reference_are_left_out():
    reference, times = heart(1200)
    image, _ = heart(1200)
    image[:, :, 3, 3:6] = 0
    reference[:, :, 8, 3] = 0
    found = compare_maps(image, reference, square(), times, "T1")
    assert (found.pixels, found.failed, found.reference_failed) == (35, 3, 1)
    assert found.mean == pytest.approx(1200 * 32 / 35)
    assert found.rmse == pytest.approx(1200 * (3 / 35) ** 0.5)


def test_slices_have_their_own_times():
    reference, times = heart(1000, slices=2)
    later = MOLLI + 40
    reference[:, 1] = recovery(later, torch.tensor([1000.0]))[:, :, None]
    times = torch.stack([MOLLI, later], 1)
    assert compare_maps(reference, reference, square(2), times, "T1").mean == pytest.approx(1000)
    assert (
        compare_maps(reference, reference, square(2), MOLLI[:, None].repeat(1, 2), "T1").rmse == 0
    )


def test_what_cannot_be_compared_is_refused():
    reference, times = heart(1200)
    with refused("times-shape"):
        compare_maps(reference, reference, square(), times[:5], "T1")
    with refused("labels-empty"):
        compare_maps(reference, reference, square() & False, times, "T1")
    dark = reference.clone()
    dark[..., 3:9, 3:9] = 0
    with refused("fit-failed"):
        compare_maps(reference, dark, square(), times, "T1")


def test_only_mapping_series_have_a_parameter():
    assert [
        parameter_of(base) for base in ("T1map", "T1mappost", "T2map", "T2smap", "cine_sax")
    ] == ["T1", "T1", "T2", None, None]


def wall(seed, y, x):
    """Where the one slice of a phantom is all myocardium, (slice, y, x) bool."""
    layers = heart_layers(Heart.draw(seed), positions(1)[0], torch.tensor([DIASTASIS]), *grid(y, x))
    inside = torch.zeros((1, y, x), dtype=torch.bool)
    for layer in layers:
        inside[layer.cover > 1e-4] = False
        inside[layer.cover > 1 - 1e-4] = layer.tissue in ("myocardium", "ischaemia")
    return inside


@pytest.mark.parametrize(
    ("kind", "value"), [("t1map", TISSUES["myocardium"].t1), ("t2map", TISSUES["myocardium"].t2)]
)
def test_simulated_hearts_give_the_values_of_their_tissue(kind, value):
    made = simulate(kind, slices=1, coils=1, y=160, x=160, seed=3)
    found = compare_maps(
        1e-7 * made.image, made.image, wall(3, 160, 160), made.times, kind[:2].upper()
    )
    assert found.pixels > 20
    assert found.reference_mean == pytest.approx(value, rel=1e-3)
    assert found.rmse < 1e-3 * value


def test_measured_hearts_give_the_published_maps(real_data):
    """The maps beside these series correct for imperfect inversion by a constant.

    They differ from ours by one factor.
    """
    ratios = []
    for when, subject in itertools.product(("pre", "post"), range(3)):
        content = scipy.io.loadmat(real_data / f"gadluru-T1NET/{when}contrast_testsets.mat")[
            "test"
        ][0, 0]
        wall = torch.from_numpy(content["myoMask"][subject, 0] > 0)
        series = torch.from_numpy(content["input"][subject, 0].astype("float64")).permute(2, 0, 1)
        fitted = fit_t1(
            full_scale(series)[:, wall],
            torch.from_numpy(content["TI"][subject].astype("float64").ravel()),
        )
        published = torch.from_numpy(content["T1"][subject, 0].astype("float64"))[wall]
        assert int((fitted == 0).sum()) == 0
        ratios.append(published / fitted)
    middles = torch.stack([ratio.median() for ratio in ratios])
    assert float(middles.max() - middles.min()) < 0.01
    assert float(torch.cat(ratios).sub(middles.mean()).abs().quantile(0.9)) < 0.01
