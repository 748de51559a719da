import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrrecon.operators.fourier import centred
from cmrrecon.sampling.plan import Plan, calibration, round_half_up


def test_the_centred_block_of_16_in_49_is_the_official_one():
    assert centred(49, 16) == slice(16, 32)


@settings(deadline=None)
@given(st.integers(1, 400), st.data())
def test_a_centred_block_contains_the_centre_and_smaller_blocks(length, data):
    part = data.draw(st.integers(1, length))
    block, smaller = centred(length, part), centred(length, part - 1)
    assert block.stop - block.start == part
    assert 0 <= block.start <= length // 2 < block.stop <= length
    assert block.start <= smaller.start
    assert smaller.stop <= block.stop


@pytest.mark.parametrize(
    ("value", "rounded"), [(0.0, 0), (0.5, 1), (1.5, 2), (2.5, 3), (2.4999, 2), (6.375, 6)]
)
def test_halves_are_rounded_up(value, rounded):
    assert round_half_up(value) == rounded


def test_calibration_is_lines_or_a_square():
    plan = Plan(frames=2, y=9, x=8, acceleration=4, acs=4, seed=0, year=2025)
    lines, square = calibration(plan, lines=True), calibration(plan, lines=False)
    assert lines.shape == (1, 9, 1)
    assert lines.flatten().nonzero().flatten().tolist() == [2, 3, 4, 5]
    assert square.shape == (1, 9, 8)
    assert square.sum() == 16
    assert square[0, 2:6, 2:6].all()
