"""Direct methods: functions of a normalised series, with checked options and clear errors."""

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
import torch
from refusals import refused

from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.methods.direct import DirectMethod
from cmrrecon.tools.configuration import AtLeast


@dataclass(frozen=True)
class EveryKind:
    count: Annotated[int, AtLeast(1)] = 2
    weight: Annotated[float, AtLeast(0)] = 0.5
    calibration: Literal["average", "first"] = "average"
    limit: Annotated[int, AtLeast(1)] | None = None


def every_kind(series, options):
    return torch.full((1, 1, 1), options.count * options.weight)


def nan(series):
    return torch.full((1, 2, 2), float("nan"))


def infinite_phase(series):
    return torch.complex(torch.zeros(1, 2, 2), torch.full((1, 2, 2), float("inf")))


def no_memory(series):
    raise MemoryError


def no_cuda_memory(series):
    raise torch.OutOfMemoryError("CUDA out of memory")


def no_cpu_memory(series):
    return torch.empty(2**60)


def broken(series):
    raise RuntimeError("a defect")


def own(function):
    return DirectMethod("own", "a test", function)


CHECKED = DirectMethod("own", "a test", every_kind, EveryKind)


@pytest.fixture(scope="module")
def series(sampled):
    return sampled(frames=2, y=48, x=33)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("count", 1.5),
        ("count", True),
        ("count", 0),
        ("count", "three"),
        ("weight", -0.1),
        ("weight", float("inf")),
        ("weight", float("nan")),
        ("weight", "much"),
        ("weight", False),
        ("weight", None),
        ("calibration", "last"),
        ("calibration", 1),
        ("limit", "auto"),
    ],
)
def test_options_of_the_wrong_kind_are_refused(key, value):
    with refused("option-value") as error:
        CHECKED.options({key: value})
    assert key in str(error.value)


def test_unknown_options_name_the_nearest():
    with refused("unknown-option") as error:
        CHECKED.options({"wieght": 1.0})
    assert "weight" in error.value.remedy
    with refused("unknown-option"):
        own(nan).options({"weight": 1.0})


def test_options_are_filled_with_the_defaults():
    assert CHECKED.options() == EveryKind()
    assert CHECKED.options({"weight": 1, "limit": 3}) == EveryKind(weight=1.0, limit=3)
    assert isinstance(CHECKED.options({"weight": 1}).weight, float)


def test_images_are_multiplied_by_the_scale_of_the_series(series):
    images = CHECKED(series, {"count": 3})
    assert images.item() == pytest.approx(1.5 * PreparedSeries(series).scale, rel=1e-6)


def test_the_function_sees_a_normalised_series(series):
    seen = []
    whole = PreparedSeries(series)
    own(lambda one: seen.append(one) or torch.ones(1, 1, 1)).reconstruct(whole, None)
    torch.testing.assert_close(seen[0].kspace * whole.scale, series.kspace)
    assert seen[0].mask.samples is series.mask.samples


def test_nothing_is_decided(series):
    whole = PreparedSeries(series)
    assert not CHECKED.decides
    assert CHECKED.decide(whole, CHECKED.options()) is None
    outcome = CHECKED.reconstruct(whole, CHECKED.options())
    assert (outcome.maps, outcome.fit) == (None, None)
    assert (CHECKED.weights(), CHECKED.training_facts(None)) == (None, {})
    assert CHECKED.adaptable(CHECKED.options()) is None
    assert CHECKED.predict(series, CHECKED.options()) is None


@pytest.mark.parametrize("function", [nan, infinite_phase])
def test_a_result_that_is_not_finite_is_an_error(series, function):
    with refused("result-not-finite"):
        own(function)(series)


@pytest.mark.parametrize("function", [no_memory, no_cuda_memory, no_cpu_memory])
def test_lack_of_memory_is_reported_with_the_size(series, function):
    with refused("memory-shortage") as error:
        own(function)(series)
    assert "2 frames, 6 coils, y 48, x 33" in str(error.value)


def test_other_runtime_errors_pass_through(series):
    with pytest.raises(RuntimeError, match="a defect"):
        own(broken)(series)
