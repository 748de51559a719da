import pytest
import torch
from refusals import refused

from cmrrecon.data import Trajectory
from cmrrecon.tools.errors import InputError

SHAPE = (3, 2, 4, 6, 10)


@pytest.mark.parametrize("frames", [1, 3])
def test_positions_up_to_the_edge_of_kspace_fit(frames):
    # Rounding may add one percent.
    for edge in (4.0, 4.04):
        Trajectory(torch.full((frames, 6, 10, 2), edge), (8, 8)).check(SHAPE, "A file")


@pytest.mark.parametrize("shape", [(3, 6, 9, 2), (2, 6, 10, 2), (3, 6, 10, 3), (3, 5, 10, 2)])
def test_a_trajectory_of_another_shape_is_refused(shape):
    with refused("trajectory-shape") as error:
        Trajectory(torch.full(shape, 4.0), (8, 8)).check(SHAPE, "A file")
    assert isinstance(error.value, InputError)
    assert "A file" in str(error.value)


def test_a_matrix_without_pixels_is_refused():
    with refused("trajectory-shape"):
        Trajectory(torch.full((1, 6, 10, 2), 4.0), (0, 8)).check(SHAPE, "A file")


@pytest.mark.parametrize(
    ("position", "matrix", "reached"),
    [
        (4.0, (8, 6), "0.5, 0.6667"),
        (0.5, (8, 8), "0.0625, 0.0625"),
        (float("nan"), (8, 8), "nan"),
        (float("inf"), (8, 8), "inf"),
    ],
)
def test_positions_in_other_units_are_refused(position, matrix, reached):
    with refused("trajectory-units") as error:
        Trajectory(torch.full((1, 6, 10, 2), position), matrix).check(SHAPE, "A file")
    assert f"reaches {reached}" in str(error.value)


def test_it_moves_to_another_device():
    moved = Trajectory(torch.zeros((1, 6, 10, 2)), (8, 8)).to("meta")
    assert moved.positions.device.type == "meta"
    assert moved.matrix == (8, 8)
