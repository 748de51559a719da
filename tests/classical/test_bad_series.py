"""Poor, odd or broken series: every iterative method returns finite images or a clear error.

NaN is never silent.
"""

import pytest
import torch
from kinds import mask_of, normal
from refusals import refused

from cmrrecon.classical.coils import estimate_coils
from cmrrecon.classical.prepared import normalisation
from cmrrecon.classical.problem import Problem
from cmrrecon.data import Scan, Series
from cmrrecon.methods.iterative import IterativeMethod
from cmrrecon.methods.registry import CLASSICAL, find_method
from cmrrecon.tools.errors import InputError, NumericalError

ITERATIVE = [method.name for method in CLASSICAL if isinstance(method, IterativeMethod)]
# Choosing weights per series takes long, so these methods represent all.
AUTOMATIC = ["auto", "sense"]
SMALL = {"shape": (30, 27), "acs": 10, "step": 4}


def silent_frame(cine):
    series = cine(**SMALL, frames=3, moving=True)[0]
    series.kspace[1] = 0
    return series


def silent_coils(cine):
    series = cine(**SMALL, frames=3, moving=True, coils=12)[0]
    series.kspace[:, 1:] = 0
    return series


def calibration_only(cine):
    series = cine(**SMALL | {"step": 30}, frames=3)[0]
    series.mask.samples[:, 0] = False
    return Series(series.kspace * series.mask.samples[:, None], series.mask)


def calibration_only_in_some_frames(cine):
    series = cine(**SMALL, frames=4, moving=True)[0]
    series.mask.samples[1:3] = False
    series.mask.samples[1:3, 10:20] = True
    return Series(series.kspace * series.mask.samples[:, None], series.mask)


def few_samples(cine):
    series = cine(**SMALL, frames=3)[0]
    mask = torch.zeros((3, 30, 27), dtype=torch.bool)
    mask[:, 11:19, 10:18] = True
    mask[0, 3, 5] = mask[1, 25, 2] = mask[2, 0, 26] = True
    mask &= series.mask.samples
    return Series(series.kspace * mask[:, None], mask_of(mask))


def noise(cine):
    series = cine(**SMALL, frames=3, moving=True)[0]
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(series.kspace.shape, dtype=torch.complex64, generator=generator)
    return Series(samples * series.mask.samples[:, None], series.mask)


def half_of_kspace(cine):
    """Partial Fourier: lines in the mask that hold no data."""
    series = cine(**SMALL, frames=3, moving=True)[0]
    series.kspace[:, :, 22:] = 0
    return series


def frame_without_lines(cine):
    series = cine(**SMALL, frames=3, moving=True)[0]
    series.mask.samples[1] = False
    series.kspace[1] = 0
    return series


FINITE = {
    "silent frame": silent_frame,
    "silent coils": silent_coils,
    "calibration lines only": calibration_only,
    "calibration lines only in some frames": calibration_only_in_some_frames,
    "few samples": few_samples,
    "noise": noise,
    "frame without lines": frame_without_lines,
    "partial Fourier": half_of_kspace,
    "odd sizes": lambda cine: cine(shape=(31, 29), acs=9, step=3, frames=5, moving=True)[0],
    "odd sizes, samples": lambda cine: cine(
        shape=(31, 29), acs=9, step=6, frames=3, moving=True, radial=True
    )[0],
    "one frame": lambda cine: cine(**SMALL, frames=1)[0],
    "one frame of samples": lambda cine: cine(**SMALL, frames=1, radial=True)[0],
    "two frames": lambda cine: cine(**SMALL, frames=2, moving=True)[0],
    "one coil": lambda cine: cine(**SMALL, coils=1, frames=3, moving=True)[0],
    "one coil, one frame": lambda cine: cine(**SMALL, coils=1, frames=1)[0],
    "32 coils": lambda cine: cine(**SMALL, coils=32, frames=2, moving=True)[0],
    "fully sampled": lambda cine: cine(**SMALL | {"step": 1}, frames=2)[0],
    "fully sampled, one coil": lambda cine: cine(**SMALL | {"step": 1}, coils=1, frames=2)[0],
    "thin": lambda cine: cine(shape=(30, 1), acs=10, step=2, coils=1, frames=3)[0],
    "all over 1e-6": lambda cine: cine(**SMALL, frames=3)[0].scaled(1e-6),
    "all over 1e9": lambda cine: cine(**SMALL, frames=3)[0].scaled(1e9),
}


