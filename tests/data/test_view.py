"""Which part of the encoded images is shown, and where it lies."""

from dataclasses import replace

import pytest
from refusals import refused

from cmrrecon.data import Geometry, View

GEOMETRY = Geometry(
    voxel_mm=(2.0, 1.0, 8.0),
    positions_mm=((0.0, 0.0, 0.0), (0.0, 0.0, 8.0), (0.0, 0.0, 16.0)),
    directions=(((0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),) * 3,
    frame_times_ms=(0.0, 40.0),
    field_of_view=(40, 60),
    recon_matrix=(80, 90),
)
WHOLE, SHOWN, SCANNER = View(keep_oversampling=True), View(), View(recon_matrix=True)


@pytest.mark.parametrize(
    ("view", "part", "size", "voxel", "inside"),
    [
        (SHOWN, (40, 60), (40, 60), (2.0, 1.0, 8.0), (40, 60)),
        (WHOLE, (48, 120), (48, 120), (2.0, 1.0, 8.0), (40, 60)),
        (SCANNER, (40, 60), (80, 90), (1.0, 60 / 90, 8.0), (80, 90)),
    ],
)
def test_sizes_and_voxels_of_every_view(view, part, size, voxel, inside):
    encoded = (48, 120)
    assert view.part(GEOMETRY, encoded) == part
    assert view.size(GEOMETRY, encoded) == size
    found = view.geometry(GEOMETRY, encoded, range(3))
    assert found.voxel_mm == pytest.approx(voxel)
    assert found.field_of_view == inside
    assert found.positions_mm == GEOMETRY.positions_mm
    assert found.frame_times_ms == (0.0, 40.0)


def test_a_second_view_cuts_nothing():
    once = SHOWN.geometry(GEOMETRY, (48, 120), range(3))
    assert SHOWN.part(once, (40, 60)) == (40, 60)


def test_a_field_of_view_beyond_the_encoded_one_cuts_nothing():
    assert SHOWN.part(GEOMETRY, (32, 120)) == (32, 60)


def test_without_a_geometry_all_is_shown():
    assert SHOWN.size(None, (48, 120)) == (48, 120)
    assert SHOWN.geometry(None, (48, 120), [0]) is None
    assert SHOWN.size(Geometry(), (48, 120)) == (48, 120)


def test_an_unknown_field_of_view_stays_unknown():
    unknown = replace(GEOMETRY, field_of_view=None)
    assert SHOWN.geometry(unknown, (48, 120), range(3)).field_of_view is None
    assert SCANNER.geometry(unknown, (48, 120), range(3)).field_of_view == (80, 90)


def test_the_geometry_is_that_of_the_given_slices():
    found = SHOWN.geometry(GEOMETRY, (48, 120), [0, 2])
    assert found.positions_mm == (GEOMETRY.positions_mm[0], GEOMETRY.positions_mm[2])
    assert len(found.directions) == 2
    short = replace(GEOMETRY, positions_mm=GEOMETRY.positions_mm[:2])
    assert SHOWN.geometry(short, (48, 120), [0, 2]).positions_mm is None


def test_contradictory_or_unknown_views_are_refused():
    with refused("options-conflict"):
        View(keep_oversampling=True, recon_matrix=True).check(GEOMETRY, "The scan")
    for geometry in (None, Geometry(field_of_view=(40, 60))):
        with refused("recon-matrix-missing"):
            SCANNER.check(geometry, "The scan")
    SCANNER.check(GEOMETRY, "The scan")
