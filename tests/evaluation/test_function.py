"""Cardiac function: ellipsoids of known volume, and Dice and Hausdorff by their definitions."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import directed_hausdorff

from cmrrecon.evaluation.bland_altman import limits_of_agreement
from cmrrecon.evaluation.function import (
    DEFAULT_LABELS,
    DENSITY,
    Heart,
    agreement,
    compare_function,
    dice,
    function_of,
    hausdorff_mm,
)
from cmrrecon.tools.errors import InputError

VOXEL = (1.5, 1.25, 2.0)  # mm, (y, x, slice)
SHAPE = (30, 64, 96)  # (slice, y, x)
# Half axes in mm (slice, y, x) of cavity, outer wall and right ventricle.
DIASTOLE = {"lv": (25.0, 22.0, 21.0), "wall": (29.0, 30.0, 29.0), "rv": (24.0, 20.0, 18.0)}
SYSTOLE = {"lv": (20.0, 15.0, 14.0), "wall": (27.0, 29.0, 28.0), "rv": (21.0, 14.0, 12.0)}
# In mm, (y, x).
CENTRES = {"lv": (48.0, 40.0), "wall": (48.0, 40.0), "rv": (48.0, 92.0)}


def ellipsoid(name, axes):
    z, y, x = np.meshgrid(
        *(np.arange(n) * step for n, step in zip(SHAPE, (VOXEL[2], *VOXEL[:2]), strict=True)),
        indexing="ij",
    )
    y0, x0 = CENTRES[name]
    return ((z - 29) / axes[0]) ** 2 + ((y - y0) / axes[1]) ** 2 + ((x - x0) / axes[2]) ** 2 <= 1


def beating(*phases):
    frames = []
    for phase in phases:
        labels = np.zeros(SHAPE, np.int64)
        labels[ellipsoid("rv", phase["rv"])] = DEFAULT_LABELS["rv"]
        labels[ellipsoid("wall", phase["wall"])] = DEFAULT_LABELS["myocardium"]
        labels[ellipsoid("lv", phase["lv"])] = DEFAULT_LABELS["lv"]
        frames.append(labels)
    return torch.from_numpy(np.stack(frames))


def millilitres(axes):
    return 4 / 3 * math.pi * math.prod(axes) / 1000


@pytest.fixture(scope="module")
def heart():
    return Heart(beating(SYSTOLE, DIASTOLE), DEFAULT_LABELS, VOXEL)


def test_volumes_ejection_fraction_and_mass_of_ellipsoids(heart):
    found = function_of(heart)
    for side in ("lv", "rv"):
        end_diastole, end_systole = millilitres(DIASTOLE[side]), millilitres(SYSTOLE[side])
        assert found[f"{side}_edv_ml"] == pytest.approx(end_diastole, rel=0.01)
        assert found[f"{side}_esv_ml"] == pytest.approx(end_systole, rel=0.02)
        assert found[f"{side}_sv_ml"] == pytest.approx(end_diastole - end_systole, rel=0.02)
        assert found[f"{side}_ef_percent"] == pytest.approx(
            100 * (1 - end_systole / end_diastole), abs=0.5
        )
    wall = millilitres(DIASTOLE["wall"]) - millilitres(DIASTOLE["lv"])
    assert found["lv_mass_g"] == pytest.approx(DENSITY * wall, rel=0.02)


def test_without_voxel_size_only_ejection_fractions_are_known(heart):
    found = function_of(Heart(heart.labels, DEFAULT_LABELS, None))
    known = {name for name, value in found.items() if value is not None}
    assert known == {"lv_ef_percent", "rv_ef_percent"}
    assert found["lv_ef_percent"] == function_of(heart)["lv_ef_percent"]


def test_one_frame_has_no_systole(heart):
    found = function_of(Heart(heart.labels[1:], DEFAULT_LABELS, VOXEL))
    assert found["lv_edv_ml"] == function_of(heart)["lv_edv_ml"]
    assert found["lv_esv_ml"] is found["lv_ef_percent"] is None


def test_a_structure_that_is_not_labelled_has_no_values(heart):
    labels = heart.labels.where(heart.labels != DEFAULT_LABELS["rv"], 0)
    compared = compare_function(heart, Heart(labels, DEFAULT_LABELS, VOXEL))
    assert compared["reconstruction"]["rv_edv_ml"] is compared["error"]["rv_edv_ml"] is None
    assert compared["dice"]["rv"] == 0
    assert compared["hausdorff_mm"]["rv"] is None
    assert compared["error"]["lv_edv_ml"] == 0


def test_other_numbers_for_the_same_structures(heart):
    acdc = {"lv": 3, "myocardium": 2, "rv": 1}
    labels = (4 - heart.labels) * (heart.labels > 0)
    assert function_of(Heart(labels, acdc, VOXEL)) == function_of(heart)


def test_the_same_map_agrees_completely(heart):
    found = agreement(heart, heart)
    assert set(found["dice"].values()) == {1.0}
    assert set(found["hausdorff_mm"].values()) == {0.0}


@pytest.mark.parametrize("seed", range(4))
def test_dice_and_hausdorff_by_definition(seed):
    draw = np.random.default_rng(seed)
    one, other = draw.random((2, 4, 9, 7)) > (0.95 if seed else 0.5)
    both, total = (one & other).sum(), one.sum() + other.sum()
    assert dice(one, other) == 2 * both / total
    points = [np.argwhere(mask) * (VOXEL[2], *VOXEL[:2]) for mask in (one, other)]
    expected = max(directed_hausdorff(*points)[0], directed_hausdorff(*points[::-1])[0])
    assert hausdorff_mm(one, other, VOXEL) == pytest.approx(expected, rel=1e-12)


def test_a_shifted_structure_has_the_shift_as_its_distance(heart):
    moved = Heart(heart.labels.roll(3, -1), DEFAULT_LABELS, VOXEL)
    assert agreement(heart, moved)["hausdorff_mm"]["lv"] == pytest.approx(3 * VOXEL[1])


def test_empty_structures():
    nothing, one = np.zeros((1, 3, 3), bool), np.eye(3, dtype=bool)[None]
    assert dice(nothing, nothing) is None
    assert dice(nothing, one) == 0
    assert hausdorff_mm(nothing, one, VOXEL) is None


def test_maps_without_a_heart_are_refused(heart):
    with pytest.raises(InputError) as refused:
        compare_function(heart, Heart(heart.labels * 50, DEFAULT_LABELS, VOXEL))
    assert refused.value.code == "labels-empty"


def test_limits_of_agreement():
    found = limits_of_agreement([(50.0, 51.0), (60.0, 63.0), (55.0, 53.0)])
    differences = np.array([1.0, 3.0, -2.0])
    deviation = differences.std(ddof=1)
    assert found["bias"] == pytest.approx(differences.mean())
    assert found["low"] == pytest.approx(differences.mean() - 1.96 * deviation)
    assert found["high"] == pytest.approx(differences.mean() + 1.96 * deviation)
    assert found["mae"] == pytest.approx(2)
    assert limits_of_agreement([(50.0, 51.0)])["low"] is None
