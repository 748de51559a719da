import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kinds import mask_of
from refusals import refused

from cmrrecon.operators.fourier import centred
from cmrrecon.sampling import PATTERNS, make_mask

SIZE = {"frames": 12, "y": 204, "x": 64}
FAST = [name for name in PATTERNS if name != "poisson"]
LINES = [name for name, pattern in PATTERNS.items() if pattern.lines]
RANDOM = [name for name, pattern in PATTERNS.items() if pattern.random]
SAME_IN_ALL_FRAMES = ["uniform", "random", "gaussian", "poisson"]


def test_official_line_masks_are_reproduced_bit_for_bit(official_lines):
    wrong, tried = [], 0
    for official in official_lines:
        if official.falls_between_lines:
            continue
        tried += 1
        mask = make_mask(**official.arguments)
        if not torch.equal(mask.expand_as(official.mask), official.mask):
            wrong.append(official.key)

    assert tried == 176
    assert not wrong


def test_kt_uniform_with_odd_y_and_odd_frames_is_the_plain_comb(official_lines):
    cases = [official for official in official_lines if official.falls_between_lines]
    assert len(cases) == 2
    for official in cases:
        frames, y, r = (official.arguments[name] for name in ("frames", "y", "acceleration"))
        comb = (torch.arange(y) - torch.arange(frames)[:, None]) % r == 0
        comb[:, centred(y, 16)] = True
        assert torch.equal(make_mask(**official.arguments)[..., 0], comb), official.key


def test_official_full_masks_are_reproduced_when_repeated_along_x(official_full):
    assert len(official_full) == 6
    for official in official_full:
        assert torch.equal(
            make_mask(**official.arguments).expand_as(official.mask), official.mask
        ), official.key


def test_all_official_masks_have_the_listed_number_of_samples(official_counts):
    wrong, tried = [], 0
    for official in official_counts:
        if official.falls_between_lines or official.has_ties:
            continue
        tried += 1
        mask = make_mask(**official.arguments)
        if (
            int(mask.expand(official.stored_frames, -1, official.arguments["x"]).sum())
            != official.samples
        ):
            wrong.append(official.key)

    assert len(official_counts) == 400
    assert tried == 382
    assert not wrong


@pytest.mark.parametrize(
    ("year", "x", "y", "frames", "pattern", "expected"),
    [
        (2023, 512, 204, 1, "uniform", {4: 2.96, 8: 4.34, 10: 4.86}),
        (2023, 448, 204, 1, "uniform", {4: 2.96, 8: 4.34, 10: 4.86}),
        (2024, 512, 246, 1, "uniform", {4: 3.32, 8: 5.47, 10: 6.31}),
        (2024, 448, 204, 1, "uniform", {4: 3.24, 8: 5.10, 10: 5.67}),
        (
            2024,
            448,
            204,
            12,
            "kt-uniform",
            {4: 3.24, 8: 5.14, 12: 6.44, 16: 7.29, 20: 8.00, 24: 8.50},
        ),
        (
            2024,
            448,
            204,
            12,
            "kt-gaussian",
            {4: 3.40, 8: 5.37, 12: 6.71, 16: 7.49, 20: 8.33, 24: 8.59},
        ),
        (
            2024,
            448,
            204,
            12,
            "kt-radial",
            {4: 4.07, 8: 7.83, 12: 11.29, 16: 15.16, 20: 17.94, 24: 21.67},
        ),
        (2025, 448, 162, 12, "uniform", {8: 4.26, 16: 5.40, 24: 6.23}),
        (2025, 448, 162, 12, "kt-gaussian", {8: 4.55, 16: 5.72, 24: 6.25}),
        (2025, 384, 149, 3, "kt-radial", {8: 6.37, 16: 12.25, 24: 17.39}),
    ],
)
def test_effective_accelerations_are_as_published(year, x, y, frames, pattern, expected):
    for acceleration, effective in expected.items():
        mask = make_mask(
            pattern, frames=frames, y=y, x=x, acceleration=acceleration, seed=10, year=year
        )
        # The published values have two decimals; ties make those of radial spokes less exact.
        tolerance = {"rel": 0.013} if pattern == "kt-radial" else {"abs": 0.0051}
        assert mask_of(mask).effective_acceleration() == pytest.approx(effective, **tolerance), (
            pattern,
            acceleration,
        )


@pytest.mark.parametrize(("year", "acs"), [(2023, 24), (2024, 16), (2025, 20)])
def test_the_default_calibration_is_that_of_the_year(year, acs):
    arguments = SIZE | {"pattern": "uniform", "acceleration": 10, "year": year}
    assert torch.equal(make_mask(**arguments), make_mask(**arguments, acs=acs))
    assert not torch.equal(make_mask(**arguments), make_mask(**arguments, acs=acs - 2))


