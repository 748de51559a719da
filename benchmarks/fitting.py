"""Compare the fits of `cmrrecon fit` with SciPy's `curve_fit`, one pixel after the other.

Usage: python benchmarks/fitting.py [RUNS]

The series are simulated with noise. For the CPU time SciPy is given the true polarity of an
inversion recovery, starts near the truth and needs no bounds, so it makes one fast fit for each
pixel, whereas `fit` also finds the polarity and keeps the noise floor from becoming negative. The
values are compared with SciPy's best fit over all polarities and within bounds. The output is a
JSON record for each model: medians of the CPU time in microseconds a pixel with one thread, their
ratio, and the largest relative difference of the values. Both are run in turn.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import curve_fit

from cmrrecon.relaxometry.models import MODELS, fit_pixels

Array = NDArray[np.float64]
OURS, SCIPY = 20_000, 200  # pixels
NOISE = 0.01
INVERSIONS = np.array([100.0, 180, 260, 1100, 1180, 1260, 2100, 2180, 3100])
ECHOES = np.arange(8) * 2.2 + 1.6
PREPARED = np.array([0.0, 25, 35, 45, 55])


def recovery(t: Array, a: float, b: float, tau: float) -> Array:
    return a - b * np.exp(-t / tau)


def decay(t: Array, s0: float, tau: float) -> Array:
    return s0 * np.exp(-t / tau)


def raised(t: Array, s0: float, tau: float, c: float) -> Array:
    return s0 * np.exp(-t / tau) + c


def corrected(a: float, b: float, tau: float) -> float:
    return tau * (b / a - 1)


# Model, noise floor, times, curve, start, true parameters of a relaxation time, and this time.
CASES: tuple[tuple[Any, ...], ...] = (
    ("molli", None, INVERSIONS, recovery, (1, 2, 1000), lambda t: (1, 1.9, t / 0.9), corrected),
    ("t2", False, PREPARED, decay, (1, 50), lambda t: (1, t / 20), lambda s, tau: tau),
    (
        "t2star",
        True,
        ECHOES,
        raised,
        (1, 10, 0.02),
        lambda t: (1, t / 100, 0.05),
        lambda s, tau, c: tau,
    ),
)


def seconds(function: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    found = function()
    return time.process_time() - start, found


def best(
    curve: Callable[..., Array], times: Array, row: Array, start: Any, wanted: Callable[..., float]
) -> float:
    """The relaxation time of least squares, over all polarities of a recovery."""
    found = (np.inf, np.nan)
    for flipped in range(len(row) + 1) if curve is recovery else (0,):
        signal = np.where(np.arange(len(row)) < flipped, -1, 1) * np.abs(row)
        bounds = (0, np.inf) if curve is raised else (-np.inf, np.inf)
        try:
            values, _ = curve_fit(
                curve, times, signal, p0=start, bounds=bounds, maxfev=5000, xtol=1e-10, ftol=1e-10
            )
        except RuntimeError:
            continue
        if curve is recovery and not (values[1] > values[0] > 0 and 50 < values[2] < 10_000):
            continue
        found = min(found, (float(((curve(times, *values) - signal) ** 2).sum()), wanted(*values)))
    return found[1]


def compare(case: tuple[Any, ...], runs: int) -> dict[str, Any]:
    name, floor, times, curve, start, parameters, wanted = case
    random = np.random.default_rng(0)
    signed = np.stack(
        [curve(times, *parameters(t)) for t in random.uniform(400, 1800, OURS)], axis=1
    )
    noisy = signed + NOISE * random.standard_normal(signed.shape)
    magnitude, at = torch.from_numpy(np.abs(noisy)), torch.from_numpy(times)
    rows = noisy[:, :SCIPY].T

    def ours() -> Any:
        return fit_pixels(magnitude, at, MODELS[name], noise_floor=floor).values

    def scipys() -> Any:
        return [curve_fit(curve, times, row, p0=start, maxfev=5000) for row in rows]

    measured = [(seconds(ours), seconds(scipys)[0]) for _ in range(runs)]
    mine = statistics.median(own for (own, _), _ in measured) / OURS
    theirs = statistics.median(other for _, other in measured) / SCIPY
    fitted = measured[0][0][1][:SCIPY].numpy()
    expected = np.array([best(curve, times, row, start, wanted) for row in rows])
    return {
        "model": name,
        "noise_floor": bool(floor),
        "us_a_pixel": round(1e6 * mine, 2),
        "scipy_us_a_pixel": round(1e6 * theirs, 1),
        "ratio": round(theirs / mine, 1),
        "largest_difference": float(np.abs(fitted / expected - 1).max()),
    }


def main() -> None:
    torch.set_num_threads(1)
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    for case in CASES:
        print(json.dumps(compare(case, runs)))


if __name__ == "__main__":
    main()
