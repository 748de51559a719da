from typing import Literal

import numpy as np
import pytest
import torch
from kinds import mask_of

from cmrrecon.classical.prepared import normalisation
from cmrrecon.data import Series
from cmrrecon.methods.registry import DEFAULT_METHOD, METHODS, Method, find_method
from cmrrecon.operators.fourier import fft2c
from cmrrecon.tools.errors import MemoryShortage, NumericalError, UsageError

FAST = {"zero-filled", "sense", "grappa"}


def make_series(coils=3, shape=(40, 33)):
    ny, nx = shape
    y, x = torch.meshgrid(torch.linspace(-1, 1, ny), torch.linspace(-1, 1, nx), indexing="ij")
    body = (y**2 + x**2 < 0.6) * (1 + 0.5 * torch.cos(8 * x + 5 * y))
    images = torch.stack([body, body * (1 + 0.3 * y)]).to(torch.complex64)
    angles = 2 * torch.pi * torch.arange(coils) / coils
    maps = torch.stack([torch.exp(-((y - a.sin()) ** 2 + (x - a.cos()) ** 2) / 2 + 1j * a) for a in angles]).to(torch.complex64)
    noise = torch.randn((2, coils, ny, nx), dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros((1, ny, 1), dtype=torch.bool)
    mask[:, ::3] = True
    mask[:, 14:26] = True
    return Series((fft2c(maps * images[:, None]) + 1e-3 * noise) * mask[:, None], mask_of(mask))


def nan(series):
    return torch.full((1, 2, 2), float("nan"))


def no_memory(series):
    raise MemoryError


def no_cuda_memory(series):
    raise torch.OutOfMemoryError("CUDA out of memory")


def no_cpu_memory(series):
    return torch.empty(2**60)


def broken(series):
    raise RuntimeError("a defect")


def every_kind(series, *, count: int = 2, weight: float = 0.5, calibration: Literal["average", "first"] = "average"):
    return torch.full((1, 1, 1), count * weight)


def own(function):
    return Method("own", f"{__name__}:{function.__name__}", "a test")


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("scale", [1e-11, 1e7])
def test_images_scale_with_the_input(name, scale):
    series = make_series()
    options = {"iterations": 10} if "iterations" in find_method(name).defaults() else {}
    images = find_method(name)(series, options)
    assert images.shape == (2, 40, 33)
    assert images.dtype == (torch.float32 if name in ("zero-filled", "grappa") else torch.complex64)
    scaled = find_method(name)(series.scaled(scale), options) / scale
    assert (scaled - images).abs().max() < 2e-3 * images.abs().max()


@pytest.mark.parametrize("name", METHODS)
def test_a_single_coil_is_reconstructed_or_refused(name):
    series = make_series(coils=1)
    if name == "sigpy-jsense":
        with pytest.raises(UsageError, match="one coil"):
            find_method(name)(series)
    else:
        assert torch.isfinite(find_method(name)(series)).all()


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_summary_of_one_line_and_plain_defaults(name):
    method = find_method(name)
    assert method.name == name
    assert method.summary
    assert "\n" not in method.summary
    assert all(isinstance(value, (int, float, str)) for value in method.defaults().values())


@pytest.mark.parametrize("name", sorted(FAST))
def test_the_series_is_not_changed(name):
    series = make_series()
    before = series.kspace.clone()
    find_method(name)(series)
    assert torch.equal(series.kspace, before)


def test_default_method_exists():
    assert DEFAULT_METHOD in METHODS


@pytest.mark.parametrize(
    ("given", "meant"), [("sens", "sense"), ("Grappa", "grappa"), ("sigpy-l1", "sigpy-l1-wavelet"), ("kt_unrolled", "kt-unrolled")]
)
def test_unknown_method_names_the_nearest(given, meant):
    with pytest.raises(UsageError, match=f"Perhaps {meant} was meant"):
        find_method(given)


def test_unknown_option_names_the_nearest():
    with pytest.raises(UsageError, match="Perhaps weight was meant"):
        find_method("sense")(make_series(), {"wieght": 1.0})
    with pytest.raises(UsageError, match="Its options are: none"):
        find_method("zero-filled")(make_series(), {"weight": 1.0})


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("count", 1.5, "whole number"),
        ("count", True, "whole number"),
        ("count", 0, "at least 1"),
        ("count", "three", "whole number"),
        ("weight", -0.1, "not negative"),
        ("weight", float("inf"), "finite"),
        ("weight", "much", "a number"),
        ("weight", False, "a number"),
        ("calibration", "last", "one of average, first"),
        ("calibration", 1, "one of average, first"),
    ],
)
def test_options_of_the_wrong_kind_are_refused(key, value, wanted):
    with pytest.raises(UsageError, match=wanted):
        own(every_kind).check({key: value})


def test_check_fills_in_the_defaults():
    method = own(every_kind)
    assert method.check({"weight": 1}) == {"count": 2, "weight": 1.0, "calibration": "average"}
    assert isinstance(method.check({"weight": 1})["weight"], float)


def test_result_is_multiplied_by_the_scale_of_the_series():
    series = make_series()
    np.testing.assert_allclose(own(every_kind)(series, {"count": 3}).item(), 1.5 * normalisation(series), rtol=1e-6)


def test_non_finite_result_is_a_numerical_error():
    with pytest.raises(NumericalError, match="own gave NaN"):
        own(nan)(make_series())


@pytest.mark.parametrize("function", [no_memory, no_cuda_memory, no_cpu_memory])
def test_lack_of_memory_is_told_with_the_size(function):
    with pytest.raises(MemoryShortage, match="2 frames, 3 coils, y 40, x 33"):
        own(function)(make_series())


def test_other_runtime_errors_pass_through():
    with pytest.raises(RuntimeError, match="a defect"):
        own(broken)(make_series())


def test_zero_kspace_is_a_numerical_error_not_a_division_by_zero():
    series = make_series()
    with pytest.raises(NumericalError, match="zero or not finite"):
        find_method("zero-filled")(Series(torch.zeros_like(series.kspace), mask_of(series.mask)))