def assert_finite(images, series):
    frames, _, ny, nx = series.kspace.shape
    assert images.shape == (frames, ny, nx)
    assert torch.isfinite(torch.view_as_real(images)).all()
    assert images.abs().max() > 0


@pytest.mark.parametrize("name", ITERATIVE)
@pytest.mark.parametrize("make", FINITE.values(), ids=FINITE)
def test_every_solver_gives_finite_images(cine, make, name):
    series = make(cine)
    normalised = series.scaled(1 / normalisation(series))
    problem = Problem.of(normal(normalised), estimate_coils(normalised, virtual=8))
    found = find_method(name).function(problem, iterations=30)
    assert_finite(problem.whole(found.x), series)
    assert found.residuals
    # Apart from noise, nothing is much brighter than the measured image.
    assert found.x.abs().max() < 10 * problem.start.abs().max()


@pytest.mark.parametrize("name", AUTOMATIC)
@pytest.mark.parametrize("make", FINITE.values(), ids=FINITE)
def test_automatic_settings_give_finite_images(cine, make, name):
    series = make(cine)
    assert_finite(find_method(name)(series), series)


@pytest.mark.parametrize("name", ITERATIVE)
@pytest.mark.parametrize("weight", [0.0, 1e6])
def test_extreme_weights_give_finite_images(cine, name, weight):
    series = silent_frame(cine)
    images = find_method(name)(series, {"weight": weight, "iterations": 60})
    assert torch.isfinite(torch.view_as_real(images)).all()


@pytest.mark.parametrize("name", ITERATIVE)
def test_frame_without_signal_is_zero_if_frames_are_independent(cine, name):
    series = silent_frame(cine)
    images = find_method(name)(series, {"weight": 0.002, "iterations": 30})
    if name == "sense":
        assert torch.equal(images[1], torch.zeros_like(images[1]))
    assert images[1].abs().max() < images[0].abs().max()


def nan_sample(cine):
    series = cine(**SMALL, frames=3)[0]
    series.kspace[1, 2, 15, 13] = complex("nan")
    return series


def infinite_sample(cine):
    series = cine(**SMALL, frames=3)[0]
    series.kspace[1, 2, 0, 13] = complex("inf")
    return series


def all_zero(cine):
    series = cine(**SMALL, frames=3)[0]
    series.kspace[:] = 0
    return series


def vanishing_maps(cine):
    series = cine(**SMALL, frames=3)[0]
    series.kspace[:, :, 10:20] = 0
    series.kspace[:, :, 10, 0] = 1
    return series


def empty_calibration(cine):
    series = cine(**SMALL, frames=3)[0]
    series.kspace[:, :, 10:21] = 0
    return series


REFUSED = {
    "NaN": (nan_sample, NumericalError, "kspace-no-signal"),
    "infinity": (infinite_sample, NumericalError, "kspace-no-signal"),
    "zeros": (all_zero, NumericalError, "kspace-no-signal"),
    "maps that vanish": (vanishing_maps, NumericalError, "maps-empty"),
    "calibration lines of zeros": (empty_calibration, InputError, "calibration-empty"),
    "no calibration lines": (
        lambda cine: cine(**SMALL | {"acs": 0}, frames=2)[0],
        InputError,
        "calibration-too-small",
    ),
}


@pytest.mark.parametrize("name", [*ITERATIVE, "auto"])
@pytest.mark.parametrize(("make", "error", "code"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_reconstructed_is_refused(cine, make, error, code, name):
    with refused(code) as raised:
        find_method(name)(make(cine))
    assert raised.value.exit_code == (5 if error is NumericalError else 3)


def test_nan_is_refused_when_a_scan_is_read(cine):
    series = nan_sample(cine)
    with refused("kspace-not-finite"):
        Scan.from_kspace(series.kspace[:, None], series.mask).series(0)


@pytest.mark.parametrize("name", [*ITERATIVE, "auto"])
def test_the_series_is_not_changed(cine, name):
    series = cine(**SMALL, frames=3, moving=True)[0]
    kspace, samples = series.kspace.clone(), series.mask.samples.clone()
    find_method(name)(series, {"iterations": 5})
    assert torch.equal(series.kspace, kspace)
    assert torch.equal(series.mask.samples, samples)
