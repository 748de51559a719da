"""Fits of T1, T2 and T2* against known curves, SciPy, the Cramer-Rao bound and measured hearts."""

import itertools

import numpy as np
import pytest
import scipy.io
import torch
from refusals import refused
from relaxation_curves import MOLLI_TIMES, PREPARED, recovery
from scipy.optimize import curve_fit

from cmrrecon.relaxometry.models import (
    INVERSION,
    MODELS,
    MOLLI,
    SATURATION,
    T2,
    T2_LINE,
    T2_STAR,
    fit_pixels,
    model_named,
)

T1 = torch.linspace(150, 3500, 200, dtype=torch.float64)
ECHOES = torch.arange(8, dtype=torch.float64) * 2.2 + 1.6
DELAYS = torch.tensor([100.0, 300, 500, 800, 1200, 2000, 3000, 10_000], dtype=torch.float64)


def t1_of(signal, times):
    return fit_pixels(signal, times, MOLLI).values


def t2_of(signal, times):
    return fit_pixels(signal, times, T2_LINE).values


def noise(shape, level, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return level * torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("inversion", [2.0, 1.7, 1.45])
def test_t1_of_exact_curves(inversion):
    fitted = t1_of(recovery(MOLLI_TIMES, T1, inversion), MOLLI_TIMES)
    assert torch.allclose(fitted, T1, rtol=1e-6, atol=0)


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_times_do_not_depend_on_the_unit_of_the_images_but_residuals_do(unit):
    signal = recovery(MOLLI_TIMES, T1) + noise((9, 200), 0.01)
    one, other = (fit_pixels(scale * signal, MOLLI_TIMES, MOLLI) for scale in (1, unit))
    assert torch.allclose(other.values, one.values, rtol=1e-6, atol=0)
    assert torch.allclose(other.deviation, one.deviation, rtol=1e-6, atol=0)
    assert torch.allclose(other.residual, unit * one.residual, rtol=1e-6, atol=0)


def test_the_order_of_the_weightings_does_not_matter_and_a_last_time_of_zero_leaves_one_out():
    signal, order = recovery(MOLLI_TIMES, T1), torch.tensor([3, 0, 8, 1, 5, 2, 7, 6, 4])
    assert torch.allclose(t1_of(signal[order], MOLLI_TIMES[order]), T1, rtol=1e-6, atol=0)
    more = torch.cat([signal, torch.full_like(signal[:1], 123.0)])
    times = torch.cat([MOLLI_TIMES, torch.zeros(1)])
    assert torch.allclose(t1_of(more, times), T1, rtol=1e-6, atol=0)


def test_t1_of_noisy_curves_is_unbiased_and_close():
    truth = torch.full((2000,), 1200.0, dtype=torch.float64)
    error = noise((2, 9, 2000), 0.02)
    fitted = t1_of(torch.hypot(recovery(MOLLI_TIMES, truth, 1.9) + error[0], error[1]), MOLLI_TIMES)
    assert float(fitted.mean()) == pytest.approx(1200, rel=0.01)
    assert float(fitted.std()) < 60
    assert bool(fitted.isfinite().all())


def inverted(t, a, b, tau):
    return a - b * np.exp(-t / tau)


def decaying(t, s0, tau):
    return s0 * np.exp(-t / tau)


def decaying_to_a_floor(t, s0, tau, floor):
    return s0 * np.exp(-t / tau) + floor


def best_of_scipy(model, times, signal, start, *, flips=0, bounds=(-np.inf, np.inf)):
    """The parameters of least squares over the polarities, and their covariance."""
    found = (np.inf, None, None)
    for flipped in range(flips + 1):
        y = signal.copy()
        y[:flipped] *= -1
        try:
            values, covariance = curve_fit(model, times, y, p0=start, maxfev=5000, bounds=bounds)
        except RuntimeError:
            continue
        if flips and not (values[0] > 0 and values[1] > values[0] and 50 < values[2] < 10_000):
            continue
        cost = float(((model(times, *values) - y) ** 2).sum())
        found = min(found, (cost, values, covariance), key=lambda item: item[0])
    return found


def test_t1_and_its_deviation_are_those_of_scipy():
    truth = torch.tensor([300.0, 700, 1000, 1250, 1600, 2200], dtype=torch.float64)
    signal = (recovery(MOLLI_TIMES, truth, 1.9) + noise((9, 6), 0.03, 1)).abs()
    fitted = fit_pixels(signal, MOLLI_TIMES, MOLLI)
    apparent = fit_pixels(signal, MOLLI_TIMES, INVERSION)

    for pixel in range(6):
        cost, (a, b, tau), covariance = best_of_scipy(
            inverted, MOLLI_TIMES.numpy(), signal[:, pixel].numpy(), (1, 2, 1000), flips=9
        )
        gradient = np.array([-tau * b / a**2, tau / a, b / a - 1])
        assert float(fitted.values[pixel]) == pytest.approx(tau * (b / a - 1), rel=1e-3)
        assert float(apparent.values[pixel]) == pytest.approx(tau, rel=1e-3)
        assert float(fitted.residual[pixel]) == pytest.approx((cost / 9) ** 0.5, rel=1e-3)
        deviations = (gradient @ covariance @ gradient) ** 0.5, covariance[2, 2] ** 0.5
        assert float(fitted.deviation[pixel]) == pytest.approx(deviations[0], rel=1e-3)
        assert float(apparent.deviation[pixel]) == pytest.approx(deviations[1], rel=1e-3)


@pytest.mark.parametrize("noise_floor", [False, True])
def test_t2star_and_its_deviation_are_those_of_scipy(noise_floor):
    truth = torch.tensor([5.0, 10, 20, 35], dtype=torch.float64)
    signal = torch.exp(-ECHOES[:, None] / truth) + noise((8, 4), 0.01) + 0.1
    fitted = fit_pixels(signal, ECHOES, T2_STAR, noise_floor=noise_floor)
    model = decaying_to_a_floor if noise_floor else decaying
    start = (1, 15, 0.01)[: 2 + noise_floor]
    bounds = (0, [10, 2000, 1][: 2 + noise_floor])

    for pixel in range(4):
        cost, values, covariance = best_of_scipy(
            model, ECHOES.numpy(), signal[:, pixel].numpy(), start, bounds=bounds
        )
        assert float(fitted.values[pixel]) == pytest.approx(values[1], rel=1e-3)
        assert float(fitted.residual[pixel]) == pytest.approx((cost / 8) ** 0.5, rel=1e-3)
        if not noise_floor or values[2] > 1e-3:
            assert float(fitted.deviation[pixel]) == pytest.approx(
                covariance[1, 1] ** 0.5, rel=1e-2
            )


def test_saturation_recovery_has_no_polarity():
    signal = 1 - 0.9 * torch.exp(-DELAYS[:, None] / T1)
    fitted = fit_pixels(signal, DELAYS, SATURATION).values
    assert torch.allclose(fitted, T1, rtol=1e-6, atol=0)


def test_a_noise_floor_keeps_short_t2star_unbiased_and_is_fitted_to_enough_echoes():
    truth = torch.tensor([4.0, 8.0, 16.0], dtype=torch.float64)
    signal = torch.exp(-ECHOES[:, None] / truth) + 0.08
    assert torch.allclose(fit_pixels(signal, ECHOES, T2_STAR).values, truth, rtol=1e-6)
    without = fit_pixels(signal, ECHOES, T2_STAR, noise_floor=False).values
    assert bool((without > 1.1 * truth).all())
    few = fit_pixels(signal[:4], ECHOES[:4], T2_STAR).values
    assert torch.equal(few, fit_pixels(signal[:4], ECHOES[:4], T2_STAR, noise_floor=False).values)
    # A floor below zero is none.
    sunk = torch.exp(-ECHOES[:, None] / truth) - 0.01
    assert torch.equal(
        fit_pixels(sunk, ECHOES, T2_STAR).values,
        fit_pixels(sunk, ECHOES, T2_STAR, noise_floor=False).values,
    )


def bound(model, times, values, wanted, level):
    """The Cramer-Rao bound of a function of the parameters, by finite differences."""

    def slope(function, i):
        step = 1e-5 * abs(values[i])
        up, down = ([*values[:i], values[i] + sign * step, *values[i + 1 :]] for sign in (1, -1))
        return (np.asarray(function(*up)) - np.asarray(function(*down))) / (2 * step)

    places = range(len(values))
    jacobian = np.stack([slope(lambda *p: model(times.numpy(), *p), i) for i in places], 1)
    gradient = np.stack([slope(wanted, i) for i in places])
    return level * (gradient @ np.linalg.inv(jacobian.T @ jacobian) @ gradient) ** 0.5


@pytest.mark.parametrize(
    ("name", "times", "curve", "values", "wanted", "floor"),
    [
        ("molli", MOLLI_TIMES, inverted, (1, 1.9, 1111), lambda a, b, t: t * (b / a - 1), None),
        ("inversion", MOLLI_TIMES, inverted, (1, 1.95, 1200), lambda a, b, t: t, None),
        ("saturation", DELAYS, inverted, (1, 0.98, 1200), lambda a, b, t: t, None),
        ("t2", PREPARED, decaying, (1, 46), lambda s, t: t, None),
        ("t2star", ECHOES, decaying, (1, 20), lambda s, t: t, False),
        ("t2star", ECHOES, decaying_to_a_floor, (1, 8, 0.05), lambda s, t, c: t, True),
    ],
)
def test_truth_is_recovered_with_the_least_possible_deviation(
    name, times, curve, values, wanted, floor
):
    """The deviation may exceed the Cramer-Rao bound by 20 %; that of each pixel estimates it."""
    level, pixels = 0.01, 2000
    signal = torch.from_numpy(curve(times.numpy(), *values))[:, None]
    noisy = (signal + noise((len(times), pixels), level)).abs()
    fitted = fit_pixels(noisy, times, MODELS[name], noise_floor=floor)
    truth, least = wanted(*values), bound(curve, times, values, wanted, level)

    assert bool(fitted.values.isfinite().all())
    assert float(fitted.values.mean()) == pytest.approx(truth, abs=least / 5)
    assert 0.8 * least < float(fitted.values.std()) < 1.2 * least
    freedom = len(times) - len(values)
    estimated = float(fitted.deviation.square().mean().sqrt())
    assert estimated == pytest.approx(least, rel=0.1 if freedom > 1 else 0.15)


def test_a_curve_that_is_no_recovery_is_not_fitted():
    flat, zero = torch.ones(9, dtype=torch.float64), torch.zeros(9, dtype=torch.float64)
    decay = torch.exp(-MOLLI_TIMES / 40) + 1
    hole = recovery(MOLLI_TIMES, torch.tensor([1000.0], dtype=torch.float64))[:, 0]
    hole[4] = torch.nan
    signal = torch.stack([zero, flat, hole, decay], 1)
    fitted = fit_pixels(signal, MOLLI_TIMES, MOLLI)
    assert bool(fitted.values[:3].isnan().all())
    for part in fitted:
        assert torch.equal(part.isnan(), fitted.values.isnan())


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_flat_dark_and_broken_pixels_are_nan(model):
    signal = torch.tensor([[0.0, 3.0, torch.nan, torch.inf]], dtype=torch.float64).repeat(9, 1)
    for part in fit_pixels(signal, MOLLI_TIMES, model):
        assert bool(part.isnan().all())


@pytest.mark.parametrize(("model", "least"), [(T2, 2), (T2_LINE, 2), (SATURATION, 3)])
def test_as_many_times_as_parameters_leave_the_deviation_unknown(model, least):
    rising = 1 - 0.95 * torch.exp(-DELAYS[:least, None] / T1[:3])
    decay = torch.exp(-PREPARED[:least, None] / T1[:3])
    signal, times = (rising, DELAYS) if model.parameter == "T1" else (decay, PREPARED)
    fitted = fit_pixels(signal, times[:least], model)
    assert bool(fitted.values.isfinite().all())
    assert bool(fitted.deviation.isnan().all())


def test_t2_of_exact_curves_and_its_limits():
    t2 = torch.tensor([20.0, 46.0, 120.0, 199.0, 201.0, 900.0, -50.0], dtype=torch.float64)
    signal = 70 * torch.exp(-PREPARED[:, None] / t2)
    nan = torch.nan
    for model, expected in (
        (T2_LINE, [20.0, 46, 120, 199, nan, nan, nan]),
        (T2, [20.0, 46, 120, 199, 201, 900, nan]),
    ):
        fitted = fit_pixels(signal, PREPARED, model).values
        wanted = torch.tensor(expected, dtype=torch.float64)
        assert torch.allclose(fitted, wanted, rtol=1e-9, equal_nan=True)
    dark = torch.tensor([[5.0, 0.0, 1.0], [0.0, 0.0, 1.0], [2.0, 0.0, 1.0]], dtype=torch.float64)
    assert bool(t2_of(dark, PREPARED).isnan().all())


def test_the_line_is_that_of_least_squares():
    signal = torch.rand(
        (3, 50), generator=torch.Generator().manual_seed(2), dtype=torch.float64
    ) + torch.exp(-PREPARED[:, None] / 30)
    slope = np.polyfit(PREPARED.numpy(), np.log(signal.numpy()), 1)[0]
    expected = np.where((-1 / slope > 0) & (-1 / slope <= 200), -1 / slope, np.nan)
    np.testing.assert_allclose(t2_of(signal, PREPARED).numpy(), expected, rtol=1e-9)
    assert 0 < np.isnan(expected).sum() < 50


def test_what_cannot_be_fitted_is_refused():
    with refused("times-too-few"):
        fit_pixels(torch.ones((4, 2)), torch.tensor([100.0, 100, 900, 900]), MOLLI)
    with refused("times-too-few"):
        fit_pixels(torch.ones((4, 2)), torch.tensor([100.0, 500, 900, 0]), MOLLI)
    for model in (T2, T2_LINE):
        with refused("times-too-few"):
            fit_pixels(torch.ones((2, 2)), torch.tensor([35.0, 35]), model)
    with refused("times-too-few"):
        fit_pixels(torch.ones((2, 2)), torch.tensor([35.0, 45]), T2, noise_floor=True)
    with refused("options-conflict"):
        fit_pixels(torch.ones((9, 2)), MOLLI_TIMES, MOLLI, noise_floor=True)
    with refused("unknown-model") as error:
        model_named("moli")
    assert "molli" in error.value.remedy


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
        times = torch.from_numpy(content["TI"][subject].astype("float64").ravel())
        fitted = t1_of(series[:, wall], times)
        published = torch.from_numpy(content["T1"][subject, 0].astype("float64"))[wall]
        assert bool(fitted.isfinite().all())
        ratios.append(published / fitted)
    middles = torch.stack([ratio.median() for ratio in ratios])
    assert float(middles.max() - middles.min()) < 0.01
    assert float(torch.cat(ratios).sub(middles.mean()).abs().quantile(0.9)) < 0.01
