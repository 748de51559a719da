import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from refusals import refused

from cmrrecon.tools.configuration import LARGEST, AtLeast, checked_mapping, from_mapping


@dataclass(frozen=True)
class Inner:
    rate: float = 0.1

    def __post_init__(self):
        if self.rate == 13:
            raise ValueError("another number")


@dataclass(frozen=True)
class Options:
    iterations: Annotated[int, AtLeast(1)] | None = None
    weight: Annotated[float, AtLeast(0)] | None = None
    size: Annotated[int, AtLeast(2)] = 2
    count: int = 0
    factor: float = 1.0
    verbose: bool = False
    name: str = ""
    norm: Literal["l1", "l2"] = "l1"
    steps: Sequence[Annotated[int, AtLeast(1)]] = ()
    either: Annotated[int | None, AtLeast(3)] = None
    inner: Inner = Inner()
    free: Mapping[str, Any] = field(default_factory=dict)


def made(**values):
    return from_mapping(Options, values, "method llr")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"iterations": 1}, 1),
        ({"iterations": None}, None),
        ({"weight": 0}, 0.0),
        ({"weight": None}, None),
        ({"size": LARGEST}, LARGEST),
        ({"count": 0}, 0),
        ({"factor": -1e300}, -1e300),
        ({"verbose": True}, True),
        ({"name": "a"}, "a"),
        ({"norm": "l2"}, "l2"),
        ({"steps": [1, 2]}, (1, 2)),
        ({"either": None}, None),
        ({"either": 3}, 3),
        ({"inner": {"rate": 2}}, Inner(2.0)),
        ({"inner": Inner(3.0)}, Inner(3.0)),
        ({"free": {"a": [1]}}, {"a": [1]}),
    ],
)
def test_values_of_the_right_kind_are_accepted(values, expected):
    (name,) = values
    found = getattr(made(**values), name)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"iterations": 0}, "from 1"),
        ({"iterations": 1.0}, "whole number"),
        ({"iterations": True}, "whole number"),
        ({"weight": -1e-9}, "at least 0"),
        ({"weight": math.nan}, "finite"),
        ({"weight": math.inf}, "finite"),
        ({"weight": "auto"}, "finite"),
        ({"size": 1}, "from 2"),
        ({"size": None}, "whole number"),
        ({"size": LARGEST + 1}, str(LARGEST)),
        ({"count": -1}, "from 0"),
        ({"factor": -math.inf}, "finite"),
        ({"factor": 10**400}, "finite"),
        ({"factor": None}, "finite"),
        ({"factor": False}, "finite"),
        ({"verbose": 1}, "true or false"),
        ({"name": 3}, "text"),
        ({"norm": "l3"}, "l1, l2"),
        ({"steps": 3}, "list"),
        ({"steps": [1, 0]}, "from 1"),
        ({"either": 2}, "from 3"),
        ({"inner": 3}, "mapping"),
        ({"inner": {"rate": "x"}}, "finite"),
        ({"inner": {"rate": 13}}, "another number"),
    ],
)
def test_wrong_values_are_refused_with_field_value_and_expectation(values, wanted):
    ((name, value),) = values.items()
    with refused("option-value") as error:
        made(**values)
    assert f"{name} of method llr" in error.value.found
    assert repr(value)[:40] in error.value.found or isinstance(value, dict | list)
    assert wanted in error.value.expected


@pytest.mark.parametrize(
    ("values", "nearest"),
    [({"iteration": 1}, "iterations"), ({"inner": {"rat": 1}}, "rate"), ({"zzz": 1}, "")],
)
def test_unknown_names_suggest_the_nearest(values, nearest):
    with refused("unknown-option") as error:
        made(**values)
    assert nearest in error.value.remedy


def test_bounds_apply_to_plain_mappings_too():
    kinds = {"frames": Annotated[int, AtLeast(1)], "weight": float | None}
    assert checked_mapping("The network a", {"frames": 3, "weight": None}, kinds) == {
        "frames": 3,
        "weight": None,
    }
    with refused("option-value") as error:
        checked_mapping("The network a", {"frames": 0}, kinds)
    assert "frames of the network a" in error.value.found