@settings(deadline=None, max_examples=80)
@given(
    data=st.data(),
    pattern=st.sampled_from(FAST),
    frames=st.integers(1, 5),
    y=st.integers(1, 70),
    x=st.integers(1, 40),
)
def test_masks_have_the_documented_shape_and_calibration_and_are_reproducible(
    data, pattern, frames, y, x
):
    known = PATTERNS[pattern]
    acs = data.draw(st.integers(0, y if known.lines else min(y, x)))
    acceleration = data.draw(
        st.one_of(
            st.integers(1, y), st.sampled_from([r for r in (1.0, 1.5, 2.5, 3.0, 7.3) if r <= y])
        )
    )
    arguments = {
        "frames": frames,
        "y": y,
        "x": x,
        "acceleration": acceleration,
        "acs": acs,
        "seed": data.draw(st.integers(0, 2**32 - 1)),
    }
    mask = make_mask(pattern, **arguments)
    assert mask.dtype == torch.bool
    assert mask.shape == (
        1 if pattern in SAME_IN_ALL_FRAMES else frames,
        y,
        1 if known.lines else x,
    )
    assert mask[:, centred(y, acs), slice(None) if known.lines else centred(x, acs)].all()
    assert mask.any((1, 2)).all()
    assert torch.equal(mask, make_mask(pattern, **arguments))


@settings(deadline=None, max_examples=60)
@given(
    data=st.data(), pattern=st.sampled_from(LINES), frames=st.integers(1, 6), y=st.integers(4, 250)
)
def test_the_effective_r_is_not_above_the_nominal_one(data, pattern, frames, y):
    acceleration = data.draw(st.integers(2, y))
    acs = data.draw(st.integers(2, y))
    mask = make_mask(
        pattern,
        frames=frames,
        y=y,
        x=8,
        acceleration=acceleration,
        acs=acs,
        seed=data.draw(st.integers(1, 1000)),
    )
    lines = mask.sum((1, 2))

    if pattern in ("uniform", "kt-uniform"):
        # The comb has at least floor(y / R) lines, and at least one calibration line is between
        # them.
        assert mask_of(mask).effective_acceleration() <= acceleration
    assert (
        lines >= max(acs, int(y / acceleration + (0.5 if PATTERNS[pattern].random else 0)))
    ).all()


@pytest.mark.parametrize("pattern", LINES)
def test_r_1_samples_every_line(pattern):
    assert make_mask(pattern, **SIZE, acceleration=1, acs=0, seed=1).all()


@pytest.mark.parametrize("pattern", [name for name in RANDOM if name != "poisson"])
def test_different_seeds_give_different_masks(pattern):
    masks = {
        tuple(make_mask(pattern, **SIZE, acceleration=8, seed=seed).flatten().tolist())
        for seed in range(1, 21)
    }
    assert len(masks) == 20


@pytest.mark.parametrize("pattern", [name for name in FAST if not PATTERNS[name].random])
def test_patterns_that_are_not_random_ignore_the_seed(pattern):
    assert torch.equal(
        make_mask(pattern, **SIZE, acceleration=8, seed=1),
        make_mask(pattern, **SIZE, acceleration=8),
    )


@pytest.mark.parametrize("pattern", RANDOM)
def test_random_patterns_need_a_seed(pattern):
    with refused("seed-missing"):
        make_mask(pattern, **SIZE, acceleration=8)


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [("uniforn", "uniform"), ("ktGaussian", "kt-gaussian"), ("KT-RADIAL", "kt-radial"), ("", "")],
)
def test_an_unknown_pattern_suggests_the_nearest(wrong, nearest):
    with refused("unknown-pattern") as error:
        make_mask(wrong, **SIZE, acceleration=8)
    assert nearest in error.value.remedy


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({"acceleration": 0.5}, "204"),
        ({"acceleration": 205}, "204"),
        ({"acceleration": float("nan")}, "204"),
        ({"acceleration": float("inf")}, "204"),
        ({"acceleration": -4}, "204"),
        ({"acs": 205}, "204"),
        ({"acs": -1}, "204"),
        ({"frames": 0}, "0"),
        ({"y": 0}, "0"),
        ({"x": 0}, "0"),
        ({"y": 12}, "12"),
        ({"pattern": "kt-radial", "acs": 65}, "64"),
        ({"seed": -1}, "-1"),
        ({"seed": 2**32}, "4294967296"),
        ({"year": 2022}, "2022"),
    ],
)
def test_numbers_out_of_range_are_refused_in_three_sentences(changes, value):
    with refused("option-value") as caught:
        make_mask(**{"pattern": "kt-gaussian", "acceleration": 8, "seed": 1} | SIZE | changes)
    assert all((caught.value.found, caught.value.expected, caught.value.remedy))
    assert value in str(caught.value)


def test_years_without_official_acs_work_if_the_acs_is_given():
    assert torch.equal(
        make_mask("kt-uniform", **SIZE, acceleration=8, acs=16, year=2026),
        make_mask("kt-uniform", **SIZE, acceleration=8, acs=16, year=2025),
    )


def test_importing_the_package_does_not_import_sigpy():
    program = "import sys, cmrrecon.sampling; sys.exit('sigpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
