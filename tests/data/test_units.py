"""The unit of a trajectory from its extent (a table of cases), and the conversion to cycles."""

import math

import pytest
import torch
from refusals import refused

from cmrrecon.data.units import CYCLES, PARTS, RADIANS, in_cycles, unit_of

PI = math.pi


@pytest.mark.parametrize(
    ("reach", "matrix", "voxel_mm", "unit"),
    [
        # All three units at the edge of k-space, for usual matrices.
        (0.5, (128, 128), None, PARTS),
        (PI, (128, 128), None, RADIANS),
        (64.0, (128, 128), None, CYCLES),
        # Rounding may add one percent; the end of a spoke may be missing.
        (0.505, (32, 32), None, PARTS),
        (PI * 1.009, (32, 32), None, RADIANS),
        (16.1, (32, 32), None, CYCLES),
        (15.0, (32, 32), None, CYCLES),
        (2.9, (32, 32), None, RADIANS),
        # Low resolution.
        (0.25, (32, 32), None, PARTS),
        (8.0, (32, 32), None, CYCLES),
        # Beyond every edge.
        (17.0, (32, 32), None, None),
        (0.0, (32, 32), None, None),
        (math.nan, (32, 32), None, None),
        (math.inf, (32, 32), None, None),
        # 1 at the edge is no known unit: a third of pi is too little for radians.
        (1.0, (32, 32), None, None),
        (1.0, (256, 256), None, None),
        # Half of a matrix of 6 is 3, close to pi. At the edge of one unit it is that unit, between
        # the two it is unknown.
        (3.0, (6, 6), None, CYCLES),
        (PI, (6, 6), None, RADIANS),
        (2.9, (6, 6), None, None),
        (4.0, (8, 8), None, CYCLES),
        (PI, (8, 8), None, RADIANS),
        (3.0, (8, 8), None, None),
        # Units of length are named if the pixel size identifies them.
        (250.0, (128, 128), (2.0, 2.0), "cycles per m"),
        (2 * PI * 250, (128, 128), (2.0, 2.0), "radians per m"),
        (0.25, (128, 128), (2.0, 2.0), "cycles per mm"),
        (250.0, (128, 128), None, None),
        # For pixels of 1 mm their numbers equal those of parts and radians.
        (0.5, (128, 128), (1.0, 1.0), PARTS),
        (PI, (128, 128), (1.0, 1.0), RADIANS),
        (PI, (128, 128), (1.6, 1.6), RADIANS),
        (64.0, (128, 128), (2.0, 2.0), CYCLES),
    ],
)
def test_the_unit_follows_from_the_reach(reach, matrix, voxel_mm, unit):
    assert unit_of((reach, reach), matrix, voxel_mm) == unit


def test_one_axis_may_reach_less():
    assert unit_of((8.0, 6.0), (160, 12)) == CYCLES
    assert unit_of((16.0, 7.0), (32, 12)) is None


@pytest.mark.parametrize("edge", [0.5, PI, None])
def test_positions_become_cycles_per_field_of_view(edge):
    side = torch.tensor([16.0, 12.0]) / 2
    wanted = torch.linspace(-1, 1, 9)[:, None].expand(1, 5, 9, 2) * side
    stored = wanted if edge is None else wanted / side * edge
    found, note = in_cycles(stored, (16, 12), "A file")
    torch.testing.assert_close(found, wanted)
    assert "A file" in note


def test_units_of_length_are_refused_by_name():
    stored = torch.full((1, 2, 3, 2), 250.0)
    with refused("trajectory-units") as error:
        in_cycles(stored, (128, 128), "A file", (2.0, 2.0))
    assert "cycles per m" in str(error.value)
    with refused("trajectory-units"):
        in_cycles(stored, (128, 128), "A file")
