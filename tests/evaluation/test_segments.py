"""The 16 AHA segments on rings whose anatomy is known."""

import math

import pytest
import torch
from refusals import refused

from cmrrecon.evaluation.segments import NAMES, aha_segments, segment_values

SIZE = 64
CENTRE = 31.5


def ring(turn=0.0, mirrored=False, right=True):
    """A left ventricle whose septum spans 120 degrees on the left, turned clockwise."""
    place = torch.arange(SIZE, dtype=torch.float64) - CENTRE
    y, x = place[:, None].expand(SIZE, SIZE), place[None].expand(SIZE, SIZE)
    if mirrored:
        x = -x
    radius = torch.hypot(y, x)
    angle = torch.remainder(torch.rad2deg(torch.atan2(y, x)) - turn, 360)
    labels = torch.zeros((SIZE, SIZE), dtype=torch.int64)
    labels[radius < 22] = 2
    labels[radius < 14] = 1
    if right:
        labels[(radius >= 22) & (radius < 28) & (angle > 120) & (angle < 240)] = 3
    return labels


def at(segments, degrees, radius=18):
    """The segment in a direction, clockwise from x."""
    angle = math.radians(degrees)
    row, column = CENTRE + radius * math.sin(angle), CENTRE + radius * math.cos(angle)
    return int(segments[round(row), round(column)])


# The middles of the segments in degrees clockwise from the right.
BASAL = {1: 270, 2: 210, 3: 150, 4: 90, 5: 30, 6: 330}
APICAL = {13: 270, 14: 180, 15: 90, 16: 0}


@pytest.mark.parametrize("turn", [0, 35, 180])
def test_segments_have_their_places_in_images_turned_by_any_angle(turn):
    labels = torch.stack([ring(turn)] * 3)
    basal, mid, apical = aha_segments(labels)
    for number, degrees in BASAL.items():
        assert at(basal, degrees + turn) == number
        assert at(mid, degrees + turn) == number + 6
    for number, degrees in APICAL.items():
        assert at(apical, degrees + turn) == number
    for segments in (basal, mid, apical):
        assert torch.equal(segments > 0, labels[0] == 2)


def test_all_segments_of_a_ring_have_about_the_same_size():
    sizes = aha_segments(torch.stack([ring()] * 3)).flatten().bincount()[1:]
    assert len(sizes) == len(NAMES) == 16
    # The right ventricle touches the wall a little beyond its corners.
    assert bool((sizes[:12] / sizes[:12].double().mean() - 1).abs().max() < 0.15)
    assert bool((sizes[12:] / sizes[12:].double().mean() - 1).abs().max() < 0.05)


def test_given_insertions_decide_and_keep_mirrored_images_right():
    def point(degrees):
        angle = math.radians(degrees)
        return CENTRE + 22 * math.sin(angle), CENTRE + 22 * math.cos(angle)

    anterior, inferior = point(300), point(60)  # mirrored: the septum is on the right
    labels = ring(mirrored=True, right=False)[None]
    segments = aha_segments(labels, insertions=[(*anterior, *inferior)], levels=["basal"])[0]
    for number, degrees in BASAL.items():
        assert at(segments, 180 - degrees) == number
    several = aha_segments(
        labels.expand(2, -1, -1),
        insertions=[(*anterior, *inferior), (*inferior, *anterior)],
        levels=["basal", "basal"],
    )
    assert torch.equal(several[0], segments)
    assert torch.equal(several[1], segments.flip(0))


def test_an_apex_without_right_ventricle_uses_the_angles_of_the_next_slice():
    labels = torch.stack([ring(20), ring(20), ring(0, right=False)])
    whole = torch.stack([ring(20)] * 3)
    assert torch.equal(aha_segments(labels)[2], aha_segments(whole)[2])


def test_levels_are_thirds_of_the_slices_with_myocardium_or_as_given():
    empty = torch.zeros((SIZE, SIZE), dtype=torch.int64)

    def levels(labels, given=None):
        found = aha_segments(labels, levels=given)
        return [
            {(number - 1) // 6 for number in layer.unique().tolist() if number} for layer in found
        ]

    assert levels(torch.stack([ring()])) == [{1}]
    assert levels(torch.stack([ring()] * 2)) == [{0}, {1}]
    assert levels(torch.stack([empty, *[ring()] * 5])) == [set(), {0}, {0}, {1}, {1}, {2}]
    assert levels(torch.stack([ring()] * 3), ["apical", "-", "basal"]) == [{2}, set(), {0}]


def test_flat_pixels_keep_equal_angles():
    """Rows of twice the height: every second row of the ring."""
    tall = torch.stack([ring()] * 3)
    flat = tall[:, ::2]
    expected, found = aha_segments(tall)[:, ::2], aha_segments(flat, aspect=2)
    assert float((found == expected)[expected > 0].double().mean()) > 0.95


def test_values_of_a_segment_are_those_of_its_fitted_pixels():
    segments = torch.tensor([[[1, 1, 1, 2, 5, 0]]])
    values = torch.tensor([[[1000.0, 1100.0, torch.nan, torch.nan, 900.0, 5.0]]])
    first, second, fifth = segment_values(values, segments)
    assert (first.number, first.name, first.pixels, first.failed) == (1, "basal anterior", 2, 1)
    assert (first.mean, first.deviation) == (1050, 50)
    assert (second.number, second.pixels, second.failed) == (2, 0, 1)
    assert math.isnan(second.mean)
    assert math.isnan(second.deviation)
    assert (fifth.mean, fifth.deviation) == (900, 0)


def test_bad_labels_points_and_levels_have_codes():
    labels = torch.stack([ring()])
    with refused("labels-empty"):
        aha_segments(torch.zeros_like(labels))
    with refused("insertions-missing"):
        aha_segments(torch.stack([ring(right=False)]))
    for points in ([(1, 2, 64, 2)], [(1, 2, 1, 2)], [(-1, 2, 3, 2)]):
        with refused("box-outside"):
            aha_segments(labels, insertions=points)
    with refused("option-value"):
        aha_segments(labels, insertions=[(1, 2, 3, 4)] * 2)
    for levels in (["basal", "mid"], ["base"]):
        with refused("option-value"):
            aha_segments(labels, levels=levels)
