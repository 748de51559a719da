from fractions import Fraction
from math import floor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrrecon.sampling.lines import comb, gaussian, kt_uniform, random, uniform
from cmrrecon.sampling.plan import Plan


def plan(frames=1, y=204, acceleration=4.0, seed=0, year=2025):
    return Plan(frames=frames, y=y, x=8, acceleration=acceleration, acs=0, seed=seed, year=year)


@settings(deadline=None)
@given(st.integers(1, 600), st.integers(1, 40))
def test_an_integer_acceleration_selects_exactly_its_multiples(y, acceleration):
    lines = torch.arange(y)
    assert torch.equal(comb(lines, float(acceleration)), lines % acceleration == 0)


@settings(deadline=None)
@given(st.integers(1, 400), st.sampled_from(["1.1", "1.5", "2.5", "3.0", "3.3", "4.7", "7.25"]))
def test_a_fractional_acceleration_follows_the_decimal_number(y, decimal):
    ratio = Fraction(decimal)
    expected = [floor(line / ratio) != floor((line - 1) / ratio) for line in range(y)]
    assert comb(torch.arange(y), float(decimal)).tolist() == expected


@pytest.mark.parametrize(
    ("acceleration", "lines"),
    [
        (1, list(range(10))),
        (1.5, [0, 2, 3, 5, 6, 8, 9]),
        (2.5, [0, 3, 5, 8]),
        (3, [0, 3, 6, 9]),
        (10, [0]),
    ],
)
def test_uniform_selects_these_of_ten_lines(acceleration, lines):
    mask = uniform(plan(y=10, acceleration=acceleration))
    assert mask.shape == (1, 10, 1)
    assert mask.flatten().nonzero().flatten().tolist() == lines


def test_ten_thirds_is_an_exact_fraction():
    assert torch.equal(
        comb(torch.arange(3000), 10 / 3), torch.tensor([y * 3 % 10 < 3 for y in range(3000)])
    )


@pytest.mark.parametrize("acceleration", [4, 2.5])
def test_kt_uniform_shifts_by_one_line_per_frame(acceleration):
    mask = kt_uniform(plan(frames=6, acceleration=acceleration))
    assert mask.shape == (6, 204, 1)
    assert torch.equal(mask[1:, 1:], mask[:-1, :-1])
    assert torch.equal(mask[:1], uniform(plan(acceleration=acceleration)))


def test_kt_uniform_covers_every_line_within_r_frames():
    assert kt_uniform(plan(frames=8, acceleration=8)).any(0).all()


def test_an_odd_number_of_frames_is_shifted_in_2024_only():
    arguments = {"frames": 9, "y": 144, "acceleration": 4}
    official, plain = (
        kt_uniform(plan(year=2024, **arguments)),
        kt_uniform(plan(year=2025, **arguments)),
    )
    assert not official[-1, 72:].any()
    assert plain[-1, 72:].any()
    assert torch.equal(official[1:-1, 72:], plain[2:, :72])
    assert torch.equal(official[:, :72].flatten()[1:], plain[:, 72:].flatten()[1:])


@pytest.mark.parametrize(
    ("frames", "y", "acceleration"), [(12, 144, 4), (9, 145, 4), (9, 144, 2.5), (1, 144, 4)]
)
def test_2024_is_the_plain_comb_for_even_frames_odd_y_fractional_r_and_single_frames(
    frames, y, acceleration
):
    arguments = {"frames": frames, "y": y, "acceleration": acceleration}
    assert torch.equal(
        kt_uniform(plan(year=2024, **arguments)), kt_uniform(plan(year=2025, **arguments))
    )


@pytest.mark.parametrize("draw", [random, gaussian])
@pytest.mark.parametrize(
    ("y", "acceleration", "count"), [(204, 8, 26), (10, 4, 3), (25, 2.5, 10), (7, 1, 7), (5, 5, 1)]
)
def test_random_patterns_have_y_over_r_different_lines_rounded(draw, y, acceleration, count):
    mask = draw(plan(y=y, acceleration=acceleration, seed=3))
    assert mask.shape == (1, y, 1)
    assert mask.sum() == count


def test_random_lines_are_equally_likely_and_gaussian_lines_follow_the_density():
    y, draws = 60, 400
    share = {
        draw: torch.stack([draw(plan(y=y, acceleration=6, seed=s))[0, :, 0] for s in range(draws)])
        .double()
        .mean(0)
        for draw in (random, gaussian)
    }

    # The standard error of a frequency of 1/6 over 400 draws is 0.019. Averaging blocks of ten
    # lines reduces it to about 0.006.
    assert share[random].reshape(6, 10).mean(1).sub(1 / 6).abs().max() < 0.03
    block = share[gaussian].reshape(6, 10).mean(1)
    assert block[2:4].min() > 0.3
    assert block[1:5:3].max() < 0.17
    assert block[::5].max() < 0.03

    # The density at one sigma (y / 5 = 12 lines) is exp(-1) of that at the centre. Drawing without
    # replacement flattens the top.
    ratio = share[gaussian][[17, 18, 19, 41, 42, 43]].mean() / share[gaussian][29:32].mean()
    assert 0.35 < ratio < 0.55
